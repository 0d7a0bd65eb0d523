"""Cutting and joining ONNX graphs of siamese trackers, for `importing`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

    from deep_tracking_ros.single_object.public_kinds import Kind


def template_network(backbone: onnx.ModelProto, kind: Kind) -> bytes:
    """Crops (B, H, W, 3) uint8 BGR to features (B, C, h, w), for the crops of templates."""
    from onnx import compose

    model = compose.add_prefix(backbone, "backbone/")
    _free_batch(model)
    _add_outputs(
        model, [("Identity", ["backbone/" + kind.features], "features", {})], {"features": kind.parameters["feature"]}
    )
    _add_images(model, "backbone/" + kind.image, kind.parameters["template_size"], kind.rgb)
    return _bytes(model)


def search_network(backbone: onnx.ModelProto, head: onnx.ModelProto, kind: Kind) -> bytes:
    """Crops (B, H, W, 3) uint8 BGR and template features to logits (B, H, W) and distances (B, 4, H, W)."""
    from onnx import TensorProto, compose, helper

    first, second = compose.add_prefix(backbone, "backbone/"), compose.add_prefix(head, "head/")
    _free_batch(first)
    _free_batch(second)
    _unfold_correlations(second, kind.parameters["cells"])
    # the newer of both versions is good for both: the operators used here did not change in between
    first.ir_version = second.ir_version = max(first.ir_version, second.ir_version)
    newest = max(version.version for m in (first, second) for version in m.opset_import)
    for m in (first, second):
        del m.opset_import[:]
        m.opset_import.append(helper.make_opsetid("", newest))
    joint = ("backbone/" + kind.features, "head/" + kind.search)
    model = compose.merge_models(first, second, io_map=[joint])

    scores, distances = "head/" + kind.scores, "head/" + kind.distances
    if kind.classes == 2:  # background and target: the softmax of two is the sigmoid of their difference
        steps = [
            ("Gather", [scores, _constant(model, "target", np.array(1))], "logits_target", {"axis": 1}),
            ("Gather", [scores, _constant(model, "background", np.array(0))], "logits_background", {"axis": 1}),
            ("Sub", ["logits_target", "logits_background"], "logits", {}),
        ]
    else:
        steps = [("Gather", [scores, _constant(model, "target", np.array(0))], "logits", {"axis": 1})]
    p = kind.parameters
    shapes = {"logits": [p["cells"], p["cells"]], "distances": [4, p["cells"], p["cells"]]}
    _add_outputs(model, [*steps, ("Identity", [distances], "distances", {})], shapes)
    _add_images(model, "backbone/" + kind.image, p["search_size"], kind.rgb)
    for node in model.graph.node:
        node.input[:] = ["features" if name == "head/" + kind.template else name for name in node.input]
    others = [value for value in model.graph.input if value.name == "crops"]
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", *p["feature"]])
    del model.graph.input[:]
    model.graph.input.extend([*others, features])
    return _bytes(model)


def _bytes(model: onnx.ModelProto) -> bytes:
    import onnx

    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _constant(model: onnx.ModelProto, name: str, value: Any) -> str:
    """Add a constant tensor and return its name."""
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _constants(model: onnx.ModelProto) -> dict[str, Any]:
    """All tensors of a graph that are known before it runs, as arrays, by name."""
    from onnx import numpy_helper

    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                known[node.output[0]] = numpy_helper.to_array(attribute.t)
    return known


def _free_batch(model: onnx.ModelProto) -> None:
    """Let batch, height and width vary where the file has them fixed."""
    for value in [*model.graph.input, *model.graph.output]:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if axis != 1:
                dim.dim_param = f"{value.name}_{axis}"
    del model.graph.value_info[:]
    # A reshape that says "batch of 1" must keep the batch that comes: a size of 0 does.
    constants = _constants(model)
    for index, node in enumerate(model.graph.node):
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None and len(shape) and shape[0] == 1:
            node.input[1] = _constant(model, f"reshape_{index}", np.concatenate([[0], shape[1:]]).astype(np.int64))


def _unfold_correlations(model: onnx.ModelProto, cells: int) -> None:
    """Write depthwise correlations with run-time kernels so that they take any batch.

    A file may have them as a convolution with one group per channel, whose weights are template features reshaped from
    (1, C, k, l) to (C, 1, k, l): right for a batch of 1 only. Here the kernel is spread to a matrix, ``cells`` rows
    that are the kernel moved on by one each, and multiplied with the columns of the search features.
    """
    from onnx import helper

    constants = _constants(model)
    maker = {output: node for node in model.graph.node for output in node.output}
    nodes = []
    for node in model.graph.node:
        reshape = maker.get(node.input[1]) if node.op_type == "Conv" else None
        if reshape is None or reshape.op_type != "Reshape":
            nodes.append(node)
            continue
        name = node.output[0] + "/"
        channels, _, height, width = (int(n) for n in constants[reshape.input[1]])
        pads = next((list(a.ints) for a in node.attribute if a.name == "pads"), [0, 0, 0, 0])
        rows = cells + height - 1  # of the padded search features
        spread = np.zeros((height, width, cells, width, rows), np.float32)
        for i, j, y in itertools.product(range(height), range(width), range(cells)):
            spread[i, j, y, j, y + i] = 1
        constant = {
            "pads": np.array([0, 0, *pads[:2], 0, 0, *pads[2:]]),
            "row": np.array([0, channels, 1, height * width]),
            "spread": spread.reshape(height * width, -1),
            "rows": np.array([0, channels, cells, width * rows]),
        }
        at = {key: _constant(model, name + key, value) for key, value in constant.items()}
        nodes += [
            helper.make_node("Reshape", [reshape.input[0], at["row"]], [name + "kernel"]),
            helper.make_node("MatMul", [name + "kernel", at["spread"]], [name + "spread_kernel"]),
            helper.make_node("Reshape", [name + "spread_kernel", at["rows"]], [name + "kernels"]),
            helper.make_node("Pad", [node.input[0], at["pads"]], [name + "padded"]),
        ]
        moved = [f"{name}moved_{j}" for j in range(width)]
        for j, columns in enumerate(moved):
            cut = {"start": j, "end": j + cells, "axis": 3}
            edges = [_constant(model, f"{columns}/{word}", np.array([n])) for word, n in cut.items()]
            nodes.append(helper.make_node("Slice", [name + "padded", *edges], [columns]))
        nodes += [
            helper.make_node("Concat", moved, [name + "columns"], axis=2),
            helper.make_node("MatMul", [name + "kernels", name + "columns"], list(node.output)),
        ]
    used = {tensor for node in nodes for tensor in node.input} | {value.name for value in model.graph.output}
    del model.graph.node[:]
    model.graph.node.extend(node for node in nodes if used.intersection(node.output))


def _add_outputs(
    model: onnx.ModelProto, steps: list[tuple[str, list[str], str, dict[str, Any]]], shapes: dict[str, list[int]]
) -> None:
    """Append operators (kind, inputs, output, attributes); only the float outputs in ``shapes`` stay outputs."""
    from onnx import TensorProto, helper

    for kind, inputs, output, attributes in steps:
        model.graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in shapes.items()
    )


def _add_images(model: onnx.ModelProto, inner: str, size: int, rgb: bool) -> None:
    """Put crops (B, size, size, 3) uint8 BGR in the place of a float (B, 3, H, W) input of 0 to 255."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Transpose", ["crops"], ["crops/planes"], perm=[0, 3, 1, 2])]
    if rgb:
        order = _constant(model, "crops/order", np.array([2, 1, 0]))
        nodes.append(helper.make_node("Gather", ["crops/planes", order], ["crops/rgb"], axis=1))
    nodes.append(helper.make_node("Cast", list(nodes[-1].output), [inner], to=TensorProto.FLOAT))
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    rest = [value for value in model.graph.input if value.name != inner]
    del model.graph.input[:]
    crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", size, size, 3])
    model.graph.input.extend([crops, *rest])

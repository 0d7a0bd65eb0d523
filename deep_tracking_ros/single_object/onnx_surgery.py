"""Cutting and joining ONNX graphs of siamese trackers, for `importing`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

    from deep_tracking_ros.single_object.public_kinds import Kind

Step = tuple[str, list[str], str, dict[str, Any]]
"""An operator to append: kind, inputs, output, attributes."""


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

    p = kind.parameters
    shapes = {"logits": [p["cells"], p["cells"]], "distances": [4, p["cells"], p["cells"]]}
    steps = _logits(model, "head/" + kind.scores, kind.classes, p["cells"])
    _add_outputs(model, [*steps, ("Identity", ["head/" + kind.distances], "distances", {})], shapes)
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


def _constants_of(model: onnx.ModelProto, node: onnx.NodeProto) -> list[Any] | None:
    """All inputs of a node but its first as arrays; None where one of them comes out of a run."""
    constants = _constants(model)
    found = [constants.get(name) for name in node.input[1:]]
    return None if any(array is None for array in found) else found


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


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


def _logits(model: onnx.ModelProto, scores: str, classes: int, cells: int) -> list[Step]:
    """Operators from scores (B, classes, H, W) to logits (B, H, W), for `_add_outputs`.

    Scores of background and target are one logit: the softmax of two is the sigmoid of their difference. Where a
    convolution with known weights makes them, it makes the difference at once.
    """
    from onnx import helper

    cut: Step = ("Reshape", [scores, _constant(model, "logits/shape", np.array([0, cells, cells]))], "logits", {})
    if classes == 1:
        return [cut]
    maker = next(node for node in model.graph.node if scores in node.output)
    weights = _constants_of(model, maker) if maker.op_type == "Conv" else None
    if weights is None or _attributes(maker).get("group", 1) != 1:
        indices = [_constant(model, "logits/" + word, np.array(i)) for i, word in enumerate(("background", "target"))]
        parts = [name + "/map" for name in indices]
        gathers = [("Gather", [scores, i], part, {"axis": 1}) for i, part in zip(indices, parts, strict=True)]
        return [*gathers, ("Sub", parts[::-1], "logits", {})]
    names = [_constant(model, f"logits/conv_{i}", array[1:] - array[:1]) for i, array in enumerate(weights)]
    index = list(model.graph.node).index(maker)
    model.graph.node.remove(maker)
    model.graph.node.insert(
        index, helper.make_node("Conv", [maker.input[0], *names], [scores], maker.name, **_attributes(maker))
    )
    return [cut]


def _add_outputs(model: onnx.ModelProto, steps: list[Step], shapes: dict[str, list[int]]) -> None:
    """Append operators; only the float outputs in ``shapes`` stay outputs."""
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

    users = [node for node in model.graph.node if inner in node.input]
    if not (len(users) == 1 and _fold_colours(model, users[0], rgb)):
        nodes = [helper.make_node("Transpose", ["crops"], ["crops/planes"], perm=[0, 3, 1, 2])]
        if rgb:
            order = _constant(model, "crops/order", np.array([2, 1, 0]))
            nodes.append(helper.make_node("Gather", ["crops/planes", order], ["crops/rgb"], axis=1))
        nodes.append(helper.make_node("Cast", list(nodes[-1].output), [inner], to=TensorProto.FLOAT))
    else:
        shape = _constant(model, "crops/shape", np.array([0, 1, size, 3 * size]))
        nodes = [
            helper.make_node("Cast", ["crops"], ["crops/float"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["crops/float", shape], [inner]),
        ]
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    rest = [value for value in model.graph.input if value.name != inner]
    del model.graph.input[:]
    crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", size, size, 3])
    model.graph.input.extend([crops, *rest])


def _fold_colours(model: onnx.ModelProto, conv: onnx.NodeProto, rgb: bool) -> bool:
    """Let a first convolution read pixels as they lie in an image, B, G, R, B, G, R ..., and say whether it can.

    A row of W pixels is then a row of 3 W numbers of one channel. A kernel three times as wide that moves on by three
    numbers a pixel sums up the same products, and no image has to be taken apart into planes.
    """
    from onnx import helper

    weights, how = _constants_of(model, conv), _attributes(conv)
    plain = how.get("group", 1) == 1 and set(how.get("dilations", [1])) == {1} and "auto_pad" not in how
    if conv.op_type != "Conv" or weights is None or not plain or weights[0].ndim != 4:
        return False
    kernel = weights[0][:, ::-1] if rgb else weights[0]
    outputs, _, height, width = kernel.shape
    wide = np.ascontiguousarray(kernel.transpose(0, 2, 3, 1)).reshape(outputs, 1, height, 3 * width)
    top, left, bottom, right = how.get("pads", [0, 0, 0, 0])
    down, across = how.get("strides", [1, 1])
    conv.input[1] = _constant(model, "crops/kernel", wide)
    del conv.attribute[:]
    values = {
        "kernel_shape": [height, 3 * width],
        "pads": [top, 3 * left, bottom, 3 * right],
        "strides": [down, 3 * across],
    }
    conv.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())
    return True

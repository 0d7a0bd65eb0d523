"""An ONNX network in half precision: what TensorRT 11 and ONNX Runtime want, who take types from the file."""

from __future__ import annotations

from typing import Any

import numpy as np

from deep_tracking_ros.errors import EngineError

PRECISIONS = ("fp32", "fp16", "bf16")

KEEP = frozenset(
    {
        "Cast",
        "ConstantOfShape",
        "CumSum",
        "DequantizeLinear",
        "EyeLike",
        "Exp",
        "GridSample",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "Log",
        "Pow",
        "QuantizeLinear",
        "RandomNormal",
        "RandomUniform",
        "Range",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceMean",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
        "Softplus",
    }
)
"""Operators left in fp32: sums over many values, powers and coordinates overflow or lose too much in half precision;
the others name the type of their result themselves."""

FLOAT_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that ONNX defines as fp32: regions and scales."""

MOVES = frozenset(
    {"Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that give the values they get, in another order or shape."""


def check_precision(precision: str) -> None:
    """Raise `EngineError` for a precision that there is not."""
    if precision not in PRECISIONS:
        raise EngineError(f"precision is {precision!r}, it must be one of {', '.join(PRECISIONS)}")


def cast_onnx(model: bytes, precision: str) -> bytes:
    """The network computing in half precision, with inputs and outputs as before.

    Every fp32 tensor ``x`` gets a twin ``x.half``: ordinary nodes read and write twins, those in `KEEP` the originals,
    and a Cast is put in where a node needs the one and there is the other. Weights are converted, not cast.

    Args:
        model: an ONNX file in fp32, without control flow.
        precision: 'fp16' or 'bf16'.

    Raises:
        EngineError: the network has subgraphs (If, Loop, Scan) or its types cannot be inferred.
    """
    import onnx

    half = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    try:
        proto = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model), strict_mode=True)
    except Exception as error:  # protobuf and onnx have no common base
        raise EngineError(
            f"the types of an ONNX network cannot be inferred, so not cast to {precision}: {error}"
        ) from error
    graph = proto.graph
    if nested := sorted({n.op_type for n in graph.node for a in n.attribute if a.HasField("g") or a.graphs}):
        raise EngineError(f"an ONNX network with {', '.join(nested)} cannot be cast to {precision}; use fp32")

    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[Any] = []
    for node in graph.node:  # constants are weights too
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            weights[node.output[0]] = tensor = node.attribute[0].t
            tensor.name = node.output[0]
        else:
            nodes.append(node)
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    types |= {name: tensor.data_type for name, tensor in weights.items()}
    if unknown := sorted({node.op_type for node in nodes if any(o and o not in types for o in node.output)}):
        raise EngineError(
            f"types after {', '.join(unknown)} are unknown, so it cannot be cast to {precision}; use fp32"
        )
    floats = {name for name, dtype in types.items() if dtype == onnx.TensorProto.FLOAT}

    present = {value.name for value in graph.input} | set(weights)
    result: list[Any] = []

    def twin(name: str) -> str:
        return f"{name}.half" if name in floats else name

    def need(name: str, low: bool) -> str:
        """The name of a tensor in the type wanted, made where it is not there yet."""
        wanted = twin(name) if low else name
        if not name or wanted in present or name not in floats:
            return wanted
        if low and name in weights:
            weights[wanted] = _half_weight(weights[name], wanted, half)
        else:
            source, to = (name, half) if low else (twin(name), onnx.TensorProto.FLOAT)
            result.append(onnx.helper.make_node("Cast", [source], [wanted], to=to))
        present.add(wanted)
        return wanted

    for node in nodes:
        low = node.op_type not in KEEP
        fixed = FLOAT_INPUTS.get(node.op_type, ())
        names = [need(name, low and index not in fixed) for index, name in enumerate(node.input)]
        del node.input[:]
        node.input.extend(names)
        for index, name in enumerate(node.output):
            node.output[index] = twin(name) if low else name
            present.add(node.output[index])
        result.append(node)
    for value in graph.output:
        need(value.name, low=False)

    used = {name for node in result for name in node.input} | {value.name for value in graph.output}
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(result)
    graph.initializer.extend(tensor for name, tensor in weights.items() if name in used)
    return bytes(proto.SerializeToString())


def float_images(model: bytes) -> bytes:
    """The network with its uint8 inputs made fp32 at once, which is the one thing that TensorRT does with bytes.

    Only where what follows moves values about before it converts them itself: that gives the same numbers. Other
    networks come back as they are.
    """
    import onnx

    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf has its own
        raise EngineError(f"an ONNX file is damaged: {error}") from error
    graph = proto.graph
    for value in graph.input:
        if value.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
            continue
        moved = {value.name}
        movable = True
        for node in graph.node:
            if moved & set(node.input) and node.op_type not in ("Cast", "Shape"):
                movable &= node.op_type in MOVES
                moved |= set(node.output)
        if not movable or moved & {output.name for output in graph.output}:
            continue
        wide = f"{value.name}.float"
        for node in graph.node:
            node.input[:] = [wide if name == value.name else name for name in node.input]
        graph.node.insert(0, onnx.helper.make_node("Cast", [value.name], [wide], to=onnx.TensorProto.FLOAT))
    del graph.value_info[:]
    return bytes(proto.SerializeToString())


def _half_weight(tensor: Any, name: str, half: int) -> Any:
    """A weight in half precision; what is too large becomes the largest value, not infinity."""
    import onnx

    array = onnx.numpy_helper.to_array(tensor)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(half)
    if half == onnx.TensorProto.FLOAT16:
        array = np.where(np.isfinite(array), array.clip(*_FLOAT16_RANGE), array)
    return onnx.numpy_helper.from_array(array.astype(dtype), name)


_FLOAT16_RANGE = (float(np.finfo(np.float16).min), float(np.finfo(np.float16).max))

"""Tiny detection networks: one that says the same of every image, and one that sees what is bright."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (64, 96)  # rows, columns


def save(path, nodes, outputs, weights, batch="batch", size=SIZE, dtype=TensorProto.FLOAT, notes=None, shape=None):
    """Write a graph of one input ``images``; ``outputs`` maps names to shapes."""
    inputs = [helper.make_tensor_value_info("images", dtype, shape or [batch, 3, *size])]
    graph = helper.make_graph(
        nodes,
        "small",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (notes or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def saying(path, output, decoded, batch="batch", **more):
    """A network that gives ``output`` (1, ...) for every image; a decoded one has arithmetic after its last layer."""
    rest = np.array(output.shape[1:], np.int64)
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["count"]),
        helper.make_node("Concat", ["count", "rest"], ["wanted"], axis=0),
        helper.make_node("Expand", ["values", "wanted"], ["expanded"]),
        helper.make_node(
            "Add" if decoded else "Identity", ["expanded", "none"] if decoded else ["expanded"], ["boxes"]
        ),
    ]
    weights = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "rest": rest,
        "values": output.astype(np.float32),
        "none": np.zeros(1, np.float32),
    }
    return save(path, nodes, {"boxes": [batch, *output.shape[1:]]}, weights, batch, **more)


def seeing(path, batch="batch", size=SIZE, strides=(8, 16, 32), **more):
    """YOLOX of one class: each cell has a box of its own size there, with its mean brightness as objectness."""
    nodes, weights = [], {"rows": np.array([0, 6, -1], np.int64)}
    for s in strides:
        kernel = np.zeros((6, 3, s, s), np.float32)
        kernel[4] = 1 / (3 * s * s * 255)
        weights[f"kernel{s}"], weights[f"bias{s}"] = kernel, np.array([0.5, 0.5, 0, 0, 0, 1], np.float32)
        nodes += [
            helper.make_node("Conv", ["images", f"kernel{s}", f"bias{s}"], [f"map{s}"], strides=[s, s]),
            helper.make_node("Reshape", [f"map{s}", "rows"], [f"cells{s}"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"cells{s}" for s in strides], ["all"], axis=2),
        helper.make_node("Transpose", ["all"], ["output"], perm=[0, 2, 1]),
    ]
    return save(path, nodes, {"output": [batch, "cells", 6]}, weights, batch, size, **more)

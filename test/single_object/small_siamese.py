"""A tiny pair of ONNX networks with the inputs and outputs of NanoTrack V2 that really follows a coloured square.

The backbone is the mean colour of each 16 px cell; a cell's logit falls with the distance in colour of the cells around
it from the middle of the template, and all boxes are 64 px of the crop wide and high, as the target is in the template.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CELL = 16
SHARPNESS = 60.0


def _model(nodes, inputs, outputs, constants):
    def values(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", values(inputs), values(outputs), weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)
    onnx.checker.check_model(model)
    return model


def backbone(channels=48):
    weight = np.zeros((channels, 3, CELL, CELL), np.float32)
    weight[[0, 1, 2], [0, 1, 2]] = 1 / (255 * CELL**2)
    # cell i lies around px 16 i: 255 px have 16 cells, 127 px have 8
    node = helper.make_node("Conv", ["input", "weight"], ["output"], strides=[CELL, CELL], pads=[8, 8, 0, 0])
    return _model(
        [node], {"input": [1, 3, 255, 255]}, {"output": [1, channels, 16, 16]}, {"weight": weight}
    )  # fmt: skip


def head(channels=48, names=("input1", "input2", "output1", "output2")):
    template, search, scores, distances = names
    nodes = [
        # the nine cells in the middle of the template, fixed to a batch of 1 as real files are
        helper.make_node("Slice", [template, "start", "end", "axes"], ["middle"]),
        helper.make_node("GlobalAveragePool", ["middle"], ["colour"]),
        helper.make_node("Reshape", ["colour", "one"], ["reference"]),
        helper.make_node("Sub", [search, "reference"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["square"]),
        helper.make_node("AveragePool", ["square"], ["around"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["around", "classes", "bias"], [scores]),
        helper.make_node("Conv", [search, "nothing", "half"], [distances]),
    ]
    classes = np.zeros((2, channels, 1, 1), np.float32)
    classes[1] = -SHARPNESS
    constants = {
        "start": np.array([3, 3]),
        "end": np.array([6, 6]),
        "axes": np.array([2, 3]),
        "one": np.array([1, channels, 1, 1]),
        "classes": classes,
        "bias": np.array([0, 4], np.float32),
        "nothing": np.zeros((4, channels, 1, 1), np.float32),
        "half": np.full(4, 32, np.float32),
    }
    inputs = {template: [1, channels, 8, 8], search: [1, channels, 16, 16]}
    return _model(nodes, inputs, {scores: [1, 2, 16, 16], distances: [1, 4, 16, 16]}, constants)


def save_pair(folder):
    """Write both files; returns their paths."""
    onnx.save(backbone(), folder / "backbone.onnx")
    onnx.save(head(), folder / "head.onnx")
    return folder / "backbone.onnx", folder / "head.onnx"

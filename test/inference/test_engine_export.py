import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from fake_tensorrt import onnx_types
from small_networks import batch, correlation
from torch import nn

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference import Network, TensorSpec
from deep_tracking_ros.inference.export import check_graph, export_onnx, onnx_model
from deep_tracking_ros.inference.precision import cast_onnx, float_images

VECTOR = TensorSpec("x", (-1, 4), minimum=(1, 4), optimum=(2, 4), maximum=(8, 4))


def vector_network(module, outputs=(TensorSpec("y", (-1, 4)),), inputs=(VECTOR,)):
    return Network("vector", inputs, outputs, "v" * 64, lambda: module)


def test_exports_are_equal_quiet_and_declare_names_types_and_sizes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("a", "b"):
            export_onnx(correlation(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    session = onnxruntime.InferenceSession(tmp_path / "a")
    assert [(i.name, i.shape[1:]) for i in session.get_inputs()] == [("template", [3, 31, 31]), ("search", [3, 63, 63])]
    assert [output.name for output in session.get_outputs()] == ["response", "score"]
    assert onnx.load(tmp_path / "a").opset_import[0].version == 17


def test_networks_are_exported_in_evaluation_mode(cache):
    model = onnx_model(vector_network(nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4)).train()), cache)
    assert "Dropout" not in {node.op_type for node in onnx.load_model_from_string(model).graph.node}


def test_the_cache_keeps_the_export(cache):
    first = onnx_model(correlation(), cache)
    broken = Network(
        correlation().name, correlation().inputs, correlation().outputs, correlation().digest, lambda: 1 / 0
    )
    assert onnx_model(broken, cache) == first


class Wide(nn.Module):
    def forward(self, x):
        return torch.cat([x, x], 1)


class Whole(nn.Module):
    def forward(self, x):
        return x.sum(1).long()


class Unknown(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


@pytest.mark.parametrize(
    ("module", "outputs", "text"),
    [
        (nn.Identity(), (TensorSpec("y", (4,)),), "declares the outputs"),
        (Wide(), (TensorSpec("y", (-1, 9)),), r"declares the outputs .*\(-1, 9\).* its ONNX graph has .*\(-1, 8\)"),
        (Whole(), (TensorSpec("y", (-1,)),), "float32.* its ONNX graph has .*int64"),
        (Unknown(), (TensorSpec("y", (-1,)),), "cannot be exported to ONNX"),
    ],
)
def test_what_does_not_fit_its_declaration_is_refused(cache, module, outputs, text):
    with pytest.raises(EngineError, match=text) as error:
        onnx_model(vector_network(module, outputs), cache)
    assert "\n" not in str(error.value)


def test_damaged_and_missing_files_are_refused(tmp_path, cache):
    network = correlation()
    path = tmp_path / "model.onnx"
    from_file = Network("file", network.inputs, network.outputs, "", onnx=path)
    with pytest.raises(EngineError, match="cannot read the ONNX file of network 'file'"):
        onnx_model(from_file, cache)
    path.write_bytes(onnx_model(network, cache)[:-500])
    with pytest.raises(EngineError, match="'file' is damaged"):
        onnx_model(from_file, cache)


class Mixed(nn.Module):
    """What is hard to cast: sizes from shapes, coordinates, normalisation, integers, large constants, a resize."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.register_buffer("large", torch.full((4,), -1e9))

    def forward(self, x):
        n = x.shape[0]
        grid = torch.linspace(-1, 1, 4).view(1, 1, 4, 1).expand(n, 4, 4, 2)
        sampled = torch.nn.functional.grid_sample(x.view(n, 1, 1, 4).expand(n, 1, 4, 4), grid, align_corners=True)
        resized = torch.nn.functional.interpolate(sampled, scale_factor=2.0, mode="bilinear")
        best, index = x.topk(2, 1)
        masked = torch.where(x > 0.5, x, self.large)
        y = self.norm(x) + torch.softmax(masked, 1) + resized.mean((1, 2, 3)).unsqueeze(1) + (x**2).sum(1, keepdim=True)
        return y + best.sum(1, keepdim=True) * n, index, torch.arange(n) + index[:, 0]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_graphs_keep_inputs_outputs_and_meaning(cache, precision):
    outputs = (TensorSpec("y", (-1, 4)), TensorSpec("index", (-1, 2), np.int64), TensorSpec("sum", (-1,), np.int64))
    network = vector_network(Mixed(), outputs)
    model = onnx_model(network, cache)
    half = cast_onnx(model, precision)
    check_graph(network, half)
    assert {"fp16": "FLOAT16", "bf16": "BFLOAT16"}[precision] in onnx_types(half)
    assert cast_onnx(model, precision) == half
    if precision == "bf16":
        return  # ONNX Runtime has no bf16 kernels for CPUs
    x = np.random.default_rng(1).random((5, 4), np.float32)
    expected = onnxruntime.InferenceSession(model).run(None, {"x": x})
    result = onnxruntime.InferenceSession(half).run(None, {"x": x})
    np.testing.assert_allclose(result[0], expected[0], rtol=5e-3)
    np.testing.assert_array_equal(result[1], expected[1])
    np.testing.assert_array_equal(result[2], expected[2])


def test_half_precision_of_a_tracker_stays_close(cache):
    model = onnx_model(correlation(), cache)
    expected = onnxruntime.InferenceSession(model).run(None, batch(3))[0]
    session = onnxruntime.InferenceSession(cast_onnx(model, "fp16"))
    result = session.run(None, batch(3))[0]
    assert 0 < np.abs(result - expected).max() < 0.01 * expected.max()  # not equal: it really ran in half


def test_control_flow_cannot_be_cast(cache):
    def value(name, kind):
        return onnx.helper.make_tensor_value_info(name, kind, [1])

    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["z"])], "branch", [], [value("z", onnx.TensorProto.FLOAT)]
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)],
        "graph",
        [value("x", onnx.TensorProto.FLOAT), value("c", onnx.TensorProto.BOOL)],
        [value("y", onnx.TensorProto.FLOAT)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    with pytest.raises(EngineError, match="with If cannot be cast to fp16"):
        cast_onnx(model.SerializeToString(), "fp16")


class Image(nn.Module):
    """Bytes as a camera gives them: BGR, channels last; what is done before they become floats varies."""

    def __init__(self, before):
        super().__init__()
        self.before = before

    def forward(self, x):
        return self.before(x).float().mean((2, 3))


BYTES = TensorSpec("x", (-1, 4, 5, 3), np.uint8, (1, 4, 5, 3), (2, 4, 5, 3), (8, 4, 5, 3))


@pytest.mark.parametrize(
    ("before", "widened"),
    [
        (lambda x: x.permute(0, 3, 1, 2), True),
        (lambda x: x[:, 1:, ::2].permute(0, 3, 1, 2).flip(1), True),
        (lambda x: (x >> 1).permute(0, 3, 1, 2), False),
    ],
)
def test_bytes_become_floats_first_where_that_changes_nothing(cache, before, widened):
    network = vector_network(Image(before), (TensorSpec("y", (-1, 3)),), (BYTES,))
    model = onnx_model(network, cache)
    wide = float_images(model)
    check_graph(network, wide)
    nodes = onnx.load_model_from_string(wide).graph.node
    assert ((nodes[0].op_type, [*nodes[0].input]) == ("Cast", ["x"])) == widened
    assert {node.op_type for node in nodes if "x" in node.input} == ({"Cast"} if widened else {"BitShift"})
    x = np.random.default_rng(2).integers(0, 256, (3, 4, 5, 3), np.uint8)
    results = [onnxruntime.InferenceSession(file).run(None, {"x": x})[0] for file in (model, wide)]
    np.testing.assert_array_equal(*results)

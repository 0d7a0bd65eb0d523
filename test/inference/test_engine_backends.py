import numpy as np
import pytest
import torch
from small_networks import Correlation, batch, correlation
from torch import nn

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference import Network, TensorSpec, make_engine
from deep_tracking_ros.inference.onnx_backend import OnnxEngine, usable_cores
from deep_tracking_ros.inference.torch_backend import TorchEngine


@pytest.fixture(params=["torch", "onnxruntime"])
def engine(request, cache):
    engine = make_engine(correlation(), request.param, cache=cache, threads=1)
    yield engine
    engine.close()


@pytest.mark.parametrize("n", [1, 2, 4])
def test_backends_agree_with_the_module_for_every_batch(engine, n):
    with torch.inference_mode():
        expected = Correlation().eval()(*(torch.from_numpy(array) for array in batch(n).values()))
    result = engine(**batch(n))
    assert [type(array) for array in result.values()] == [np.ndarray, np.ndarray]
    np.testing.assert_allclose(result["response"], expected[0], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(result["score"], expected[1], rtol=1e-3)


def test_targets_of_a_batch_do_not_mix(engine):
    one, three = batch(1, seed=5), batch(3, seed=6)
    joined = {name: np.concatenate([three[name], one[name]]) for name in one}
    np.testing.assert_allclose(engine(**joined)["response"][3:], engine(**one)["response"], rtol=1e-4, atol=1e-2)


def test_read_only_and_strided_arrays_are_taken(engine):
    arrays = batch(2)
    expected = engine(**arrays)["response"]
    strided = np.ascontiguousarray(arrays["search"][:, :, ::-1])[:, :, ::-1]
    frozen = arrays["template"].copy()
    frozen.setflags(write=False)
    np.testing.assert_allclose(engine(template=frozen, search=strided)["response"], expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"search": None}, r"takes the inputs \['template', 'search'\], it was given \['template'\]"),
        ({"mask": np.zeros(1)}, r"it was given \['mask', 'search', 'template'\]"),
        ({"search": np.zeros((2, 3, 63, 63))}, "input 'search' is float64, it must be float32"),
        ({"search": np.zeros((2, 3, 63, 63), ">f4")}, "input 'search' is >f4, it must be float32"),
        ({"search": torch.zeros((2, 3, 63, 63), dtype=torch.bfloat16)}, "input 'search' is bfloat16"),
        ({"search": [1.0]}, "input 'search' is a list"),
        ({"search": np.zeros((2, 3, 63), np.float32)}, r"shape \(2, 3, 63\), it must be \(-1, 3, 63, 63\), from"),
        ({"search": np.zeros((0, 3, 63, 63), np.float32)}, r"from \(1, 3, 63, 63\) to \(4, 3, 63, 63\)"),
        ({"search": np.zeros((5, 3, 63, 63), np.float32)}, r"shape \(5, 3, 63, 63\)"),
        ({"search": np.zeros((2, 3, 64, 63), np.float32)}, r"shape \(2, 3, 64, 63\)"),
    ],
)
def test_wrong_inputs_are_named(engine, change, text):
    arrays = {name: array for name, array in (batch(2) | change).items() if array is not None}
    with pytest.raises(EngineError, match=text):
        engine(**arrays)


@pytest.mark.parametrize(("backend", "precision"), [("torch", "fp16"), ("onnxruntime", "fp16"), ("torch", "bf16")])
def test_half_precision_on_a_cpu_is_refused(monkeypatch, cache, backend, precision):
    monkeypatch.setattr("deep_tracking_ros.inference.torch_backend.has_gpu", lambda: False)
    monkeypatch.setattr("deep_tracking_ros.inference.onnx_backend.has_gpu", lambda: False)
    with pytest.raises(EngineError, match=f"{precision}.*use fp32"):
        make_engine(correlation(), backend, precision, cache)


def test_onnx_files_run_without_torch_and_torch_says_so(tmp_path, cache):
    from deep_tracking_ros.inference.export import export_onnx

    network = correlation()
    export_onnx(network, tmp_path / "model.onnx")
    from_file = Network("file", network.inputs, network.outputs, "f" * 64, onnx=tmp_path / "model.onnx")
    expected = make_engine(network, "torch")(**batch(2))["score"]
    np.testing.assert_allclose(make_engine(from_file, "onnxruntime", cache=cache)(**batch(2))["score"], expected, 1e-3)
    with pytest.raises(EngineError, match="comes as an ONNX file"):
        make_engine(from_file, "torch")


def test_a_module_with_too_few_outputs_is_refused():
    class One(nn.Module):
        def forward(self, a):
            return a

    a, b = TensorSpec("a", (1, 2)), TensorSpec("b", (1, 2))
    network = Network("one", (a,), (a, b), "", One)
    with pytest.raises(EngineError, match="gave 1 outputs, it declares 2"):
        TorchEngine(network, device="cpu")(a=np.zeros((1, 2), np.float32))


def test_a_failure_on_the_device_is_an_engine_error():
    class Full(nn.Module):
        def forward(self, a):
            raise torch.OutOfMemoryError("CUDA out of memory")

    a = TensorSpec("a", (1, 2))
    with pytest.raises(EngineError, match="torch failed on network 'full': CUDA out of memory"):
        TorchEngine(Network("full", (a,), (a,), "", Full), device="cpu")(a=np.zeros((1, 2), np.float32))


def test_onnx_runtime_takes_the_cores_that_the_process_has(cache):
    import os

    assert OnnxEngine(correlation(), cache=cache).threads == usable_cores() == len(os.sched_getaffinity(0))
    assert OnnxEngine(correlation(), cache=cache, threads=1).session.get_session_options().intra_op_num_threads == 1


def test_onnx_runtime_reads_and_writes_tensors_where_they_lie(cache):
    """The way that CUDA tensors take, on CPU memory: bound buffers and outputs of the right sizes."""
    engine = OnnxEngine(correlation(), cache=cache, threads=1)
    engine.device = "cpu"
    for n in (2, 3, 2):
        tensors = {name: torch.from_numpy(array) for name, array in batch(n).items()}
        outputs = engine(**tensors)
        assert all(isinstance(tensor, torch.Tensor) for tensor in outputs.values())
        np.testing.assert_allclose(outputs["response"].numpy(), engine(**batch(n))["response"], rtol=1e-5, atol=1e-4)
    assert len(engine.output_shapes) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_torch_on_a_real_gpu(precision):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU on this machine")
    engine = make_engine(correlation(), "torch", precision)
    expected = TorchEngine(correlation(), device="cpu")(**batch(3))["response"]
    on_gpu = engine(**{name: torch.from_numpy(array).cuda() for name, array in batch(3).items()})["response"]
    assert on_gpu.is_cuda
    for result in (engine(**batch(3))["response"], on_gpu.cpu().numpy()):
        assert np.abs(result - expected).max() < {"fp32": 1e-2, "fp16": 3e-2, "bf16": 1e-1}[precision] * expected.max()

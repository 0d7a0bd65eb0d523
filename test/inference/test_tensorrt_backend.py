import numpy as np
import pytest
import torch
from small_networks import batch, correlation

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.builder import build_plan
from deep_tracking_ros.inference.engine import Network, TensorSpec
from deep_tracking_ros.inference.export import onnx_model
from deep_tracking_ros.inference.tensorrt_backend import MOST_BUFFERS, TensorRTEngine
from deep_tracking_ros.inference.torch_backend import TorchEngine


@pytest.fixture
def engine(tensorrt, cache):
    network = correlation()
    plan = build_plan(tensorrt, network, onnx_model(network, cache))
    return TensorRTEngine(network, plan, tensorrt, device="cpu")


def kinds(calls, *wanted):
    return [call[0] for call in calls if call[0] in wanted]


def test_numpy_in_numpy_out_as_torch_has_it(engine):
    reference = TorchEngine(correlation(), device="cpu")
    for n, seed in ((1, 1), (3, 2), (1, 3), (3, 4), (4, 5)):
        result, expected = engine(**batch(n, seed)), reference(**batch(n, seed))
        assert {name: array.shape for name, array in result.items()} == {"response": (n, 1, 16, 16), "score": (n,)}
        np.testing.assert_allclose(result["response"], expected["response"], rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(result["score"], expected["score"], rtol=1e-3)


def test_each_shape_is_captured_once_after_a_plain_run_and_then_replayed(engine, cuda):
    cuda.calls.clear()
    for n in (2, 2, 2):
        engine(**batch(n))
    assert kinds(cuda.calls, "context", "execute", "synchronize", "capture", "replay") == (
        ["context", "execute", "synchronize", "capture"] + 2 * ["replay", "execute", "synchronize"]
    )
    contexts = {call[2] for call in cuda.calls if call[0] == "execute"}
    engine(**batch(3))
    engine(**batch(3))
    assert len({call[2] for call in cuda.calls if call[0] == "execute"} - contexts) == 1  # a context per shape


def test_a_network_that_cannot_be_captured_runs_without_graphs(engine, cuda):
    cuda.refuses_capture = True
    first, second = (engine(**batch(2))["response"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert kinds(cuda.calls, "capture", "replay") == ["capture"]
    assert "without CUDA graphs: operation not permitted" in engine.reason


def test_results_are_the_callers_own(engine):
    first = engine(**batch(2, seed=1))
    kept = first["response"].copy()
    engine(**batch(2, seed=2))
    np.testing.assert_array_equal(first["response"], kept)


def test_buffers_of_the_longest_unused_shape_go_first(tensorrt, cache, cuda):
    network = correlation()
    specs = [TensorSpec(s.name, s.shape, s.dtype, s.minimum, s.optimum, (16, *s.shape[1:])) for s in network.inputs]
    network = Network("wide", tuple(specs), network.outputs, network.digest, network.module)
    engine = TensorRTEngine(
        network, build_plan(tensorrt, network, onnx_model(network, cache)), tensorrt, "fp32", "cpu", graphs=False
    )
    for n in range(1, MOST_BUFFERS + 1):
        engine(**batch(n))
    engine(**batch(1))
    engine(**batch(MOST_BUFFERS + 1))
    sizes = [shapes[0][0] for shapes in engine.buffers]
    assert sizes == [*range(3, MOST_BUFFERS + 1), 1, MOST_BUFFERS + 1]
    assert "capture" not in kinds(cuda.calls, "capture")


def test_tensors_are_used_where_they_lie_in_stream_order(engine, cuda):
    expected = TorchEngine(correlation(), device="cpu")(**batch(3))
    inputs = {name: torch.from_numpy(array) for name, array in batch(3).items()}
    cuda.calls.clear()
    outputs = engine(**inputs)
    addresses = {call[1]: call[2] for call in cuda.calls if call[0] == "address"}
    assert addresses == {name: tensor.data_ptr() for name, tensor in (inputs | outputs).items()}
    ours = engine.stream.cuda_stream
    order = [call[:3] for call in cuda.calls if call[0] in ("wait", "execute", "synchronize", "replay")]
    assert order == [("wait", ours, 0), ("execute", ours, id(engine.context)), ("wait", 0, ours)]
    np.testing.assert_allclose(outputs["response"].numpy(), expected["response"], rtol=1e-4, atol=1e-2)


def test_wrong_inputs_never_reach_tensorrt(engine):
    with pytest.raises(EngineError, match=r"shape \(5, 3, 31, 31\).*from \(1, 3, 31, 31\) to \(4, 3, 31, 31\)"):
        engine(**batch(5))


def test_a_damaged_engine_is_refused_in_tensorrts_words(tensorrt, cache):
    network = correlation()
    plan = build_plan(tensorrt, network, onnx_model(network, cache))
    with pytest.raises(EngineError, match=r"cannot load the engine.*wrong magic number"):
        TensorRTEngine(network, plan[3:], tensorrt, device="cpu")


def test_an_engine_of_another_network_is_refused(tensorrt, cache):
    network = correlation()
    plan = build_plan(tensorrt, network, onnx_model(network, cache))
    other = Network("other", network.inputs, (TensorSpec("mask", (-1, 1)),), "e" * 64, network.module)
    with pytest.raises(EngineError, match=r"'mask'.*its engine has.*'response'"):
        TensorRTEngine(other, plan, tensorrt, device="cpu")


def test_a_failing_run_says_what_tensorrt_logged(engine):
    engine.engine.broken = True
    with pytest.raises(EngineError, match="failed on network 'correlation': illegal memory access"):
        engine(**batch(2))


def test_outputs_whose_size_depends_on_the_data_are_refused(engine):
    engine.engine.unknown_size = True
    with pytest.raises(EngineError, match="depends on the data"):
        engine(**batch(2))


@pytest.mark.gpu
def test_on_a_real_gpu(cache):
    pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU on this machine")
    from deep_tracking_ros.inference import make_engine

    for precision, tolerance in (("fp32", 1e-2), ("fp16", 3e-2), ("bf16", 1e-1)):
        try:
            engine = make_engine(correlation(), "tensorrt", precision, cache)
        except EngineError as error:
            pytest.skip(f"TensorRT does not work here: {error}")
        for n in (1, 4, 1):
            expected = TorchEngine(correlation(), device="cpu")(**batch(n))["response"]
            scale = np.abs(expected).max()
            on_gpu = engine(**{name: torch.from_numpy(array).cuda() for name, array in batch(n).items()})
            for result in (engine(**batch(n))["response"], on_gpu["response"].cpu().numpy()):
                assert np.abs(result - expected).max() < tolerance * scale

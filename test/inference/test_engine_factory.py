import hashlib
import re

import numpy as np
import onnx
import pytest
from small_networks import batch, correlation

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference import SwappableEngine, builder, factory, gpu, make_engine
from deep_tracking_ros.inference.parity import Sample
from deep_tracking_ros.inference.tensorrt_backend import TensorRTEngine
from deep_tracking_ros.inference.torch_backend import TorchEngine


@pytest.fixture
def no_gpu(monkeypatch):
    def none():
        raise EngineError("there is no NVIDIA driver (libcuda.so.1) on this machine")

    for module in (gpu, builder):
        monkeypatch.setattr(module, "find_gpu", none)


@pytest.fixture
def on_cpu(monkeypatch):
    """Engines for the GPU of `fake_gpu` keep their memory on the CPU."""
    for kind in (TensorRTEngine, TorchEngine):
        monkeypatch.setattr(
            factory, kind.__name__, lambda *args, kind=kind, **named: kind(*args, device="cpu", **named)
        )


def test_on_a_cpu_onnx_runtime_is_chosen_and_says_why(no_gpu, cache):
    log = []
    engine = make_engine(correlation(), cache=cache, threads=1, log=log.append)
    assert engine.backend == "onnxruntime"
    assert engine.reason.startswith("onnxruntime fp32 on cpu with 1 threads; no TensorRT: ")
    assert log == [f"network correlation: {engine.reason}"]


def test_a_gpu_without_tensorrt_is_used_by_torch_rather_than_a_cpu_onnx_runtime(fake_gpu, on_cpu, no_tensorrt, cache):
    engine = make_engine(correlation(), cache=cache)
    assert engine.backend == "torch"
    assert "there is no module tensorrt;" in engine.reason


def test_torch_serves_where_onnx_runtime_is_missing(no_gpu, cache, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    engine = make_engine(correlation(), cache=cache)
    assert engine.backend == "torch"
    assert "no onnxruntime: onnxruntime cannot be imported" in engine.reason


def test_every_reason_is_given_where_nothing_works(no_gpu, cache):
    with pytest.raises(EngineError, match=r"no TensorRT: .*; no onnxruntime: .*fp16.*; no torch: .*fp16"):
        make_engine(correlation(), precision="fp16", cache=cache)


def test_while_tensorrt_is_to_be_built_another_serves_and_is_swapped(tensorrt, fake_gpu, on_cpu, cache):
    network = correlation()
    engine = make_engine(network, cache=cache, threads=1)
    assert isinstance(engine, SwappableEngine)
    assert engine.backend == "torch"
    assert "still to be built" in engine.reason
    before = engine(**batch(2))["response"]

    heard = []
    engine.upgrade(lambda fraction, text: heard.append(fraction))
    after = engine(**batch(2))["response"]
    assert engine.backend == "tensorrt"
    assert engine.reason.startswith("tensorrt fp32 on cpu; off by ")
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-2)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0

    again = make_engine(network, cache=cache)  # from now on it is there at once
    assert isinstance(again, TensorRTEngine)
    assert sum(call[0] == "build" for call in tensorrt.calls) == 1


def test_a_build_that_fails_leaves_the_present_engine(tensorrt, fake_gpu, on_cpu, cache):
    engine = make_engine(correlation(), cache=cache, threads=1)
    with pytest.raises(EngineError, match="the build was stopped"):
        engine.upgrade(lambda fraction, text: False)
    assert engine(**batch(1))["score"].shape == (1,)
    assert engine.backend == "torch"
    assert [entry.key["kind"] for entry in cache.entries()] == ["onnx"]


def test_tensorrt_by_name_builds_at_once(tensorrt, fake_gpu, on_cpu, cache):
    engine = make_engine(correlation(), "tensorrt", "fp16", cache)
    assert (engine.backend, engine.precision) == ("tensorrt", "fp16")
    expected = TorchEngine(correlation(), device="cpu")(**batch(2))["response"]
    assert np.abs(engine(**batch(2))["response"] - expected).max() < 0.02 * expected.max()


def test_tensorrt_by_name_says_why_not(no_tensorrt, fake_gpu, cache):
    with pytest.raises(EngineError, match="no module tensorrt; there is no module tensorrt_rtx"):
        make_engine(correlation(), "tensorrt", cache=cache)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"backend": "tensorflow"}, "backend is 'tensorflow', it must be one of auto, tensorrt, onnxruntime, torch"),
        ({"precision": "int8"}, "precision is 'int8', it must be one of fp32, fp16, bf16"),
        ({"threads": -1}, "threads is -1"),
    ],
)
def test_wrong_arguments_are_named(arguments, text):
    with pytest.raises(EngineError, match=text):
        make_engine(correlation(), **arguments)


def sample(factor=1.0):
    inputs = batch(2)
    outputs = TorchEngine(correlation(), device="cpu")(**inputs)
    return Sample(inputs, {name: output * np.float32(factor) for name, output in outputs.items()})


def test_a_backend_serves_once_it_gave_the_sample(no_gpu, cache):
    log = []
    engine = make_engine(correlation(), cache=cache, threads=1, log=log.append, sample=sample())
    assert re.search(r"; off by \d\.\de-0\d on its sample$", engine.reason)
    assert log == [f"network correlation: {engine.reason}"]


def test_a_backend_that_is_off_the_sample_is_refused_with_the_difference(no_gpu, cache):
    with pytest.raises(EngineError, match=r"'correlation' on torch in fp32 is off by 0\.1.*limit 0\.01"):
        make_engine(correlation(), "torch", cache=cache, sample=sample(1 / 1.1))
    with pytest.raises(EngineError, match=r"no onnxruntime: .* off by 0\.1.*no torch: .* off by 0\.1"):
        make_engine(correlation(), cache=cache, threads=1, sample=sample(1 / 1.1))


def test_auto_passes_over_an_engine_in_the_cache_that_gives_other_numbers(tensorrt, fake_gpu, on_cpu, cache):
    make_engine(correlation(), "tensorrt", cache=cache).close()
    (entry,) = [entry for entry in cache.entries() if entry.key["kind"] == "engine"]
    plan, sidecar = entry.path.read_bytes(), entry.path.with_name(entry.path.name + ".json")
    header, _, model = plan.partition(b"]}]\n")  # profiles, then the ONNX file
    proto = onnx.load_model_from_string(model)
    weights = proto.graph.initializer[0]
    weights.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weights), weights.name))
    other = header + b"]}]\n" + proto.SerializeToString()
    entry.path.write_bytes(other)
    sums = [hashlib.sha256(data).hexdigest() for data in (plan, other)]
    sidecar.write_text(sidecar.read_text().replace(*sums))

    engine = make_engine(correlation(), cache=cache, sample=sample())
    assert engine.backend == "torch"
    assert re.search(r"no tensorrt: .* is off by .*engines clear", engine.reason)


def test_threads_of_torch_are_those_of_the_process(no_gpu):
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        TorchEngine(correlation(), device="cpu")
        assert torch.get_num_threads() == 2
        make_engine(correlation(), "torch", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)

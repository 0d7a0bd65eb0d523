import sys

import pytest
from fake_tensorrt import FakeCuda, make_tensorrt

from deep_tracking_ros.inference import EngineCache, gpu


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / "cache")


@pytest.fixture
def cuda(monkeypatch):
    return FakeCuda(monkeypatch)


@pytest.fixture
def no_tensorrt(monkeypatch):
    """A machine without any TensorRT."""
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(params=[10, 11])
def tensorrt(request, monkeypatch, cuda):
    """A stand-in for TensorRT 10 and 11, importable as ``tensorrt``, and for the GPU that it needs."""
    module = make_tensorrt(request.param, cuda.calls, cuda)
    module.__spec__ = object()  # importlib asks for it
    module.calls, module.generation = cuda.calls, request.param
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.fixture
def fake_gpu(monkeypatch):
    """A GPU by name; nothing can run on it."""
    found = gpu.Gpu("NVIDIA Test", "8.9")
    for module in ("gpu", "builder"):
        monkeypatch.setattr(sys.modules[f"deep_tracking_ros.inference.{module}"], "find_gpu", lambda: found)
    return found

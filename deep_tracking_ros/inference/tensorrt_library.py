"""TensorRT, whichever there is: 10, 11 or TensorRT for RTX, told apart by what they have and not by their version."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from deep_tracking_ros.errors import EngineError

FULL = ("tensorrt",)
RTX = ("tensorrt_rtx", "tensorrt_rtx_bindings")

RTX_WHEELS = "onnxruntime-ep-nv-tensorrt-rtx-cu12==0.5.0 and tensorrt-rtx-cu12-bindings==1.7.1.116"
"""The pair that carries TensorRT-RTX whole: libraries in the one, Python module in the other. The extra ``rtx``."""


def load_tensorrt(modules: tuple[str, ...] = FULL + RTX) -> Any:
    """The first TensorRT module of these that works here.

    Raises `EngineError` saying for each why not.
    """
    faults = []
    for name in modules:
        if importlib.util.find_spec(name) is None:
            faults.append(f"there is no module {name}")
            continue
        try:
            if name == "tensorrt_rtx_bindings":
                _preload_rtx()
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            faults.append(f"{name} cannot be imported ({error})")
            continue
        if not hasattr(module, "Builder"):
            faults.append(f"{name} holds type stubs only")
        elif hasattr(module.ICudaEngine, "get_binding_shape"):
            faults.append(f"{name} is version {module.__version__}, this package needs 10 or newer")
        else:
            return module
    raise EngineError("; ".join(faults))


def library_name(trt: Any) -> str:
    """Name and version of a TensorRT module, as cache keys and reports have it."""
    return f"{'tensorrt-rtx' if 'rtx' in trt.__name__ else 'tensorrt'} {trt.__version__}"


def is_strongly_typed(trt: Any) -> bool:
    """Whether precision comes from the ONNX file (TensorRT 11, RTX) rather than from builder flags (10)."""
    return not hasattr(trt.BuilderFlag, "FP16")


def make_logger(trt: Any) -> Any:
    """A TensorRT logger that keeps what went wrong: ``errors``, a list of texts."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(text.strip())

    return Logger()


def _preload_rtx() -> None:
    """Load the libraries that the bindings want and that lie in another wheel, parser last."""
    spec = importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for name in ("libtensorrt_rtx.so.*", "libtensorrt_onnxparser_rtx.so.*"):
            for path in sorted(Path(folder).glob(name)):
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)

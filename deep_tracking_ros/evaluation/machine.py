"""The machine a measurement is taken on: without it, a time or a frame rate means nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deep_tracking_ros.inference.onnx_backend import usable_cores

PACKAGES = ("numpy", "torch", "onnxruntime", "tensorrt", "tensorrt_rtx", "opencv-contrib-python", "opencv-python")


def processor() -> str:
    """Name of the processor, e.g. 'Intel(R) Xeon(R) CPU @ 2.20GHz'."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()


def accelerator() -> str | None:
    """Name of the CUDA device that torch sees; None without one, or where torch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def machine() -> dict[str, Any]:
    """Processor, cores, accelerator, system and versions of the libraries that take part in a measurement."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 2),
        "accelerator": accelerator(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def limit_threads(threads: int) -> None:
    """Let OpenCV and torch use this many threads from now on; ONNX Runtime is told when an engine is made."""
    import cv2

    cv2.setNumThreads(threads)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)

"""The GPU that engines run on: the current CUDA device (choose another with ``CUDA_VISIBLE_DEVICES``)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from deep_tracking_ros.errors import EngineError


@dataclass(frozen=True)
class Gpu:
    """What a TensorRT engine is tied to."""

    name: str
    capability: str  # compute capability, such as '8.9'


def find_gpu() -> Gpu:
    """The current CUDA device. Raises `EngineError` saying why there is none that can be used."""
    try:
        ctypes.CDLL("libcuda.so.1")  # asked first: importing torch takes seconds that a CPU machine need not spend
    except OSError as error:
        raise EngineError("there is no NVIDIA driver (libcuda.so.1) on this machine") from error
    try:
        import torch
    except ImportError as error:
        raise EngineError(f"torch cannot be imported ({error}); it is needed to use the GPU") from error

    if not torch.cuda.is_available():
        raise EngineError("torch sees no CUDA GPU: it is a CPU build, or the driver does not fit it")
    index = torch.cuda.current_device()
    major, minor = torch.cuda.get_device_capability(index)
    return Gpu(torch.cuda.get_device_name(index), f"{major}.{minor}")


def has_gpu() -> bool:
    """Whether `find_gpu` finds one."""
    try:
        find_gpu()
    except EngineError:
        return False
    return True

"""The one door to a network: numpy (or torch CUDA) arrays in, arrays out, whatever runs behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from deep_tracking_ros.errors import EngineError

if TYPE_CHECKING:
    import torch

Array = Any
"""A numpy array, or on a GPU a torch CUDA tensor."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, type and shape of one input or output.

    ``shape`` has -1 for a dynamic axis. Inputs with a dynamic axis give the profile for which engines are built:
    ``minimum``, ``optimum`` and ``maximum`` shapes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DTypeLike = np.float32
    minimum: tuple[int, ...] | None = None
    optimum: tuple[int, ...] | None = None
    maximum: tuple[int, ...] | None = None

    def check(self, array: Array) -> None:
        """Raise `EngineError` where an array is not of this type and shape, or outside of the profile."""
        if not hasattr(array, "dtype"):
            raise EngineError(f"input {self.name!r} is a {type(array).__name__}, it must be a numpy array or a tensor")
        if array.dtype != self.dtype:  # text is slow to make, so it is compared for tensors only
            name = str(array.dtype).removeprefix("torch.")
            if name != str(np.dtype(self.dtype)):
                raise EngineError(f"input {self.name!r} is {name}, it must be {np.dtype(self.dtype)}")
        shape = tuple(array.shape)
        low, high = self.minimum or self.shape, self.maximum or self.shape
        fits = len(shape) == len(self.shape) and all(
            n == s or (s == -1 and (a == -1 or a <= n) and (b == -1 or n <= b))
            for n, s, a, b in zip(shape, self.shape, low, high, strict=True)
        )
        if not fits:
            limits = f", from {low} to {high}" if -1 in self.shape else ""
            raise EngineError(f"input {self.name!r} has shape {shape}, it must be {self.shape}{limits}")


@dataclass(frozen=True)
class Network:
    """A network before a backend was chosen: how to get it, and what goes in and out.

    Either ``module`` (a function that builds the ready torch module, called only when torch or an export needs it)
    or ``onnx`` (a file) is given. ``digest`` changes whenever architecture or weights change: it keys every cache.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    module: Callable[[], torch.nn.Module] | None = None
    onnx: Path | None = None


class Engine(ABC):
    """A network ready to run on one backend, from any number of threads: calls take turns."""

    backend: str
    """Backend in use: 'torch', 'onnxruntime' or 'tensorrt'."""

    precision: str
    """'fp32', 'fp16' or 'bf16'."""

    device: str = "cpu"
    """'cpu' or 'cuda': where it runs."""

    reason: str = ""
    """Why this backend runs, and not one that would be preferred; a sentence for logs and diagnostics."""

    def __init__(self, network: Network, precision: str) -> None:
        self.network = network
        self.precision = precision
        self.closed = False
        self._turn = Lock()  # held by all that uses or changes what is behind the call

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.network.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.network.outputs

    def __call__(self, **arrays: Array) -> dict[str, Array]:
        """Run the network on one batch; a call from another thread waits until this one is done.

        Args:
            arrays: one array per input, by name; numpy, or torch CUDA tensors where the backend runs on a GPU.

        Returns:
            One array per output, by name: numpy for numpy, CUDA tensors for CUDA tensors.

        Raises:
            EngineError: an input is missing, unknown, or of another type or shape than declared; the run
                failed; or the engine was closed.
        """
        names = [spec.name for spec in self.inputs]
        if set(arrays) != set(names):
            raise EngineError(f"network {self.network.name!r} takes the inputs {names}, it was given {sorted(arrays)}")
        for spec in self.inputs:
            spec.check(arrays[spec.name])
        try:
            with self._turn:
                if self.closed:
                    raise EngineError(f"the engine of network {self.network.name!r} was closed; make another one")
                return self.run(arrays)
        except RuntimeError as error:  # torch's word for all that can happen on a device, such as no memory left
            text = f"{self.backend} failed on network {self.network.name!r}: {error}"
            raise EngineError(text) from error

    @abstractmethod
    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run on arrays that were checked; never entered by two threads at a time."""

    def close(self) -> None:
        """Free what the engine holds, after the call that is under way; later calls raise `EngineError`."""
        with self._turn:
            if not self.closed:
                self.closed = True
                self.free()

    def free(self) -> None:
        """Let go of memory and sessions; called once, while nothing runs."""

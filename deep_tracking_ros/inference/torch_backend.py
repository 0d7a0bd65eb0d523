"""Networks run by torch itself: the reference that the other backends are compared with, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.engine import Array, Engine, Network
from deep_tracking_ros.inference.export import build_module
from deep_tracking_ros.inference.gpu import has_gpu

if TYPE_CHECKING:
    import torch


class TorchEngine(Engine):
    """Runs a torch module eagerly; fp16 and bf16 by autocast, which keeps what needs fp32 in fp32.

    Threads are those of the process (`torch.set_num_threads`): torch has no others.
    """

    backend = "torch"

    def __init__(
        self, network: Network, precision: str = "fp32", device: str | None = None, threads: int = 0
    ) -> None:  # fmt: skip
        """Load the module.

        Args:
            network: what to run.
            precision: 'fp32'; on a GPU also 'fp16' or 'bf16'.
            device: 'cpu' or 'cuda'. None = the GPU if there is one.
            threads: if more than 0, torch uses so many from now on in the whole process; on a CPU only.

        Raises:
            EngineError: half precision on a CPU, or a network without a torch module.
        """
        super().__init__(network, precision)
        self.device = device or ("cuda" if has_gpu() else "cpu")
        if self.device == "cpu" and precision != "fp32":
            raise EngineError(f"torch runs {precision} on GPUs only, on a CPU it is many times slower; use fp32")
        self.module = build_module(network).to(self.device)
        if threads and self.device == "cpu":
            import torch

            torch.set_num_threads(threads)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        on_tensors = any(not isinstance(array, np.ndarray) for array in arrays.values())
        autocast = torch.autocast(
            "cuda",
            dtype=torch.bfloat16 if self.precision == "bf16" else torch.float16,
            enabled=self.precision != "fp32",
        )
        with torch.inference_mode(), autocast:
            results = self.module(*(self._tensor(arrays[spec.name]) for spec in self.inputs))
        results = (results,) if isinstance(results, torch.Tensor) else tuple(results)
        if len(results) != len(self.outputs):
            raise EngineError(
                f"network {self.network.name!r} gave {len(results)} outputs, it declares {len(self.outputs)}"
            )
        outputs: dict[str, Array] = {}
        for spec, result in zip(self.outputs, results, strict=True):
            tensor = result.to(getattr(torch, str(np.dtype(spec.dtype))))
            outputs[spec.name] = tensor if on_tensors else tensor.cpu().numpy()
        return outputs

    def _tensor(self, array: Array) -> torch.Tensor:
        import torch

        if not isinstance(array, np.ndarray):
            if array.device.type != self.device:
                raise EngineError(f"the tensor is on {array.device}, network {self.network.name!r} on {self.device}")
            return array  # type: ignore[no-any-return]  # Array is a tensor here
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()  # torch can share neither
        return torch.from_numpy(array).to(self.device)

    def free(self) -> None:
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()  # work on tensors may still be under way, on any stream
        del self.module

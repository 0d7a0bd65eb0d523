"""Networks run by ONNX Runtime: the fastest on CPUs, and on GPUs without TensorRT where its CUDA provider is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.cache import EngineCache, Log
from deep_tracking_ros.inference.engine import Array, Engine, Network
from deep_tracking_ros.inference.export import onnx_model
from deep_tracking_ros.inference.gpu import has_gpu
from deep_tracking_ros.inference.precision import cast_onnx


def usable_cores() -> int:
    """CPU cores that this process may use (its affinity mask: containers and ``taskset`` narrow it)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_cuda_provider() -> bool:
    """Whether the installed ONNX Runtime has its CUDA provider and there is a GPU for it."""
    try:
        import onnxruntime
    except ImportError:
        return False
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers() and has_gpu()


class OnnxEngine(Engine):
    """Runs the ONNX file of a network."""

    backend = "onnxruntime"

    def __init__(
        self,
        network: Network,
        precision: str = "fp32",
        cache: EngineCache | None = None,
        threads: int = 0,
        log: Log | None = None,
    ) -> None:
        """Open a session, on the GPU if it can be.

        Args:
            network: what to run.
            precision: 'fp32', or 'fp16' on a GPU.
            cache: where the exported network is kept.
            threads: of one call, on a CPU. 0 = the cores of the affinity mask; left to itself ONNX Runtime counts
                the machine's cores, also those that a container does not have, and pins threads to them.
            log: is told of what the cache does.

        Raises:
            EngineError: ONNX Runtime is missing or cannot run the network, or not in this precision.
        """
        super().__init__(network, precision)
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineError(f"onnxruntime cannot be imported: {error}; install onnxruntime") from error
        self.device = "cuda" if has_cuda_provider() else "cpu"
        if precision == "bf16" or (precision == "fp16" and self.device == "cpu"):
            raise EngineError(f"ONNX Runtime does not run {precision} on this {self.device.upper()}; use fp32")
        if self.device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN from torch's wheels, where the system has none
        model = onnx_model(network, cache or EngineCache(), log)
        if precision != "fp32":
            model = cast_onnx(model, precision)
        self.threads = threads or usable_cores()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Waiting threads that spin take the cores from the camera driver and the rest of the robot between two calls.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = (["CUDAExecutionProvider"] if self.device == "cuda" else []) + ["CPUExecutionProvider"]
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # its exceptions have no common base
            raise EngineError(f"ONNX Runtime cannot load network {network.name!r}: {error}") from error
        if self.session.get_providers()[0] != providers[0]:
            raise EngineError(
                f"ONNX Runtime could not start its {providers[0]}: its CUDA or cuDNN libraries are missing"
            )
        self.names = [spec.name for spec in network.outputs]
        self.output_shapes: dict[tuple[tuple[int, ...], ...], list[tuple[int, ...]]] = {}

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        try:
            if all(isinstance(array, np.ndarray) for array in arrays.values()):
                return dict(zip(self.names, self.session.run(self.names, arrays), strict=True))
            return self._run_bound(arrays)
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed on network {self.network.name!r}: {error}") from error

    def _run_bound(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run on tensors where they lie, into tensors on the same device."""
        import torch

        tensors = {name: torch.as_tensor(array, device=self.device).contiguous() for name, array in arrays.items()}
        shapes = tuple(tuple(tensors[spec.name].shape) for spec in self.inputs)
        if shapes not in self.output_shapes:  # one run through the host says how large the outputs are
            host = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
            self.output_shapes[shapes] = [output.shape for output in self.session.run(self.names, host)]
        outputs = {
            spec.name: torch.empty(shape, dtype=getattr(torch, str(np.dtype(spec.dtype))), device=self.device)
            for spec, shape in zip(self.outputs, self.output_shapes[shapes], strict=True)
        }
        binding = self.session.io_binding()
        for spec in self.inputs:
            binding.bind_input(**_buffer(spec.name, tensors[spec.name], np.dtype(spec.dtype)))
        for spec in self.outputs:
            binding.bind_output(**_buffer(spec.name, outputs[spec.name], np.dtype(spec.dtype)))
        if self.device == "cuda":
            torch.cuda.current_stream().synchronize()  # ONNX Runtime works on a stream of its own
        self.session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return dict(outputs)

    def free(self) -> None:
        del self.session


def _buffer(name: str, tensor: Any, dtype: np.dtype[Any]) -> dict[str, Any]:
    return {
        "name": name,
        "device_type": tensor.device.type,
        "device_id": tensor.device.index or 0,
        "element_type": dtype,
        "shape": tuple(tensor.shape),
        "buffer_ptr": tensor.data_ptr(),
    }

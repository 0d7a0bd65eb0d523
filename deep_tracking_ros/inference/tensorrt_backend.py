"""Networks run by TensorRT: engines of `deep_tracking_ros.inference.builder`, memory and streams of torch.

Two ways through an engine, by what is given to it:

numpy
    The arrays go through fixed buffers (pinned host memory and GPU memory, one set per shapes), so the network is
    captured once as a CUDA graph and from then on started with one call.
CUDA tensors
    The engine reads and writes the tensors where they lie. The work is put in order with the caller's current stream:
    the call returns before it is done, and whatever is put on that stream afterwards sees the results.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.engine import Array, Engine, Network, TensorSpec
from deep_tracking_ros.inference.tensorrt_library import make_logger

if TYPE_CHECKING:
    import tensorrt
    import torch

Shapes = tuple[tuple[int, ...], ...]

MOST_BUFFERS = 8
"""Sets of fixed buffers (each with its execution context and graph) that are kept; the longest unused goes first."""


@dataclass
class Buffers:
    """Fixed memory for inputs and outputs of one set of shapes, and what runs on it."""

    context: tensorrt.IExecutionContext  # of its own: a captured graph is bound to its context's shapes and memory
    host: dict[str, torch.Tensor]
    device: dict[str, torch.Tensor]
    graph: torch.cuda.CUDAGraph | None = None


class TensorRTEngine(Engine):
    """Runs a serialized TensorRT engine on the current CUDA device."""

    backend = "tensorrt"

    def __init__(
        self,
        network: Network,
        plan: bytes,
        trt: Any,
        precision: str = "fp32",
        device: str = "cuda",
        graphs: bool = True,
    ) -> None:
        """Load an engine.

        Args:
            network: what the engine was built from.
            plan: the serialized engine.
            trt: the TensorRT module, the same that built it.
            precision: what it was built in.
            device: where its memory is.
            graphs: run numpy arrays through CUDA graphs.

        Raises:
            EngineError: TensorRT cannot load the engine, or its tensors are not those of the network.
        """
        super().__init__(network, precision)
        import torch

        self.device, self.graphs = device, graphs
        self.logger = make_logger(trt)
        self.runtime: tensorrt.Runtime = trt.Runtime(self.logger)
        engine: tensorrt.ICudaEngine | None = self.runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(f"TensorRT cannot load the engine of network {network.name!r}: {self._errors()}")
        self.engine = engine
        self._check_tensors(trt)
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # execute_async_v3 synchronises the whole GPU on the default stream
        self.context = self._new_context()
        self.buffers: OrderedDict[Shapes, Buffers] = OrderedDict()

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if all(isinstance(array, np.ndarray) for array in arrays.values()):
            return self._run_host(arrays)
        return self._run_device(arrays)

    def free(self) -> None:
        self.stream.synchronize()
        self.buffers.clear()
        del self.context, self.engine, self.runtime

    def _run_device(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        tensors = {name: torch.as_tensor(array, device=self.device).contiguous() for name, array in arrays.items()}
        shapes = self._set_inputs(self.context, tensors)
        # Memory is taken and given back on the caller's stream; both waits together make that safe for ours.
        outputs = {spec.name: torch.empty(shape, **self._kind(spec)) for spec, shape in shapes}
        for name, tensor in (*tensors.items(), *outputs.items()):
            self.context.set_tensor_address(name, tensor.data_ptr())
        caller = torch.cuda.current_stream()
        self.stream.wait_stream(caller)
        self._execute(self.context)
        caller.wait_stream(self.stream)
        return dict(outputs)

    def _run_host(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        shapes = tuple(arrays[spec.name].shape for spec in self.inputs)
        if shapes not in self.buffers:
            if len(self.buffers) >= MOST_BUFFERS:
                self.buffers.popitem(last=False)
            self.buffers[shapes] = self._make_buffers(shapes)
        self.buffers.move_to_end(shapes)
        buffers = self.buffers[shapes]
        for spec in self.inputs:
            np.copyto(buffers.host[spec.name].numpy(), arrays[spec.name])
        with torch.cuda.stream(self.stream):
            for spec in self.inputs:
                buffers.device[spec.name].copy_(buffers.host[spec.name], non_blocking=True)
            if buffers.graph is None:
                self._execute(buffers.context)
            else:
                buffers.graph.replay()
            for spec in self.outputs:
                buffers.host[spec.name].copy_(buffers.device[spec.name], non_blocking=True)
        self.stream.synchronize()
        if self.graphs and buffers.graph is None:  # captured after a first plain run, as TensorRT wants it
            buffers.graph = self._capture(buffers.context)
        return {spec.name: buffers.host[spec.name].numpy().copy() for spec in self.outputs}

    def _make_buffers(self, shapes: Shapes) -> Buffers:
        import torch

        context = self._new_context()
        device = {
            spec.name: torch.empty(shape, **self._kind(spec)) for spec, shape in zip(self.inputs, shapes, strict=True)
        }
        for spec, shape in self._set_inputs(context, device):
            device[spec.name] = torch.empty(shape, **self._kind(spec))
        for name, tensor in device.items():
            context.set_tensor_address(name, tensor.data_ptr())
        pinned = self.device != "cpu"
        host = {name: torch.empty(t.shape, dtype=t.dtype, pin_memory=pinned) for name, t in device.items()}
        return Buffers(context, host, device)

    def _capture(self, context: tensorrt.IExecutionContext) -> torch.cuda.CUDAGraph | None:
        """The run of a context as a graph; nothing where the network cannot be captured, it then goes on without."""
        import torch

        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self._execute(context)
        except (RuntimeError, EngineError) as error:
            self.graphs = False
            self.reason += f"; without CUDA graphs: {error}"
            return None
        return graph

    def _set_inputs(
        self, context: tensorrt.IExecutionContext, tensors: Mapping[str, torch.Tensor]
    ) -> list[tuple[TensorSpec, tuple[int, ...]]]:
        """Tell a context the shapes of the inputs; returns those of the outputs."""
        for spec in self.inputs:
            shape = tuple(tensors[spec.name].shape)
            if not context.set_input_shape(spec.name, shape):
                raise EngineError(f"TensorRT refuses shape {shape} for input {spec.name!r}: {self._errors()}")
        shapes = [(spec, tuple(context.get_tensor_shape(spec.name))) for spec in self.outputs]
        if unknown := [spec.name for spec, shape in shapes if -1 in shape]:
            raise EngineError(f"the size of outputs {unknown} depends on the data; use a fixed top-k in the network")
        return shapes

    def _execute(self, context: tensorrt.IExecutionContext) -> None:
        if not context.execute_async_v3(self.stream.cuda_stream):
            raise EngineError(f"TensorRT failed on network {self.network.name!r}: {self._errors()}")

    def _new_context(self) -> tensorrt.IExecutionContext:
        context: tensorrt.IExecutionContext | None = self.engine.create_execution_context()
        if context is None:
            raise EngineError(f"TensorRT has no memory to run network {self.network.name!r}: {self._errors()}")
        return context

    def _check_tensors(self, trt: Any) -> None:
        """Raise `EngineError` unless the engine's inputs and outputs are those that the network declares."""
        types = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "BOOL": "bool"}
        found = {}
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            dtype = self.engine.get_tensor_dtype(name).name
            is_input = self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            found[name] = (types.get(dtype, dtype.lower()), "input" if is_input else "output")
        declared = {spec.name: (str(np.dtype(spec.dtype)), "input") for spec in self.inputs}
        declared |= {spec.name: (str(np.dtype(spec.dtype)), "output") for spec in self.outputs}
        if found != declared:
            raise EngineError(f"network {self.network.name!r} declares {declared}, its engine has {found}")

    def _kind(self, spec: TensorSpec) -> dict[str, Any]:
        import torch

        return {"dtype": getattr(torch, str(np.dtype(spec.dtype))), "device": self.device}

    def _errors(self) -> str:
        """What TensorRT logged since the last call."""
        errors, self.logger.errors = self.logger.errors, []
        return "; ".join(errors) or "it gives no reason"

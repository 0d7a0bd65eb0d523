"""A stand-in for the ``tensorrt`` module and for CUDA streams and graphs, on the CPU.

It keeps TensorRT's rules (what must be called before what, what is refused) and really computes: an "engine" is the
ONNX file with a header, and `execute_async_v3` reads the inputs from the addresses it was given, runs the file by ONNX
Runtime and writes the outputs to their addresses. All calls that matter are written into one list, in order.
"""

import ctypes
import enum
import json
import types
from contextlib import contextmanager

import numpy as np
import onnx
import onnxruntime
import torch

MAGIC = b"fake engine\n"


class FakeCuda:
    """Streams and graphs that note what is asked of them; work is done at once, or when a graph is replayed."""

    def __init__(self, monkeypatch):
        self.calls = []
        self.captured = None  # the work list of the graph that is being captured
        self.refuses_capture = False
        self.streams = 0
        cuda = self

        class Stream:
            def __init__(self):
                cuda.streams += 1
                self.cuda_stream = cuda.streams

            def wait_stream(self, other):
                cuda.calls.append(("wait", self.cuda_stream, other.cuda_stream))

            def synchronize(self):
                cuda.calls.append(("synchronize", self.cuda_stream))

        class Graph:
            def __init__(self):
                self.work = []

            def replay(self):
                cuda.calls.append(("replay", cuda.current.cuda_stream))
                for step in self.work:
                    step()

        @contextmanager
        def stream(new):
            old, cuda.current = cuda.current, new
            yield
            cuda.current = old

        @contextmanager
        def graph(new, stream, capture_error_mode):
            assert capture_error_mode == "thread_local"
            cuda.calls.append(("capture", stream.cuda_stream))
            if cuda.refuses_capture:
                raise RuntimeError("operation not permitted when stream is capturing")
            cuda.captured = new.work
            yield
            cuda.captured = None

        self.current = Stream()
        self.current.cuda_stream = 0  # the default stream
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "stream", stream)
        monkeypatch.setattr(torch.cuda, "graph", graph)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: self.current)

    def do(self, work):
        if self.captured is None:
            work()
        else:
            self.captured.append(work)


def make_tensorrt(generation, calls, cuda=None):
    """A module with the names of TensorRT 10 or 11 that engines need; ``calls`` collects what is done with it."""
    trt = types.ModuleType("tensorrt")
    trt.__version__ = {10: "10.13.3.9", 11: "11.4.0.106"}[generation]
    trt.DataType = enum.Enum("DataType", "FLOAT HALF BF16 INT32 INT64 BOOL")
    trt.TensorIOMode = enum.Enum("TensorIOMode", "NONE INPUT OUTPUT")
    trt.MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE")
    trt.BuilderFlag = enum.Enum("BuilderFlag", "FP16 BF16 TF32" if generation == 10 else "TF32")
    kinds = {np.dtype(np.float32): "FLOAT", np.dtype(np.int64): "INT64", np.dtype(np.int32): "INT32"}

    class ILogger:
        Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

        def error(self, text):
            self.log(ILogger.Severity.ERROR, text)

    class IProgressMonitor:
        pass

    class NetworkDefinition:
        model = b""

    class OnnxParser:
        num_errors = 0

        def __init__(self, network, logger):
            self.network = network

        def parse(self, model):
            if "NonZero" in {node.op_type for node in onnx.load_model_from_string(model).graph.node}:
                self.num_errors = 1
                return False
            calls.append(("parse", onnx_types(model)))
            self.network.model = model
            return True

        def get_error(self, index):
            return "In node 0 (parseNode):\n  NonZero is not supported"

    class Profile:
        def __init__(self):
            self.shapes = {}

        def set_shape(self, name, low, best, high):
            self.shapes[name] = [low, best, high]

    class BuilderConfig:
        progress_monitor = None

        def __init__(self):
            self.flags, self.profiles = [], []

        def set_flag(self, flag):
            self.flags.append(flag.name)

        def set_memory_pool_limit(self, pool, size):
            calls.append(("memory", pool.name, size))

        def add_optimization_profile(self, shapes):
            self.profiles.append(shapes.shapes)
            return 0

    class Builder:
        def __init__(self, logger):
            self.logger = logger

        def create_network(self, flags):
            assert flags == 0
            return NetworkDefinition()

        def create_builder_config(self):
            return BuilderConfig()

        def create_optimization_profile(self):
            return Profile()

        def build_serialized_network(self, network, config):
            monitor = config.progress_monitor
            if monitor:
                monitor.phase_start("build", None, 2)
                monitor.phase_start("tune", "build", 2)
                for phase, step in (("tune", 0), ("tune", 1), ("build", 0), ("build", 1)):
                    if not monitor.step_complete(phase, step):
                        return None
                monitor.phase_finish("tune")
                monitor.phase_finish("build")
            if calls and calls[0] == "refuse":
                self.logger.error("no kernel for this layer")
                return None
            calls.append(("build", tuple(config.flags), config.profiles))
            return MAGIC + json.dumps(config.profiles).encode() + b"\n" + network.model

    class Context:
        def __init__(self, engine):
            self.engine, self.shapes, self.addresses = engine, {}, {}

        def set_input_shape(self, name, shape):
            low, _, high = self.engine.profile[name]
            if not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
                self.engine.logger.error(f"{name} is out of the profile")
                return False
            self.shapes[name] = shape
            return True

        def get_tensor_shape(self, name):
            if self.engine.unknown_size:
                return (-1,)
            feeds = {i.name: np.zeros(self.shapes[i.name], np.float32) for i in self.engine.session.get_inputs()}
            return self.engine.session.run([name], feeds)[0].shape

        def set_tensor_address(self, name, address):
            self.addresses[name] = address
            calls.append(("address", name, address))
            return True

        def execute_async_v3(self, stream_handle):
            assert stream_handle, "the default stream synchronises the whole GPU"
            if self.engine.broken:
                self.engine.logger.error("illegal memory access")
                return False
            cuda.do(lambda: self._compute(stream_handle))
            return True

        def _compute(self, handle):
            calls.append(("execute", handle, id(self)))
            inputs = self.engine.session.get_inputs()
            feeds = {i.name: _memory(self.addresses[i.name], self.shapes[i.name]).copy() for i in inputs}
            for output in self.engine.session.get_outputs():
                result = self.engine.session.run([output.name], feeds)[0]
                _memory(self.addresses[output.name], result.shape)[...] = result

    class ICudaEngine:
        broken = unknown_size = False

        def __init__(self, plan, logger):
            profiles, _, model = plan.removeprefix(MAGIC).partition(b"\n")
            self.logger, (self.profile,) = logger, json.loads(profiles)
            self.session = onnxruntime.InferenceSession(model)
            graph = onnx.load_model_from_string(model).graph
            self.tensors = {v.name: (v, "INPUT") for v in graph.input} | {v.name: (v, "OUTPUT") for v in graph.output}
            self.num_io_tensors = len(self.tensors)

        def get_tensor_name(self, index):
            return list(self.tensors)[index]

        def get_tensor_dtype(self, name):
            kind = onnx.helper.tensor_dtype_to_np_dtype(self.tensors[name][0].type.tensor_type.elem_type)
            return trt.DataType[kinds[kind]]

        def get_tensor_mode(self, name):
            return trt.TensorIOMode[self.tensors[name][1]]

        def create_execution_context(self):
            calls.append(("context",))
            return Context(self)

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, plan):
            if not plan.startswith(MAGIC):
                self.logger.error("the engine has the wrong magic number")
                return None
            return ICudaEngine(plan, self.logger)

    for item in (ILogger, IProgressMonitor, OnnxParser, Builder, ICudaEngine, Runtime):
        setattr(trt, item.__name__, item)
    return trt


def onnx_types(model):
    """Element types of the weights of an ONNX file, by the names of TensorProto."""
    tensors = onnx.load_model_from_string(model).graph.initializer
    return {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in tensors}


def _memory(address, shape):
    """float32 memory at an address, as an array."""
    size = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * size).from_address(address)).reshape(shape)

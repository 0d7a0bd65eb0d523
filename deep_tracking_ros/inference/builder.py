"""TensorRT engines from ONNX: built once for a GPU, a library version and a precision, then kept in the cache.

Building takes seconds to minutes and blocks; nothing here starts a thread. A node builds in a thread of its own while
another backend serves, see `deep_tracking_ros.inference.swappable`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.cache import EngineCache, Key, Log
from deep_tracking_ros.inference.engine import Network
from deep_tracking_ros.inference.export import describe_tensors, onnx_model, profile
from deep_tracking_ros.inference.gpu import find_gpu
from deep_tracking_ros.inference.precision import cast_onnx, check_precision, float_images
from deep_tracking_ros.inference.swappable import Progress
from deep_tracking_ros.inference.tensorrt_library import is_strongly_typed, library_name, load_tensorrt, make_logger

if TYPE_CHECKING:
    import tensorrt

WORKSPACE = 1 << 30
"""Memory that a kernel may use as scratch, bytes; on boards that share it with the CPU all of it would be too much."""


def engine_key(network: Network, precision: str = "fp32") -> Key:
    """Key of the engine for this machine. Raises `EngineError` saying why TensorRT cannot run here."""
    check_precision(precision)
    gpu = find_gpu()  # first: without one, hundreds of megabytes of TensorRT need not be loaded
    trt = load_tensorrt()
    device = f"{gpu.name}, compute capability {gpu.capability}"
    tensors = describe_tensors(network)
    return Key("engine", network.name, network.digest, tensors, precision, library_name(trt), device)


def engine_ready(network: Network, precision: str, cache: EngineCache) -> bool:
    """Whether a sound engine lies in the cache. Raises `EngineError` saying why TensorRT cannot run here."""
    return cache.read(engine_key(network, precision)) is not None


def build_engine(
    network: Network,
    precision: str = "fp32",
    cache: EngineCache | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> bytes:
    """The serialized engine for this machine, from the cache or built (which blocks for up to minutes).

    Args:
        network: what to build.
        precision: 'fp32', 'fp16' or 'bf16'.
        cache: where the engine is looked for and kept.
        progress: told how far the build is; returning False stops it.
        log: is told of what the cache does.

    Raises:
        EngineError: TensorRT cannot run here, or cannot build this network, or the build was stopped.
    """
    cache = cache or EngineCache()
    key = engine_key(network, precision)

    def build() -> bytes:
        return build_plan(load_tensorrt(), network, onnx_model(network, cache, log), precision, progress)

    return cache.fetch(key, build, log)


def build_plan(
    trt: Any,
    network: Network,
    model: bytes,
    precision: str = "fp32",
    progress: Progress | None = None,
    compute_capability: str = "",
) -> bytes:
    """Parse ONNX and build an engine, with one optimisation profile made of the inputs' minimum to maximum shapes.

    Args:
        trt: the TensorRT module.
        network: names, types and profiles of the inputs.
        model: its ONNX file in fp32.
        precision: 'fp32', 'fp16' or 'bf16'.
        progress: told how far the build is; returning False stops it.
        compute_capability: such as 'SM89', to build without a GPU (TensorRT-RTX only). Empty = the GPU that is here.

    Raises:
        EngineError: the parser or the builder refused the network, with their words.
    """
    check_precision(precision)
    model = float_images(model)
    if precision != "fp32" and is_strongly_typed(trt):
        model = cast_onnx(model, precision)
    logger = make_logger(trt)
    builder: tensorrt.Builder = trt.Builder(logger)
    definition = builder.create_network(0)
    parser: tensorrt.OnnxParser = trt.OnnxParser(definition, logger)
    if not parser.parse(model):
        faults = [" ".join(str(parser.get_error(index)).split()) for index in range(parser.num_errors)]
        raise EngineError(f"TensorRT cannot parse network {network.name!r}: {'; '.join(faults)}")
    config = builder.create_builder_config()
    _configure(trt, builder, config, network, precision, compute_capability)
    if progress is not None and hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _monitor(trt, progress)
    plan: tensorrt.IHostMemory | None = builder.build_serialized_network(definition, config)
    if plan is None:
        faults = logger.errors or ["the build was stopped"]
        raise EngineError(f"TensorRT cannot build network {network.name!r} in {precision}: {'; '.join(faults)}")
    if progress is not None:
        progress(1.0, "built")
    return bytes(plan)


def _configure(
    trt: Any,
    builder: tensorrt.Builder,
    config: tensorrt.IBuilderConfig,
    network: Network,
    precision: str,
    compute_capability: str,
) -> None:
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    if precision != "fp32" and not is_strongly_typed(trt):
        config.set_flag(getattr(trt.BuilderFlag, precision.upper()))
    shapes = builder.create_optimization_profile()
    for spec in network.inputs:
        shapes.set_shape(spec.name, *profile(spec))
    config.add_optimization_profile(shapes)
    if compute_capability:
        known = getattr(trt, "ComputeCapability", None)
        if known is None or not hasattr(known, compute_capability):
            raise EngineError(f"{library_name(trt)} cannot build for {compute_capability} without such a GPU")
        for_gpu: Any = config  # only TensorRT-RTX has this, the stubs are of TensorRT 10
        for_gpu.num_compute_capabilities = 1
        for_gpu.set_compute_capability(getattr(known, compute_capability), 0)


def _monitor(trt: Any, progress: Progress) -> Any:
    """A TensorRT progress monitor that turns its tree of phases into one number.

    A phase tells how many steps it has; a phase inside it fills a part of the step that its parent is at.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, tuple[str | None, int, int]] = {}  # name: parent, steps done, steps in all
            self.best = 0.0
            self.stopped = False

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.phases[phase] = (parent, 0, max(steps, 1))
            self.report(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            if phase in self.phases:
                parent, _, steps = self.phases[phase]
                self.phases[phase] = (parent, min(step + 1, steps), steps)
                self.report(phase)
            return not self.stopped

        def phase_finish(self, phase: str) -> None:
            self.phases.pop(phase, None)

        def report(self, phase: str) -> None:
            fraction, name = 0.0, phase
            while name in self.phases:
                parent, done, steps = self.phases[name]
                fraction = min((done + fraction) / steps, 1.0)
                name = parent or ""
            self.best = max(self.best, fraction)
            if progress(self.best, phase) is False:
                self.stopped = True

    return Monitor()

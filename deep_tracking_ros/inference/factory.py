"""Which backend runs a network here."""

from __future__ import annotations

from collections.abc import Callable

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.builder import build_engine, engine_ready
from deep_tracking_ros.inference.cache import EngineCache
from deep_tracking_ros.inference.engine import Engine, Network
from deep_tracking_ros.inference.gpu import has_gpu
from deep_tracking_ros.inference.onnx_backend import OnnxEngine, has_cuda_provider
from deep_tracking_ros.inference.parity import Sample, check_parity
from deep_tracking_ros.inference.precision import check_precision
from deep_tracking_ros.inference.swappable import Progress, SwappableEngine
from deep_tracking_ros.inference.tensorrt_backend import TensorRTEngine
from deep_tracking_ros.inference.tensorrt_library import load_tensorrt
from deep_tracking_ros.inference.torch_backend import TorchEngine

BACKENDS = ("auto", "tensorrt", "onnxruntime", "torch")


def make_engine(
    network: Network,
    backend: str = "auto",
    precision: str = "fp32",
    cache: EngineCache | None = None,
    threads: int = 0,
    log: Callable[[str], None] | None = None,
    sample: Sample | None = None,
) -> Engine:
    """An engine for a network, ready to run.

    ``auto`` takes TensorRT if it works here, else ONNX Runtime, else torch; on a GPU torch goes before an ONNX Runtime
    that has no CUDA provider. If TensorRT works but its engine is not in the cache yet, the next best serves at once
    and a `SwappableEngine` is returned, whose `upgrade` builds and swaps in the TensorRT engine: call it in a thread.
    ``tensorrt`` itself builds before it returns.

    With a sample no backend serves before it has given the sample's outputs, within `parity.TOLERANCE`: one that is off
    is passed over as one that does not start.

    Args:
        network: what to run.
        backend: 'auto', 'tensorrt', 'onnxruntime' or 'torch'.
        precision: 'fp32', 'fp16' or 'bf16'; the latter two need a GPU.
        cache: of exported networks and engines, by default the user's.
        threads: on a CPU. 0 = for ONNX Runtime all cores of the affinity mask, for torch as the process has it. More
            than 0 are with torch those of the whole process: it has no others.
        log: told once what was chosen and why, and of what the cache does.
        sample: a batch, and what the network gives for it. None = no backend is tried.

    Returns:
        The engine; ``engine.reason`` says why it is this one.

    Raises:
        EngineError: no backend, or not the one asked for, can run the network here, or gives what the sample says; each
            with its reason.
    """
    if backend not in BACKENDS:
        raise EngineError(f"backend is {backend!r}, it must be one of {', '.join(BACKENDS)}")
    if threads < 0:
        raise EngineError(f"threads is {threads}, it must be 0 (all cores) or more")
    check_precision(precision)
    cache = cache or EngineCache()

    def tensorrt(progress: Progress | None = None) -> Engine:
        plan = build_engine(network, precision, cache, progress, log)
        return _described(TensorRTEngine(network, plan, load_tensorrt(), precision))

    makers: dict[str, Callable[[], Engine]] = {
        "tensorrt": tensorrt,  # checked by the `SwappableEngine` where that builds it
        "onnxruntime": lambda: OnnxEngine(network, precision, cache, threads, log),
        "torch": lambda: TorchEngine(network, precision, threads=threads),
    }

    def start(name: str, *why: str) -> Engine:
        return _tried(_described(makers[name](), *why), sample)

    if backend == "auto":
        engine, to_build = _choose(network, precision, cache, start)
        if to_build:
            engine = SwappableEngine(engine, tensorrt, sample)
    else:
        engine = start(backend, "as asked for")
    if log is not None:
        log(f"network {network.name}: {engine.reason}")
    return engine


def _choose(
    network: Network,
    precision: str,
    cache: EngineCache,
    start: Callable[..., Engine],
) -> tuple[Engine, bool]:
    """The best backend that works, with the reasons why better ones do not; and whether TensorRT is still to be built.

    ``start`` makes an engine from the name of a backend and texts to be added to its reason.
    """
    faults = []
    to_build = False
    order = ["torch", "onnxruntime"] if has_gpu() and not has_cuda_provider() else ["onnxruntime", "torch"]
    try:
        if engine_ready(network, precision, cache):
            order.insert(0, "tensorrt")
        else:
            to_build = True
            faults.append("the TensorRT engine is still to be built")
    except EngineError as error:
        faults.append(f"no TensorRT: {error}")
    for name in order:
        try:
            return start(name, *faults), to_build
        except EngineError as error:
            faults.append(f"no {name}: {error}")
    raise EngineError(f"no backend can run network {network.name!r} in {precision}: {'; '.join(faults)}")


def _described(engine: Engine, *why: str) -> Engine:
    """The engine with its reason filled in: what runs, where, and why."""
    where = f" with {engine.threads} threads" if isinstance(engine, OnnxEngine) and engine.device == "cpu" else ""
    device = getattr(engine, "device", "")
    engine.reason = f"{engine.backend} {engine.precision} on {device}{where}" + "".join(f"; {text}" for text in why)
    return engine


def _tried(engine: Engine, sample: Sample | None) -> Engine:
    """The engine, once it gave what the sample says. Raises `EngineError` with the difference."""
    if sample is not None:
        try:
            difference = check_parity(engine, sample)
        except EngineError:
            engine.close()
            raise
        engine.reason += f"; off by {difference:.1e} on its sample"
    return engine

"""From a torch module to ONNX: the file that ONNX Runtime runs and TensorRT builds from."""

from __future__ import annotations

import io
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.cache import EngineCache, Key, Log
from deep_tracking_ros.inference.engine import Network, TensorSpec

if TYPE_CHECKING:
    import torch

OPSET = 17
"""What ONNX Runtime 1.14 and TensorRT 10 know; newer operators bring the trackers nothing."""


def export_onnx(network: Network, path: Path) -> None:
    """Write the ONNX file of a network, exported from its torch module or its own.

    Raises `EngineError` where the module cannot be exported, the network's file cannot be read, or the graph does not
    have the declared inputs and outputs.
    """
    path.write_bytes(_export(network) if network.onnx is None else _own(network))


def onnx_model(network: Network, cache: EngineCache, log: Log | None = None) -> bytes:
    """The ONNX file of a network: its own, or exported from its torch module once and kept in the cache.

    Raises `EngineError` as `export_onnx` does, or where the network's file cannot be read.
    """
    if network.onnx is not None:
        return _own(network)
    return cache.fetch(onnx_key(network), lambda: _export(network), log)


def _own(network: Network) -> bytes:
    """The ONNX file that a network comes as."""
    assert network.onnx is not None
    try:
        model = network.onnx.read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read the ONNX file of network {network.name!r}: {error}") from error
    check_graph(network, model)
    return model


def onnx_key(network: Network) -> Key:
    """Key of the exported network: it depends on the exporter, on no machine."""
    try:
        exporter = f"torch {metadata.version('torch')} opset {OPSET}"
    except metadata.PackageNotFoundError as error:
        raise EngineError(f"network {network.name!r} must be exported with torch, which is not installed") from error
    return Key("onnx", network.name, network.digest, describe_tensors(network), "fp32", exporter)


def describe_tensors(network: Network) -> str:
    """Names, types, shapes and profiles of all inputs and outputs, as text for cache keys."""

    def describe(spec: TensorSpec) -> str:
        shapes = (spec.shape, spec.minimum, spec.optimum, spec.maximum)
        return f"{spec.name} {np.dtype(spec.dtype)} " + " ".join(str(list(shape)) for shape in shapes if shape)

    return "; ".join(map(describe, network.inputs)) + " -> " + "; ".join(map(describe, network.outputs))


def profile(spec: TensorSpec) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Minimum, optimum and maximum shape of an input. Raises `EngineError` where a dynamic input does not say them."""
    shapes = tuple(shape or spec.shape for shape in (spec.minimum, spec.optimum, spec.maximum))
    low, best, high = shapes
    fits = all(
        len(shape) == len(spec.shape) and all(n > 0 and s in (-1, n) for n, s in zip(shape, spec.shape, strict=True))
        for shape in shapes
    )
    if not fits or not all(a <= b <= c for a, b, c in zip(low, best, high, strict=True)):
        raise EngineError(
            f"input {spec.name!r} of shape {spec.shape} needs minimum, optimum and maximum shapes in this order, "
            f"it has {low}, {best} and {high}"
        )
    return low, best, high


def build_module(network: Network) -> torch.nn.Module:
    """The torch module of a network, ready to run. Raises `EngineError` where there is none, or no torch."""
    if network.module is None:
        raise EngineError(f"network {network.name!r} comes as an ONNX file, torch cannot run it; use another backend")
    try:
        return network.module().eval()
    except ImportError as error:
        raise EngineError(f"network {network.name!r} needs torch, which cannot be imported: {error}") from error


def _export(network: Network) -> bytes:
    module = build_module(network)
    import torch

    example = tuple(
        torch.zeros(profile(spec)[1], dtype=getattr(torch, str(np.dtype(spec.dtype)))) for spec in network.inputs
    )
    dynamic = {
        spec.name: {axis: f"{spec.name}_{axis}" for axis, size in enumerate(spec.shape) if size == -1}
        for spec in (*network.inputs, *network.outputs)
    }
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # the TorchScript exporter, which all our operators suit
        warnings.filterwarnings("ignore", "Constant folding")
        try:
            torch.onnx.export(
                module,
                example,
                file,  # type: ignore[arg-type]  # this exporter writes to a stream too
                input_names=[spec.name for spec in network.inputs],
                output_names=[spec.name for spec in network.outputs],
                dynamic_axes=dynamic,
                opset_version=OPSET,
                dynamo=False,
            )
        except Exception as error:  # the exporter raises whatever the module or an operator raises
            text = str(error).partition("\n")[0]  # the rest is the graph
            raise EngineError(f"network {network.name!r} cannot be exported to ONNX: {text}") from error
    model = file.getvalue()
    check_graph(network, model)
    return model


def check_graph(network: Network, model: bytes) -> None:
    """Raise `EngineError` unless an ONNX file is sound and has the declared inputs and outputs."""
    try:
        import onnx
    except ImportError as error:  # the next backend may do without
        raise EngineError(
            f"the ONNX file of network {network.name!r} cannot be checked: {error}; install onnx"
        ) from error
    try:
        proto = onnx.load_model_from_string(model)
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf and onnx have no common base
        raise EngineError(f"the ONNX file of network {network.name!r} is damaged: {error}") from error
    weights = {tensor.name for tensor in proto.graph.initializer}
    found_inputs = [value for value in proto.graph.input if value.name not in weights]
    for what, specs, values in (
        ("inputs", network.inputs, found_inputs),
        ("outputs", network.outputs, list(proto.graph.output)),
    ):
        declared = {spec.name: (str(np.dtype(spec.dtype)), spec.shape) for spec in specs}
        found = {value.name: _signature(value) for value in values}
        same = declared.keys() == found.keys() and all(
            found[name][0] == dtype
            and len(found[name][1]) == len(shape)
            and all(-1 in (a, b) or a == b for a, b in zip(found[name][1], shape, strict=True))
            for name, (dtype, shape) in declared.items()
        )
        if not same:
            raise EngineError(f"network {network.name!r} declares the {what} {declared}, its ONNX graph has {found}")


def _signature(value: Any) -> tuple[str, tuple[int, ...]]:
    """Type and shape of a graph input or output; -1 where a size is not fixed."""
    import onnx

    tensor = value.type.tensor_type
    sizes = (d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)), tuple(sizes)

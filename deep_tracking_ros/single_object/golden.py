"""Golden sample: does a backend give what the model's networks gave when it was made?

Asked whenever a tracker is made (`make_tracker`), when a model is imported, and by ``deep-tracking doctor``.

``golden.npz`` holds the arrays ``NETWORK.TENSOR``, such as ``siamfc/search.crops``: one input of each network and its
outputs, computed in float32 by torch, or by ONNX Runtime where the network is an ONNX file. An input that is the output
of an earlier network is stored once, under the earlier network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.inference.parity import Sample, relative_difference
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.registry import networks


def golden_arrays(model: Model, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Contents of ``golden.npz`` for a model, made from a smooth random picture."""
    from deep_tracking_ros.inference.factory import make_engine

    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for network in networks(model):
        inputs = {}
        for spec in network.inputs:
            array = None if spec.dtype == np.uint8 else _given(arrays, spec)
            if array is None:
                shape = tuple(1 if n == -1 else n for n in spec.shape)
                array = arrays[f"{network.name}.{spec.name}"] = _random_input(rng, spec.name, shape, spec.dtype)
            inputs[spec.name] = array
        outputs = make_engine(network, backend="torch" if network.onnx is None else "onnxruntime")(**inputs)
        arrays |= {f"{network.name}.{name}": output for name, output in outputs.items()}
    return arrays


def _given(arrays: Mapping[str, NDArray[Any]], spec: TensorSpec) -> NDArray[Any] | None:
    """What goes into an input: the output of an earlier network, or an input that was stored with one, of its shape."""
    for key in reversed(list(arrays)):
        array = arrays[key]
        same = key.rpartition(".")[2] == spec.name and array.ndim == len(spec.shape)
        if same and all(n in (-1, side) for n, side in zip(spec.shape, array.shape, strict=True)):
            return array
    return None


def _random_input(rng: np.random.Generator, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Crops (uint8) as blurred noise; sizes of a target (float) of 40 to 60 px, and boxes of such sizes."""
    if np.dtype(dtype) != np.uint8:
        values = rng.uniform(40, 60, shape)
        if name == "boxes":  # xyxy px: the second corner lies beyond the first
            values[..., 2:] += values[..., :2]
        return values.astype(dtype)
    import cv2

    batch, height, width, channels = shape
    coarse = rng.integers(0, 256, (batch, height // 16, width // 16, channels)).astype(np.uint8)
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in coarse])


def golden_sample(model: Model, network: Network) -> Sample:
    """The part of ``golden.npz`` that belongs to one of a model's networks.

    Raises `ModelError` where the file is missing, damaged, or not of this network.
    """
    golden = model.golden()

    def find(spec: TensorSpec) -> NDArray[Any]:
        key = f"{network.name}.{spec.name}"
        array = golden[key] if key in golden else _given(golden, spec)
        if array is None:
            raise ModelError(f"golden.npz of model {model.card.name!r} lacks {key}: make it again")
        dtype = np.dtype(spec.dtype)
        if len(array.shape) != len(spec.shape) or array.dtype != dtype or any(
            n == 0 or s not in (-1, n) for n, s in zip(array.shape, spec.shape, strict=True)
        ):  # fmt: skip
            raise ModelError(
                f"golden.npz of model {model.card.name!r} holds {key} as {array.dtype} {array.shape}, "
                f"its network has {dtype} {spec.shape}: make it again"
            )
        return array

    return Sample({s.name: find(s) for s in network.inputs}, {s.name: find(s) for s in network.outputs})


def check_golden(
    model: Model, backend: str = "auto", precision: str = "fp32", make: Callable[[Network], Engine] | None = None
) -> float:
    """Largest difference between what a backend computes and what ``golden.npz`` holds, over all outputs.

    It is that of `inference.parity.relative_difference`, so that one limit serves for all outputs.

    Args:
        model: the model.
        backend: where its networks run.
        precision: 'fp32', 'fp16' or 'bf16'.
        make: makes the engines in place of ``backend``.

    Raises:
        ModelError: ``golden.npz`` is missing, damaged, or not of this model.
        EngineError: the backend cannot run here.
    """
    if make is None:
        from deep_tracking_ros.inference.factory import make_engine

        def make(network: Network) -> Engine:
            return make_engine(network, backend=backend, precision=precision)

    worst = 0.0
    for network in networks(model):
        engine, sample = make(network), golden_sample(model, network)
        worst = max(worst, relative_difference(engine(**sample.inputs), sample.outputs))
    return worst

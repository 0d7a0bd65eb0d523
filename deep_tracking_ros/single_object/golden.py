"""Parity check: does a backend give what the model's networks gave when it was made?

``golden.npz`` holds the arrays ``NETWORK.TENSOR``, such as ``siamfc/search.crops``: one input of each network and its
outputs, computed in float32 by torch, or by ONNX Runtime where the network is an ONNX file. An input that is the output
of an earlier network is stored once, under the earlier network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.inference.engine import Engine, Network
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.registry import networks


def golden_arrays(model: Model, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Contents of ``golden.npz`` for a model, made from a smooth random picture."""
    from deep_tracking_ros.inference.factory import make_engine

    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    known: dict[str, NDArray[Any]] = {}
    for network in networks(model):
        inputs = {}
        for spec in network.inputs:
            if spec.name not in known or spec.dtype == np.uint8:
                shape = tuple(1 if n == -1 else n for n in spec.shape)
                known[spec.name] = arrays[f"{network.name}.{spec.name}"] = _random_input(rng, shape, spec.dtype)
            inputs[spec.name] = known[spec.name]
        outputs = make_engine(network, backend="torch" if network.onnx is None else "onnxruntime")(**inputs)
        arrays |= {f"{network.name}.{name}": output for name, output in outputs.items()}
        known |= outputs
    return arrays


def _random_input(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Crops (uint8) as blurred noise, sizes of a target (float) of 40 to 60 px."""
    if np.dtype(dtype) != np.uint8:
        return rng.uniform(40, 60, shape).astype(dtype)
    import cv2

    batch, height, width, channels = shape
    coarse = rng.integers(0, 256, (batch, height // 16, width // 16, channels)).astype(np.uint8)
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in coarse])


def check_golden(
    model: Model, backend: str = "auto", precision: str = "fp32", make: Callable[[Network], Engine] | None = None
) -> float:
    """Largest difference between what a backend computes and what ``golden.npz`` holds, over all outputs.

    Differences are relative to the largest magnitude of each output, so that one limit serves for all: about 1e-4
    in fp32, 1e-2 in fp16.

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

    golden = model.golden()
    known: dict[str, NDArray[Any]] = {}
    worst = 0.0
    try:
        for network in networks(model):
            inputs = {s.name: golden.get(f"{network.name}.{s.name}", known.get(s.name)) for s in network.inputs}
            outputs = make(network)(**inputs)
            for spec in network.outputs:
                expected = known[spec.name] = golden[f"{network.name}.{spec.name}"]
                seen = np.asarray(outputs[spec.name])
                if seen.shape != expected.shape:
                    raise ModelError(
                        f"golden.npz of model {model.card.name!r} holds {spec.name} {expected.shape}, "
                        f"its network gives {seen.shape}: make it again"
                    )
                scale = max(float(np.abs(expected).max()), 1e-6)
                difference = float(np.abs(seen - expected).max()) / scale
                # a network that gives nan must not pass as equal
                worst = max(worst, difference if np.isfinite(difference) else np.inf)
    except KeyError as error:
        raise ModelError(f"golden.npz of model {model.card.name!r} lacks {error}: make it again") from error
    return worst

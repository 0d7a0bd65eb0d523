"""Networks over any number of targets: batches in and out of engines, and what many trackers make of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from deep_tracking_ros.inference.engine import Engine, TensorSpec
from deep_tracking_ros.types import FloatArray

BATCH = (1, 4, 16)
"""Targets in one call: fewest, usual, most. More targets go in several calls."""


def batched(name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> TensorSpec:
    """An input or output whose first axis is the targets of a call."""
    return TensorSpec(name, (-1, *shape), dtype, *((n, *shape) for n in BATCH))


def run(engine: Engine, **arrays: NDArray[Any]) -> dict[str, FloatArray]:
    """Run an engine over any number of targets, in as few calls as its profile allows; inputs that it has not go."""
    arrays = {spec.name: arrays[spec.name] for spec in engine.inputs}
    count, most = len(next(iter(arrays.values()))), BATCH[-1]
    if count <= most:
        return engine(**arrays)
    parts = [engine(**{key: value[i : i + most] for key, value in arrays.items()}) for i in range(0, count, most)]
    return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in engine.outputs}


def sigmoid(logits: FloatArray) -> FloatArray:
    """Probabilities of logits, without overflow."""
    return np.asarray((1 + np.tanh(logits / 2)) / 2, np.float32)

"""Do two backends give the same numbers? Asked before one serves, and before one takes the place of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.inference.engine import Array, Engine, Network

TOLERANCE = {"fp32": 1e-2, "fp16": 3e-2, "bf16": 1e-1}
"""Greatest difference between two backends that counts as rounding, relative to the largest magnitude of an output.

GPUs run fp32 convolutions in TF32, which has the 10 bits of fp16 for its fractions, through all layers of a network;
two backends on a CPU are closer than 1e-4.
"""


@dataclass(frozen=True, eq=False)
class Sample:
    """A batch and what the network is known to give for it."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def relative_difference(outputs: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """Largest difference over all outputs, each relative to its largest expected magnitude.

    Infinite where shapes differ or anything is not finite: a network that gives nan must not pass as equal.
    """
    worst = 0.0
    for name, array in expected.items():
        wanted, seen = np.asarray(array, np.float64), np.asarray(outputs[name], np.float64)
        if seen.shape != wanted.shape or not (np.isfinite(seen).all() and np.isfinite(wanted).all()):
            return np.inf
        worst = max(worst, float(np.abs(seen - wanted).max()) / max(float(np.abs(wanted).max()), 1e-6))
    return worst


def check_parity(engine: Engine, sample: Sample) -> float:
    """The `relative_difference` of an engine on a sample.

    Raises `EngineError` where it is beyond the `TOLERANCE` of the engine's precision, or the engine fails.
    """
    difference, limit = relative_difference(engine(**sample.inputs), sample.outputs), TOLERANCE[engine.precision]
    if difference > limit:
        raise EngineError(
            f"network {engine.network.name!r} on {engine.backend} in {engine.precision} is off by {difference:.2g} of "
            f"what it should give (limit {limit:g}): use another backend, or build it again after "
            "`deep-tracking engines clear`; if no backend is right, install the model again"
        )
    return difference


def example_inputs(network: Network, seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """One batch of noise of the usual shapes: floats from 0 to 1, integers from 0 to 255."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, NDArray[np.generic]] = {}
    for spec in network.inputs:
        shape, dtype = spec.optimum or spec.shape, np.dtype(spec.dtype)
        inputs[spec.name] = (rng.random(shape) if dtype.kind == "f" else rng.integers(0, 256, shape)).astype(dtype)
    return inputs

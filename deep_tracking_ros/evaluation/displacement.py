"""How far may a target move from one frame to the next? Success of a single step against the displacement.

Each trial starts the target at its true box in one frame and takes one step to a later one. Displacement is the
distance of the box centres in units of the target's size, the square root of the area of its first box. A step succeeds
where the IoU is above one half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, fields, replace
from itertools import islice, pairwise, zip_longest
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.evaluation.sot import Competitor, Image
from deep_tracking_ros.geometry.boxes import iou, xyxy_to_cxcywh
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.types import FloatArray

EDGES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Limits of the intervals of displacement, in target sizes."""
STRIDES = (1, 2, 4, 8, 16, 32)
"""Frames left out between the two of a trial, to make real targets move far."""


def displacement(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """(...) distance of the centres of boxes (..., 4) in units of the first one's size."""
    a, b = xyxy_to_cxcywh(first), xyxy_to_cxcywh(second)
    return np.asarray(np.linalg.norm(b[..., :2] - a[..., :2], axis=-1) / np.sqrt(a[..., 2] * a[..., 3]), np.float32)


@dataclass(frozen=True, eq=False)
class Trial:
    """Two frames of a sequence between which the target moved."""

    sequence: Sequence
    first: int
    second: int
    displacement: float

    def images(self) -> tuple[Image, Image]:
        return self.sequence.image(self.first), self.sequence.image(self.second)

    @property
    def boxes(self) -> FloatArray:
        """(2, 4) xyxy px."""
        return self.sequence.boxes[[self.first, self.second]]


def real_trials(sequences: SequenceOf[Sequence], number: int, seed: int = 0) -> list[Trial]:
    """Pairs of frames for each interval of `EDGES`, drawn evenly from the sequences that have some.

    Args:
        sequences: where to take them from.
        number: trials an interval, at most; large displacements are rare.
        seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    chosen: list[Trial] = []
    found = [list(_pairs(sequence)) for sequence in sequences]
    for low, high in pairwise(EDGES):
        inside = [[trial for trial in trials if low <= trial.displacement < high] for trials in found]
        shuffled = [[trials[i] for i in rng.permutation(len(trials))] for trials in inside]
        # one of each sequence in turn, so that a long one does not stand for all
        turns = (trial for turn in zip_longest(*shuffled) for trial in turn if trial is not None)
        chosen += islice(turns, number)
    return chosen


def _pairs(sequence: Sequence) -> Iterator[Trial]:
    for stride in STRIDES:
        steps = displacement(sequence.boxes[:-stride], sequence.boxes[stride:])
        for first in np.flatnonzero(np.isfinite(steps)):
            yield Trial(sequence, int(first), int(first) + stride, float(steps[first]))


def succeeds(competitor: Competitor, images: tuple[Image, Image], boxes: FloatArray) -> bool:
    """Whether a target started at the first of (2, 4) boxes in the first image is found in the second."""
    box, _ = competitor.start(images[0], boxes[0].copy())(images[1])
    return bool(iou(np.asarray(box, np.float32), boxes[1]) > 0.5)


@dataclass(frozen=True, eq=False)
class Curve:
    """Share of successes by displacement."""

    displacement: FloatArray  # (n,) mean of each interval, target sizes
    success: FloatArray  # (n,)
    trials: NDArray[np.intp]  # (n,)

    def as_json(self) -> dict[str, Any]:
        return {
            "displacement": [round(float(value), 4) for value in self.displacement],
            "success": [round(float(value), 4) for value in self.success],
            "error": [
                round(math.sqrt(s * (1 - s) / n), 4)
                for s, n in zip(self.success.tolist(), self.trials.tolist(), strict=True)
            ],
            "trials": self.trials.tolist(),
        }


def curve(displacements: ArrayLike, successes: ArrayLike) -> Curve:
    """Success (n,) of trials by their displacement (n,), in the intervals of `EDGES`; empty ones are left out."""
    d, s = np.asarray(displacements, np.float64), np.asarray(successes, np.float64)
    number = np.digitize(d, EDGES) - 1
    rows = [(d[number == i].mean(), s[number == i].mean(), (number == i).sum()) for i in np.unique(number)]
    table = np.array(rows, np.float64).reshape(-1, 3)
    return Curve(table[:, 0].astype(np.float32), table[:, 1].astype(np.float32), table[:, 2].astype(np.intp))


def without_window(model: Model, settings: Any) -> Model | None:
    """The model with the weight of its cosine window at zero, or None where it has no window.

    Args:
        model: any single-object model.
        settings: the run-time settings of its tracker, a dataclass; the weight is the number whose name begins with
            ``window``; None where it has none.
    """
    if settings is None:
        return None
    weights = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name.startswith("window")}
    on = [name for name, value in weights.items() if isinstance(value, float) and value > 0]
    if not on:
        return None
    tracking = {**model.card.tracking, **dict.fromkeys(on, 0.0)}
    return replace(model, card=replace(model.card, tracking=tracking))


def run_trials(
    competitor: Competitor, trials: SequenceOf[Trial], progress: Callable[[], None] = lambda: None
) -> list[bool]:
    """Success of each trial; ``progress`` is called after each."""
    results = []
    for trial in trials:
        results.append(succeeds(competitor, trial.images(), trial.boxes))
        progress()
    return results

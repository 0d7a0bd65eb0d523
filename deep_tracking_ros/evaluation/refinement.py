"""How much better does a tracker make a box that is a little off?

A target is started at its true box in one frame. In a later frame it is put (`Target.at`) at boxes jittered around the
true one, and the tracker looks at that same frame several times. A tracker that regresses boxes and one that climbs a
predicted IoU answer the same question this way; how fast the size may change (settings of the tracker) counts in.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

import numpy as np

from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.geometry.boxes import clip, iou
from deep_tracking_ros.single_object.parts.refinement import jitter
from deep_tracking_ros.single_object.tracker import SingleObjectTracker
from deep_tracking_ros.types import FloatArray

SHIFT, GROWTH = 0.25, 0.3
"""Most that a jittered centre moves, in sides of the box, and that the logarithm of a side changes."""
LOOKS = 3
"""How often the tracker looks at the frame."""
EDGES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Limits of the intervals of IoU at the beginning."""


@dataclass(frozen=True, eq=False)
class Nudge:
    """A target in two frames of a sequence, and wrong boxes around it in the second."""

    sequence: Sequence
    first: int
    second: int
    boxes: FloatArray  # (N, 4) xyxy px

    @property
    def truth(self) -> FloatArray:
        """(4,) xyxy px, in the second frame."""
        return np.asarray(self.sequence.boxes[self.second], np.float32)


def nudges(sequences: SequenceOf[Sequence], number: int, boxes: int = 4, gap: int = 5, seed: int = 0) -> list[Nudge]:
    """Frames of each sequence, evenly spaced, with jittered boxes.

    Args:
        sequences: where to take them from.
        number: frames of each sequence.
        boxes: jittered boxes in each frame.
        gap: frames from the first to the second.
        seed: of the jitter.
    """
    rng = np.random.default_rng(seed)
    found = []
    for sequence in sequences:
        seen = np.asarray(np.isfinite(sequence.boxes).all(1))
        pairs = np.flatnonzero(seen[:-gap] & seen[gap:])
        for first in pairs[np.unique(np.linspace(0, len(pairs) - 1, number).round().astype(int))].tolist():
            around = jitter(sequence.boxes[first + gap][None], boxes + 1, rng, SHIFT, GROWTH)[0, 1:]
            found.append(Nudge(sequence, first, first + gap, around))
    return found


def looks(tracker: SingleObjectTracker, nudge: Nudge) -> FloatArray:
    """(1 + LOOKS, N) IoU of each box with the truth, at the beginning and after each look at the frame."""
    sequence = nudge.sequence
    image = sequence.image(nudge.second)
    height, width = image.shape[:2]
    truth = clip(nudge.truth, width, height)
    (target,) = tracker.start(sequence.image(nudge.first), sequence.boxes[nudge.first][None])
    targets = [target.at(box) for box in nudge.boxes]
    rows = [iou(clip(nudge.boxes, width, height), truth)]
    for _ in range(LOOKS):
        found = np.stack([estimate.box for estimate in tracker.track(image, targets)])
        rows.append(iou(clip(found, width, height), truth))
    return np.stack(rows)


@dataclass(frozen=True, eq=False)
class Refinement:
    """Means over all boxes."""

    after: FloatArray  # (1 + LOOKS,) mean IoU at the beginning and after each look
    by_start: FloatArray  # (len(EDGES) - 1,) mean IoU after one look, by IoU at the beginning; nan without boxes
    start: FloatArray  # (len(EDGES) - 1,) mean IoU at the beginning of these
    boxes: int

    def as_json(self) -> dict[str, Any]:
        rounded = {
            name: [None if np.isnan(value) else round(float(value), 4) for value in values]
            for name, values in (("after", self.after), ("start", self.start), ("by_start", self.by_start))
        }
        return {**rounded, "boxes": self.boxes}


def refinement(
    tracker: SingleObjectTracker, trials: SequenceOf[Nudge], progress: Callable[[], None] = lambda: None
) -> Refinement:
    """Let a tracker look at all frames; ``progress`` is called after each."""
    tables = []
    for trial in trials:
        tables.append(looks(tracker, trial))
        progress()
    table = np.concatenate(tables, 1)
    number = np.digitize(table[0], EDGES[1:-1])
    inside = [number == i for i in range(len(EDGES) - 1)]

    def means(row: FloatArray) -> FloatArray:
        return np.array([row[part].mean() if part.any() else np.nan for part in inside], np.float32)

    return Refinement(table.mean(1), means(table[1]), means(table[0]), table.shape[1])

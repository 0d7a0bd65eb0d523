"""Does a tracker stay on its target where something looks like it?

Two questions. In made-up scenes the place of the look-alike is known, so that a jump to it can be told from a loss. In
real sequences only the target's place is known: there a run counts as *left* when it is off the target for good, and as
*sure* when the score said meanwhile that all was well, as it does on a look-alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.evaluation.sot import Competitor, Image, run
from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.types import FloatArray

Outcome = Literal["held", "jumped", "lost"]
OUTCOMES: tuple[Outcome, ...] = ("held", "jumped", "lost")

LAST = 5
"""Frames at the end of a crossing in which it is decided where the tracker is."""
ON = 0.2
"""Least IoU that makes a box to be on something."""


def follow(competitor: Competitor, images: SequenceOf[Image], box: ArrayLike) -> FloatArray:
    """(T, 4) xyxy px boxes of a target started at a box (4,) in the first of T images; row 0 is that box."""
    step = competitor.start(images[0], np.asarray(box, np.float32))
    return np.asarray([np.asarray(box), *(np.asarray(step(image)[0]) for image in images[1:])], np.float32)


def outcome(boxes: FloatArray, target: FloatArray, look_alike: FloatArray) -> Outcome:
    """Where a tracker is at the end of a crossing.

    Args:
        boxes: (T, 4) xyxy px, of the tracker.
        target: (T, 4) true boxes.
        look_alike: (T, 4) boxes of what looks like the target; apart from it in the last frames.

    Returns:
        'held': in most of the last `LAST` frames the IoU with the target is at least `ON` and above that with the
        look-alike; 'jumped': the other way round; 'lost': neither.
    """
    right, wrong = iou(boxes[-LAST:], target[-LAST:]), iou(boxes[-LAST:], look_alike[-LAST:])
    if int(((right >= ON) & (right > wrong)).sum()) > LAST // 2:
        return "held"
    return "jumped" if int(((wrong >= ON) & (wrong > right)).sum()) > LAST // 2 else "lost"


def shares(outcomes: SequenceOf[Outcome]) -> dict[str, Any]:
    """Share of each outcome, their number, and the standard error of the share of jumps."""
    count = len(outcomes)
    each: dict[str, float] = {kind: outcomes.count(kind) / count for kind in OUTCOMES}
    jumped = each["jumped"]
    return {**each, "runs": count, "jumped_error": math.sqrt(jumped * (1 - jumped) / count)}


@dataclass(frozen=True)
class Departure:
    """How a run in a real sequence went."""

    sequence: str
    start: int  # number of its first frame
    left: bool  # off the target in so many frames in a row that it does not come back by itself
    sure: bool  # the mean score in these frames was above one half; false where there are no scores


def departures(
    competitor: Competitor,
    sequence: Sequence,
    every: int = 20,
    length: int = 60,
    patience: int = 5,
    progress: Callable[[], None] = lambda: None,
) -> list[Departure]:
    """Follow a target from many of its frames, each time for a short while.

    Args:
        every: a run starts in each n-th frame with a true box.
        length: of a run, frames; runs of which less than half is left are not made.
        patience: frames in view in a row without any overlap after which the target counts as left.
        progress: called after each run.
    """
    seen = np.asarray(np.isfinite(sequence.boxes).all(1))
    found = []
    for start in range(0, len(sequence) - length // 2, every):
        if not seen[start]:
            continue
        part = slice(start, start + length)
        masks = sequence.masks[part] if sequence.masks else None
        cut = replace(sequence, frames=sequence.frames[part], boxes=sequence.boxes[part], masks=masks)
        one = run(competitor, cut)
        there = np.isfinite(one.truth).all(1)
        off = (iou(one.boxes, one.truth) == 0)[there]
        first = _first_row_of(off, patience)
        scores = one.scores[there][first : first + patience] if first is not None else np.zeros(1)
        found.append(Departure(sequence.name, start, first is not None, bool(scores.mean() > 0.5)))
        progress()
    return found


def _first_row_of(flags: ArrayLike, count: int) -> int | None:
    """Index at which so many flags in a row begin."""
    row = 0
    for index, flag in enumerate(np.asarray(flags)):
        row = row + 1 if flag else 0
        if row == count:
            return index - count + 1
    return None


def departed(found: SequenceOf[Departure]) -> dict[str, Any]:
    """Shares of runs that left their target, and that did so with a high score."""
    count = len(found)
    left = sum(one.left for one in found) / count
    return {
        "left": left,
        "sure": sum(one.sure for one in found) / count,
        "runs": count,
        "left_error": math.sqrt(left * (1 - left) / count),
    }

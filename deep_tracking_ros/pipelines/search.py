"""Where to look for lost targets: around where they were seen, further and further off, and where others see objects.

The idea of a local search that becomes a global one while a target is lost is that of TLD (Kalal, Mikolajczyk and
Matas, PAMI 2012) and of SPLT (Yan et al., "'Skimming-Perusal' Tracking", ICCV 2019). Here it needs nothing but a
tracker: a hypothesis is a copy of the target at another box, and all of them ride in the batch of the step that follows
the other targets. Each frame costs no more than so many hypotheses, whatever the number of lost targets and the size of
the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.types import FloatArray


@dataclass(frozen=True)
class SearchRules:
    """How lost targets are searched."""

    windows: int = 4
    """Most hypotheses a frame, of all lost targets together; 0 = each is looked for around its last place alone."""
    speed: float = 10.0
    """How fast the circle grows in which a target is looked for, sizes sqrt(w h) of its box per second."""


@dataclass(frozen=True)
class Progress:
    """How far the search for one target has come since it was lost."""

    windows: int = 0  # of the grid that were looked at
    proposals: int = 0

    @property
    def looks(self) -> int:
        """At hypotheses of any kind."""
        return self.windows + self.proposals


def shares(windows: int, progress: Sequence[Progress]) -> list[int]:
    """How many of a frame's hypotheses each lost target gets; what is left over goes to those that had fewest."""
    each, left = divmod(windows, max(len(progress), 1))
    favoured = sorted(range(len(progress)), key=lambda i: (progress[i].looks, i))[:left]
    return [each + (i in favoured) for i in range(len(progress))]


def hypotheses(
    box: FloatArray,
    size: tuple[int, int],
    reach: float,
    radius: float,
    proposals: ArrayLike,
    count: int,
    progress: Progress,
) -> tuple[FloatArray, Progress]:
    """Boxes at which a lost target is looked for next, and how far the search is then.

    Half of them, as far as there are any, are proposals; the others are windows of a grid around where the target was
    last seen, nearest first. Both are gone through from frame to frame, and then again from the start.

    Args:
        box: (4,) xyxy px, where the target was last seen.
        size: (width, height) of the image, px.
        reach: up to which distance a tracker finds an object, in sizes of its box, see `SingleObjectTracker.reach`.
        radius: how far from that box the grid goes, px.
        proposals: (N, 4) xyxy px, where somebody else sees an object.
        count: how many are wanted.
        progress: how far the search was before.

    Returns:
        (n, 4) xyxy px, n <= ``count``, and the progress.
    """
    others = np.asarray(proposals, np.float32).reshape(-1, 4)
    first = min((count + 1) // 2, len(others))
    around = windows(box, size, reach, radius)
    rest = min(count - first, len(around))
    chosen = [_part(others, first, progress.proposals), _part(around, rest, progress.windows)]
    return np.concatenate(chosen), Progress(progress.windows + rest, progress.proposals + first)


def windows(box: FloatArray, size: tuple[int, int], reach: float, radius: float) -> FloatArray:
    """(n, 4) boxes of the size of ``box``, at most as large as the image, so that no place within ``radius`` is missed.

    Their centres are a grid around that of ``box``, as dense as ``reach`` asks for, in order of their distance.
    """
    cx, cy, w, h = xyxy_to_cxcywh(box).astype(np.float64)
    w, h = min(w, size[0]), min(h, size[1])
    step = max(2 * reach * np.sqrt(w * h), 1.0)
    x, y = _line(cx, size[0], step), _line(cy, size[1], step)
    places = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    distance = np.hypot(*(places - (np.clip(cx, 0, size[0] - 1), np.clip(cy, 0, size[1] - 1))).T)
    order = np.lexsort((places[:, 0], places[:, 1], distance.round(3)))
    near = places[order[distance[order] <= max(radius, 0.5)]]
    return cxcywh_to_xyxy(np.concatenate([near, np.tile([w, h], (len(near), 1))], 1))


def _line(start: float, length: int, step: float) -> NDArray[np.float64]:
    """Places ``step`` apart, one of them at ``start``, so that none of 0 ... ``length`` is further than half of it."""
    start = float(np.clip(start, 0, length - 1))
    before, after = np.ceil((start - step / 2) / step), np.ceil((length - 1 - start - step / 2) / step)
    places = start + step * np.arange(-max(before, 0), max(after, 0) + 1)
    return np.clip(places, 0, length - 1)


def _part(boxes: FloatArray, count: int, turn: int) -> FloatArray:
    """``count`` boxes from number ``turn`` on, round and round."""
    return boxes[(turn + np.arange(count)) % max(len(boxes), 1)]

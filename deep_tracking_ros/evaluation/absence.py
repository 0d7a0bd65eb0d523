"""Sequences in which the target leaves the image and returns, cut out of sequences in which it does not.

A window smaller than the image follows the target, glides away until the target is outside, waits, and glides back.
While the target is away the window moves on to another side where there is room, so that the target comes back
elsewhere than it went.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.geometry.boxes import area, clip
from deep_tracking_ros.types import FloatArray

SHARES = (0.55, 0.5, 0.45, 0.4, 0.35, 0.3)
"""Width and height of the window, as a share of the image's: the largest that can leave the target out is taken."""
LARGEST_TARGET = 0.6
"""Longest side of the target as a share of the window's, at the most; of a larger one too little would be seen."""
SEEN, AWAY, GLIDE = 40, 40, 10
"""Frames in which the target is in view, in which it is not, and in which the window moves between the two."""
IN_VIEW = 0.25
"""Least share of a target's box that is in the window of a frame with a true box."""


@dataclass(frozen=True, eq=False)
class Windowed(Sequence):
    """A sequence of which only a moving window is seen; ``boxes`` are in the window's pixels."""

    corners: NDArray[np.intp] = field(default_factory=lambda: np.zeros((0, 2), np.intp))  # (T, 2) left, top px
    shape: tuple[int, int] = (0, 0)  # width, height, px

    def image(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR of the window."""
        (x, y), (width, height) = self.corners[index], self.shape
        return np.ascontiguousarray(super().image(index)[y : y + height, x : x + width])


def leaving(sequence: Sequence, absences: int = 2, seen: int = SEEN, away: int = AWAY) -> Windowed | None:
    """The sequence seen through a window that loses its target ``absences`` times.

    The target is in view for ``seen`` frames, then out of it for ``away``, and so on, and in view at the end. Frames
    are gone through forwards and backwards as often as it takes. Gives None where the target is too large, or too near
    to the middle of the image, to be out of any window.
    """
    there = np.flatnonzero(np.isfinite(sequence.boxes).all(1))
    first = int(there[0])
    height, width = sequence.image(first).shape[:2]
    numbers = _bouncing(first, len(sequence), (seen + away) * absences + seen)
    boxes = _filled(sequence.boxes)[numbers]
    sides = np.median(boxes[:, 2:] - boxes[:, :2], 0)
    for share in SHARES:
        shape = (round(share * width), round(share * height))
        room = np.array([width - shape[0], height - shape[1]])
        if (sides > LARGEST_TARGET * np.array(shape)).any():
            break
        path = _path(boxes, shape, room, seen, away)
        if path is not None:
            return _windowed(sequence, numbers, boxes, path, shape)
    return None


def _path(
    boxes: FloatArray, shape: tuple[int, int], room: NDArray[np.intp], seen: int, away: int
) -> NDArray[np.intp] | None:
    """(T, 2) left and top of the window; None where there is no place for it without the target."""
    glide = min(GLIDE, seen // 2)
    follow = np.clip((boxes[:, :2] + boxes[:, 2:]) / 2 - np.array(shape) / 2, 0, room)
    corners = follow.copy()
    ramp = np.linspace(0, 1, glide + 2)[1:-1, None]
    for start in range(seen, len(boxes) - 1, seen + away):
        end = start + away
        hidden = [corner for corner in _corners(room) if not _visible(boxes[start:end], corner, shape).any()]
        if not hidden:
            return None
        out = min(hidden, key=lambda corner: float(np.abs(corner - follow[start]).sum()))
        back = max(hidden, key=lambda corner: float(np.abs(corner - out).sum()))
        middle = (start + end) // 2
        corners[start:middle], corners[middle:end] = out, back
        corners[start - glide : start] = (1 - ramp) * follow[start - glide : start] + ramp * out
        corners[end : end + glide] = (1 - ramp) * back + ramp * follow[end : end + glide]
    return np.rint(corners).astype(np.intp)


def _windowed(
    sequence: Sequence,
    numbers: NDArray[np.intp],
    boxes: FloatArray,
    corners: NDArray[np.intp],
    shape: tuple[int, int],
) -> Windowed:
    shifted = (boxes - np.tile(corners, 2)).astype(np.float32)
    inside = clip(shifted, *shape)
    in_view = (area(inside) >= IN_VIEW * area(shifted)) & np.isfinite(sequence.boxes[numbers]).all(1)
    inside[~in_view] = np.nan
    return Windowed(
        name=f"{sequence.name}-leaving",
        frames=tuple(sequence.frames[i] for i in numbers),
        boxes=inside,
        attributes=sequence.attributes,
        corners=corners,
        shape=shape,
    )


def _corners(room: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Places of the window in the corners of the image and in the middles of its sides."""
    for x in (0, room[0] // 2, room[0]):
        for y in (0, room[1] // 2, room[1]):
            yield np.array([x, y])


def _visible(boxes: FloatArray, corner: NDArray[np.intp], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(T,) whether any of a box is seen through a window."""
    shifted = boxes - np.tile(corner, 2)
    return np.asarray(area(clip(shifted, *shape)) > 0)


def _bouncing(first: int, length: int, count: int) -> NDArray[np.intp]:
    """(count,) numbers of frames from ``first`` to the end, back to ``first``, and so on."""
    span = max(length - 1 - first, 1)
    steps = np.arange(count) % (2 * span)
    return first + np.minimum(np.minimum(steps, 2 * span - steps), length - 1 - first)


def _filled(boxes: FloatArray) -> FloatArray:
    """Boxes with those that are missing put between their neighbours, for the path of the window."""
    there = np.flatnonzero(np.isfinite(boxes).all(1))
    return np.stack([np.interp(np.arange(len(boxes)), there, boxes[there, i]) for i in range(4)], 1).astype(np.float32)

"""What an object is and how large, from the part of it that the sensor sees.

A side of an object is seen from end to end or only in part; which of the two is the likelier depends on how it lies to
the line of sight. So each class and each way to lay its length gives a probability of the extents measured, and the
most probable one completes the box away from the sensor. Clutter has extents of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from deep_tracking_ros.detection.parts.rectangles import Rectangles

Array = NDArray[np.float64]

NOISE = 0.05, 0.003
"""Standard deviation of a measured extent, m, and how it grows with the distance, m/m: beams and columns fan out."""
CLUTTER = 0.6
"""Share of clutter among groups of points, before anything is known of their size."""
CLUTTER_SIZE = 1.0
"""Half of the groups of clutter are longer than this along an axis, m; there is no longest."""
CUT = 0.05
"""Probability that the top of an object is seen where it reaches up to the highest beam."""
FLOATING = 0.25, 1.0
"""How far above the ground the lowest point of an object and of clutter is on average, m."""


@dataclass(frozen=True)
class Shape:
    """A class of objects: mean and standard deviation of its sizes, and its share among objects."""

    label: str
    length: tuple[float, float]  # m
    width: tuple[float, float]
    height: tuple[float, float]
    top: float  # probability that its top is seen, and not only what lies before it, as a bonnet
    share: float  # any scale


SHAPES = (
    Shape("car", (4.4, 0.4), (1.8, 0.12), (1.6, 0.15), 0.7, 0.6),
    Shape("truck", (8.5, 2.0), (2.5, 0.15), (3.2, 0.4), 0.8, 0.03),
    Shape("pedestrian", (0.6, 0.2), (0.6, 0.12), (1.7, 0.12), 0.95, 0.28),
    Shape("cyclist", (1.75, 0.15), (0.6, 0.12), (1.7, 0.12), 0.95, 0.06),
)
"""Sizes of common knowledge: data sheets of vehicles, heights of adults; nothing was fitted to recorded data."""


@dataclass(frozen=True, eq=False)
class Completed:
    """C whole boxes."""

    boxes: Array  # (C, 7) see `boxes3d`; half a turn of the yaw is open
    scores: Array  # (C,) probability of the class, against all others and clutter
    kinds: NDArray[np.intp]  # (C,) row of the shapes


def complete(
    seen: Rectangles,
    ground: Array,
    lowest: Array,
    highest: Array,
    cut: NDArray[np.bool_],
    shapes: Sequence[Shape] = SHAPES,
) -> Completed:
    """The box of the most probable class around each rectangle.

    Args:
        seen: outlines of groups of points in the frame of the sensor.
        ground: (C,) height of the ground under each, m in the frame.
        lowest, highest: (C,) of the points above the ground, m.
        cut: (C,) whether the highest beam meets them, so that they may be higher.
        shapes: the classes.
    """
    c = len(seen.yaw)
    extent = seen.high - seen.low
    middle = (seen.high + seen.low) / 2
    # share of the line of sight along the other axis: how much a side faces the sensor
    facing = np.abs(middle[:, ::-1]) / np.maximum(np.hypot(*middle.T), 1e-6)[:, None]
    whole = 0.1 + 0.8 * facing
    noise = NOISE[0] + NOISE[1] * np.hypot(*middle.T)
    odds = np.empty((c, len(shapes), 2))
    sizes = np.empty((c, len(shapes), 2, 3))
    for k, shape in enumerate(shapes):
        tall, high = _side(highest, shape.height, np.where(cut, CUT, shape.top), noise)
        sizes[:, k, :, 2] = high[:, None]
        for turned in (0, 1):
            long, sizes[:, k, turned, 0] = _side(extent[:, turned], shape.length, whole[:, turned], noise)
            wide, sizes[:, k, turned, 1] = _side(extent[:, 1 - turned], shape.width, whole[:, 1 - turned], noise)
            odds[:, k, turned] = shape.share / 2 * long * wide * tall
    odds *= (1 - CLUTTER) / sum(shape.share for shape in shapes) * _exponential(lowest, FLOATING[0])[:, None, None]
    clutter = (
        CLUTTER * _any_size(extent).prod(1) * _any_size(highest[:, None])[:, 0] * _exponential(lowest, FLOATING[1])
    )
    total = odds.sum((1, 2)) + clutter
    by_kind = odds.sum(2)
    kinds = np.argmax(by_kind, 1)
    rows = np.arange(c)
    turned = np.argmax(odds[rows, kinds], 1)
    size = sizes[rows, kinds, turned]
    return Completed(_away(seen, size, turned, ground), by_kind[rows, kinds] / np.maximum(total, 1e-300), kinds)


def _side(seen: Array, size: tuple[float, float], whole: Array, noise: Array) -> tuple[Array, Array]:
    """Density of an extent that was seen of a side of this size, and the size of the side given that.

    With probability ``whole`` the side is seen from end to end, else any part of it.
    """
    mean, spread = size[0], np.hypot(size[1], noise)
    from_end_to_end = whole * np.exp(-(((seen - mean) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
    in_part = (1 - whole) * ndtr((mean - seen) / spread) / mean
    density = from_end_to_end + in_part
    share = from_end_to_end / np.maximum(density, 1e-300)
    return density, share * seen + (1 - share) * np.maximum(seen, mean)


def _any_size(seen: Array) -> Array:
    """Density of the extents of clutter: half of them below `CLUTTER_SIZE`, with a long tail."""
    return CLUTTER_SIZE / (CLUTTER_SIZE + np.maximum(seen, 0)) ** 2


def _exponential(value: Array, mean: float) -> Array:
    return np.exp(-np.maximum(value, 0) / mean) / mean


def _away(seen: Rectangles, size: Array, turned: NDArray[np.intp], ground: Array) -> Array:
    """(C, 7) boxes that keep the sides nearest to the sensor and reach away from it; ``turned``: length on axis 1."""
    lengths = np.where(turned[:, None] == 0, size[:, :2], size[:, 1::-1])
    extra = np.maximum(lengths - (seen.high - seen.low), 0)
    # the sensor is at 0: an axis on which the points lie on both sides of it gives no direction
    middle = (seen.low + seen.high) / 2
    away = np.where(seen.low > 0, 1.0, np.where(seen.high < 0, -1.0, 0.0))
    middle = middle + away * extra / 2
    cos, sin = np.cos(seen.yaw), np.sin(seen.yaw)
    yaw = seen.yaw + turned * (np.pi / 2)
    yaw = np.where(yaw > np.pi / 2, yaw - np.pi, yaw)
    return np.column_stack(
        [
            cos * middle[:, 0] - sin * middle[:, 1],
            sin * middle[:, 0] + cos * middle[:, 1],
            ground + size[:, 2] / 2,
            size,
            yaw,
        ]
    )

"""Boxes in space: ``(..., 7)`` arrays of x, y, z (centre, m), length, width, height (m) and yaw (rad).

The z axis points up; yaw turns about it, counter-clockwise seen from above, and at yaw 0 the length lies along x.
All functions work in float64 and broadcast over leading axes: ``iou(a[:, None], b)`` is the (N, M) matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Corners in units of half the length and half the width, counter-clockwise.
_CORNERS = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
_TOUCH = 1e-9
"""Edges closer than this (in units of the sizes of the boxes) count as lying on each other."""


def wrap(angle: ArrayLike) -> Array:
    """The same angle in [-pi, pi)."""
    return np.asarray((np.asarray(angle, np.float64) + np.pi) % (2 * np.pi) - np.pi)


def corners(boxes: ArrayLike) -> Array:
    """(..., 4, 2) corners of the outline seen from above, counter-clockwise."""
    b = np.asarray(boxes, np.float64)
    local = _CORNERS * (b[..., None, 3:5] / 2)
    return _turn(local, b[..., 6]) + b[..., None, :2]


def volume(boxes: ArrayLike) -> Array:
    """Volume, m^3."""
    b = np.asarray(boxes, np.float64)
    return np.asarray(b[..., 3] * b[..., 4] * b[..., 5])


def centre_distance(first: ArrayLike, second: ArrayLike) -> Array:
    """Distance of the centres, m."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return np.asarray(np.sqrt(((a[..., :3] - b[..., :3]) ** 2).sum(-1)))


def intersection_area(first: ArrayLike, second: ArrayLike) -> Array:
    """Area that the outlines seen from above have in common, m^2; exact for turned boxes.

    The boundary of what two convex polygons share consists of the parts of each one's edges that lie in the other.
    Each edge is cut to the other rectangle in that rectangle's own axes (Liang and Barsky, 1984), and Green's theorem
    sums the parts up to the area. Where edges lie on each other, the part of the first box is counted and that of
    the second is not.
    """
    a, b = np.broadcast_arrays(np.asarray(first, np.float64), np.asarray(second, np.float64))
    offset, angle = a[..., :2] - b[..., :2], a[..., 6] - b[..., 6]
    half_a, half_b = a[..., None, 3:5] / 2, b[..., None, 3:5] / 2
    touch = _TOUCH * (half_a.sum(-1, keepdims=True) + half_b.sum(-1, keepdims=True))
    # all in axes of b, about its centre: small numbers keep the sum exact
    a_in_b = _turn(_CORNERS * half_a, angle) + _turn(offset, -b[..., 6])[..., None, :]
    b_corners = _CORNERS * half_b
    b_in_a = _turn(b_corners, -angle) - _turn(offset, -a[..., 6])[..., None, :]
    area = _green(a_in_b, *_cut(a_in_b, half_b + touch)) + _green(b_corners, *_cut(b_in_a, half_a - touch))
    smaller: Array = np.minimum(a[..., 3] * a[..., 4], b[..., 3] * b[..., 4])
    return np.asarray(np.clip(area, 0, smaller))


def iou(first: ArrayLike, second: ArrayLike) -> Array:
    """Intersection over union of the volumes, 0 to 1."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    both = intersection_area(a, b) * np.maximum(_heights(a, b)[0], 0)
    return _ratio(both, volume(a) + volume(b) - both)


def giou(first: ArrayLike, second: ArrayLike) -> Array:
    """Generalised intersection over union of the volumes, -1 to 1 (Rezatofighi et al., CVPR 2019).

    What encloses both is the prism over the convex hull of both outlines, as Weng et al. have it (AB3DMOT, 2020).
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    shared_height, whole_height = _heights(a, b)
    both = intersection_area(a, b) * np.maximum(shared_height, 0)
    union = volume(a) + volume(b) - both
    enclosing = np.maximum(hull_area(a, b) * whole_height, union)
    return _ratio(both, union) - _ratio(enclosing - union, enclosing)


def hull_area(first: ArrayLike, second: ArrayLike) -> Array:
    """Area of the convex hull of both outlines seen from above, m^2.

    The upper side of a hull over x is the highest of all chords between its points, and bends only where a point is:
    it is evaluated at the eight corners in the order of x and integrated by trapezoids; the lower side likewise.
    """
    a, b = np.broadcast_arrays(np.asarray(first, np.float64), np.asarray(second, np.float64))
    points = np.concatenate([corners(a), corners(b)], -2) - a[..., None, :2]
    points = np.take_along_axis(points, np.argsort(points[..., 0], -1)[..., None], -2)
    x, y = points[..., 0], points[..., 1]
    left, middle, right = _CHORDS
    width = x[..., right] - x[..., left]
    share = np.divide(x[..., middle] - x[..., left], width, out=np.zeros_like(width), where=width > 0)
    chord = y[..., left] + share * (y[..., right] - y[..., left])
    upper: Array = np.maximum.reduceat(chord, _FIRST_CHORD, axis=-1)
    lower: Array = np.minimum.reduceat(chord, _FIRST_CHORD, axis=-1)
    depth = upper - lower
    return np.asarray((np.diff(x, axis=-1) * (depth[..., 1:] + depth[..., :-1])).sum(-1) / 2)


def transform(boxes: ArrayLike, pose: ArrayLike) -> Array:
    """Boxes moved by a (4, 4) pose; the heading is turned with it and then laid flat, since boxes stand upright."""
    b, matrix = np.asarray(boxes, np.float64), np.asarray(pose, np.float64)
    moved = b.copy()
    moved[..., :3] = b[..., :3] @ matrix[:3, :3].T + matrix[:3, 3]
    heading = np.stack([np.cos(b[..., 6]), np.sin(b[..., 6])], -1) @ matrix[:2, :2].T
    moved[..., 6] = np.arctan2(heading[..., 1], heading[..., 0])
    return moved


def _turn(vectors: Array, angle: Array) -> Array:
    """(..., 2) or (..., n, 2) vectors turned by (...) angles."""
    cos, sin = np.cos(angle), np.sin(angle)
    if vectors.ndim > np.ndim(angle) + 1:
        cos, sin = cos[..., None], sin[..., None]
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], -1)


def _cut(points: Array, half: Array) -> tuple[Array, Array]:
    """Where each edge of a polygon (..., n, 2) enters and leaves the rectangle of half sizes (..., 1, 2), 0 to 1."""
    step = np.concatenate([points[..., 1:, :], points[..., :1, :]], -2) - points
    step = np.where(np.abs(step) < 1e-12, 1e-12, step)  # along an axis: enters and leaves far away, or never
    one, two = (-half - points) / step, (half - points) / step
    enters = np.maximum(np.minimum(one, two).max(-1), 0)
    leaves = np.minimum(np.maximum(one, two).min(-1), 1)
    return enters, np.maximum(leaves, enters)


def _green(points: Array, enters: Array, leaves: Array) -> Array:
    """Half the integral of (x dy - y dx) along the parts of a polygon's edges."""
    following = np.concatenate([points[..., 1:, :], points[..., :1, :]], -2)
    cross = points[..., 0] * following[..., 1] - points[..., 1] * following[..., 0]
    return np.asarray((cross * (leaves - enters)).sum(-1) / 2)


def _heights(a: Array, b: Array) -> tuple[Array, Array]:
    """Height that both share (negative where there is a gap) and height over all, m."""
    top_a, top_b = a[..., 2] + a[..., 5] / 2, b[..., 2] + b[..., 5] / 2
    foot_a, foot_b = top_a - a[..., 5], top_b - b[..., 5]
    return np.minimum(top_a, top_b) - np.maximum(foot_a, foot_b), np.maximum(top_a, top_b) - np.minimum(foot_a, foot_b)


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)


def _chords() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(3, n) left end, middle, right end of all chords that pass over each of eight points, and where each begins."""
    rows = [(i, k, j) for k in range(8) for i in range(k + 1) for j in range(k, 8)]
    table = np.array(rows, np.intp).T
    return table, np.searchsorted(table[1], np.arange(8))


_CHORDS, _FIRST_CHORD = _chords()

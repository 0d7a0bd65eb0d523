"""Rectangles around groups of points, turned so that the points lie along their edges.

Zhang, Xu, Dong, Dolan: Efficient L-shape fitting for vehicle detection using laser scanners, IV 2017, with its
closeness criterion. All groups and all directions are worked out at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

COARSE = np.radians(np.arange(0, 90, 3.0))
FINE = np.radians(np.arange(-2.0, 2.5, 0.5))
"""Directions that are tried, and those that are tried about the best of them; a rectangle is the same after 90."""
NEAREST = 0.03
"""Points nearer to an edge than this count as on it, m: about the noise of a range."""
MOST = 150
"""Points of a group by which its direction is found."""


@dataclass(frozen=True, eq=False)
class Rectangles:
    """C rectangles."""

    yaw: Array  # (C,) rad, 0 to pi/2, of the first axis; the second is a quarter turn on
    low: Array  # (C, 2) along both axes, m
    high: Array  # (C, 2)


def fit_rectangles(points: Array, group: Indices) -> Rectangles:
    """The rectangle of each group.

    Args:
        points: (N, 2) m.
        group: (N,) number of the group of each point; every one of 0 to C - 1 has a point.
    """
    order = np.argsort(group, kind="stable")
    points, group = points[order], group[order]
    first = np.flatnonzero(np.diff(group, prepend=-1))
    count = np.diff(first, append=len(group))
    # an even choice of the points of large groups
    stride = -(-count // MOST)
    chosen = (np.arange(len(group)) - first[group]) % stride[group] == 0
    few, few_group = points[chosen], group[chosen]
    starts = np.flatnonzero(np.diff(few_group, prepend=-1))
    zero = np.zeros(len(first))
    best = _best(few, few_group, starts, zero, COARSE)
    yaw = _best(few, few_group, starts, best, FINE) % (np.pi / 2)
    cos, sin = np.cos(yaw)[group], np.sin(yaw)[group]
    along = np.stack([cos * points[:, 0] + sin * points[:, 1], cos * points[:, 1] - sin * points[:, 0]], 1)
    return Rectangles(yaw, np.minimum.reduceat(along, first), np.maximum.reduceat(along, first))


def _best(points: Array, group: Indices, starts: Indices, about: Array, steps: Array) -> Array:
    """(C,) the direction of the greatest closeness among ``about`` + ``steps``, the first of equals."""
    angles = about[:, None] + steps
    cos, sin = np.cos(angles)[group], np.sin(angles)[group]
    x, y = points[:, :1], points[:, 1:]
    nearest = np.minimum(_to_edge(cos * x + sin * y, group, starts), _to_edge(cos * y - sin * x, group, starts))
    closeness = np.add.reduceat(1 / np.maximum(nearest, NEAREST), starts)
    return np.asarray(np.take_along_axis(angles, np.argmax(closeness, 1)[:, None], 1)[:, 0])


def _to_edge(along: Array, group: Indices, starts: Indices) -> Array:
    """(N, A) distance of each point to that edge across the axis which the group as a whole is nearer to."""
    low = along - np.minimum.reduceat(along, starts)[group]
    high = np.maximum.reduceat(along, starts)[group] - along
    nearer = np.add.reduceat(low * low, starts) <= np.add.reduceat(high * high, starts)
    return np.where(nearer[group], low, high)

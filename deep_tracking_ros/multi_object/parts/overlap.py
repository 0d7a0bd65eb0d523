"""Pairs of boxes that overlap: from a matrix while that is small, else from a search among neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

SMALL = 40_000
"""Up to so many entries a matrix is faster than a search."""


def overlaps(first: Array, second: Array, least: float) -> tuple[Indices, Indices, Array]:
    """All pairs of boxes of (N, 4) and (M, 4) xyxy whose intersection over union is above ``least`` (0 or more).

    The search takes the largest box as its reach, so its cost is near linear where sizes are alike.

    Returns:
        (P,) indices into the first, (P,) into the second, (P,) intersection over union; ordered by them.
    """
    n, m = len(first), len(second)
    if n * m <= SMALL:
        sides = np.minimum(first[:, None, 2:], second[:, 2:]) - np.maximum(first[:, None, :2], second[:, :2])
        np.maximum(sides, 0, out=sides)
        both = sides[..., 0] * sides[..., 1]
        iou = both / (_area(first)[:, None] + _area(second) - both)
        rows, columns = (iou > least).nonzero()
        return rows, columns, iou[rows, columns]
    # centres of boxes that overlap are nearer than half of both sizes together
    reach = (np.ptp(first.reshape(-1, 2, 2), 1).max(0) + np.ptp(second.reshape(-1, 2, 2), 1).max(0)) / 2
    trees = [cKDTree((boxes[:, :2] + boxes[:, 2:]) / (2 * reach)) for boxes in (first, second)]
    near = trees[0].sparse_distance_matrix(trees[1], 1.0, p=np.inf, output_type="ndarray")
    order = np.lexsort((near["j"], near["i"]))
    rows, columns = near["i"][order], near["j"][order]
    a, b = first[rows], second[columns]
    sides = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0)
    both = sides[:, 0] * sides[:, 1]
    iou = both / (_area(a) + _area(b) - both)
    enough = iou > least
    return rows[enough], columns[enough], iou[enough]


def _area(boxes: Array) -> Array:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1])

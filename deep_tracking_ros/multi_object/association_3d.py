"""Which track goes with which detection in space: gating by distance, cost by overlap or distance, who takes whom."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from deep_tracking_ros.geometry.boxes3d import Array, centre_distance, giou, iou
from deep_tracking_ros.multi_object.parts.assignment import SMALL, Indices, assign_pairs

COSTS = {"giou": lambda a, b: 1 - giou(a, b), "iou": lambda a, b: 1 - iou(a, b), "distance": centre_distance}
"""What a pair costs: 0 for equal boxes; up to 2 (giou), up to 1 (iou), or metres."""

MOST = {"giou": 2.0, "iou": 1.0}
"""Limits above these exclude no pair at all."""

BLOCK = 64
"""So many boxes are compared with each other at once to find copies."""
PAIRS = 4096
"""Costs and overlaps are worked out for so many pairs at once: each takes up to 2 kB meanwhile."""


def associate(
    tracks: Array,
    detections: Array,
    track_kinds: NDArray[np.intp],
    detection_kinds: NDArray[np.intp],
    *,
    cost: str,
    limit: float,
    gate: float,
    greedy: bool,
) -> Indices:
    """(K, 2) pairs of track and detection of the same kind, each at most once.

    Args:
        tracks, detections: (N, 7), (M, 7) boxes in the same frame.
        track_kinds, detection_kinds: (N,), (M,) class of each.
        cost: one of `COSTS`.
        limit: pairs must cost less than this.
        gate: centres must be closer than this seen from above, m; what is further apart is not looked at.
        greedy: take the cheapest pair first, then the cheapest of the rest; else the best assignment as a whole.
    """
    rows, columns = _near(tracks, detections, gate)
    same = track_kinds[rows] == detection_kinds[columns]
    rows, columns = rows[same], columns[same]
    costs = _of_pairs(COSTS[cost], tracks, detections, rows, columns)
    good = costs < limit
    rows, columns, costs = rows[good], columns[good], costs[good]
    shape = (len(tracks), len(detections))
    if greedy:
        return take_cheapest(rows, columns, costs, shape)
    return assign_pairs(rows, columns, costs, shape, limit)


def take_cheapest(rows: Indices, columns: Indices, costs: Array, shape: tuple[int, int]) -> Indices:
    """Greedy matching: in each round all pairs are taken that are the cheapest of both their row and their column."""
    taken = []
    order = np.lexsort((columns, rows, costs))
    rows, columns = rows[order], columns[order]
    while len(rows):
        first_row, first_column = np.full(shape[0], -1), np.full(shape[1], -1)
        places = np.arange(len(rows))[::-1]
        first_row[rows[::-1]], first_column[columns[::-1]] = places, places  # of repeated ones the last write stays
        best = first_row[rows] == first_column[columns]
        taken.append(np.stack([rows[best], columns[best]], 1))
        free_row, free_column = np.ones(shape[0], bool), np.ones(shape[1], bool)
        free_row[rows[best]] = free_column[columns[best]] = False
        left = free_row[rows] & free_column[columns]
        rows, columns = rows[left], columns[left]
    return np.concatenate(taken) if taken else np.zeros((0, 2), np.intp)


def overlapping(boxes: Array, kinds: Indices, others: Array, other_kinds: Indices, limit: float) -> NDArray[np.bool_]:
    """(N,) whether each box overlaps any of the others of its kind by at least this IoU."""
    found: NDArray[np.bool_] = np.zeros(len(boxes), bool)
    if len(boxes) and len(others):
        rows, columns = _touching(boxes, kinds, others, other_kinds)
        found[rows[_of_pairs(iou, boxes, others, rows, columns) >= limit]] = True
    return found


def distinct(boxes: Array, kinds: Indices, limit: float) -> Indices:
    """Rows that are left of boxes in order of merit, when each takes the place of those of its kind it overlaps.

    Goes by blocks, so that memory does not grow with the square of a pile of boxes on one spot.
    """
    kept: list[Indices] = []
    left = np.arange(len(boxes))
    while len(left):
        block, left = left[:BLOCK], left[BLOCK:]
        one, kind = boxes[block], kinds[block]
        better, worse = _touching(one, kind, one, kind)
        later = better < worse
        better, worse = better[later], worse[later]
        copies = _of_pairs(iou, one, one, better, worse) >= limit
        better, worse = better[copies], worse[copies]
        alive: NDArray[np.bool_] = np.ones(len(block), bool)
        for row in np.unique(better):
            if alive[row]:
                alive[worse[better == row]] = False
        best = block[alive]
        kept.append(best)
        left = left[~overlapping(boxes[left], kinds[left], boxes[best], kinds[best], limit)]
    return np.concatenate(kept) if kept else left


def _touching(boxes: Array, kinds: Indices, others: Array, other_kinds: Indices) -> tuple[Indices, Indices]:
    """Pairs of the same kind whose outlines seen from above may touch; there must be one box and one other."""
    reach, other_reach = np.hypot(boxes[:, 3], boxes[:, 4]) / 2, np.hypot(others[:, 3], others[:, 4]) / 2
    rows, columns = _near(boxes, others, reach.max() + other_reach.max())
    offset = boxes[rows, :2] - others[columns, :2]
    may = np.hypot(offset[:, 0], offset[:, 1]) <= reach[rows] + other_reach[columns]
    may &= kinds[rows] == other_kinds[columns]
    return rows[may], columns[may]


def _of_pairs(
    measure: Callable[[Array, Array], Array], first: Array, second: Array, rows: Indices, columns: Indices
) -> Array:
    """(P,) measure of pairs, by blocks: nothing bounds how many boxes a detector puts on one spot."""
    if len(rows) == 0:
        return np.zeros(0)
    blocks = [slice(begin, begin + PAIRS) for begin in range(0, len(rows), PAIRS)]
    return np.concatenate([measure(first[rows[part]], second[columns[part]]) for part in blocks])


def _near(first: Array, second: Array, gate: float) -> tuple[Indices, Indices]:
    """Pairs whose centres are closer than this seen from above."""
    a, b = first[:, :2], second[:, :2]
    if len(a) * len(b) <= SMALL:
        offset = a[:, None] - b
        rows, columns = np.nonzero((offset * offset).sum(-1) < gate * gate)
        return rows, columns
    pairs = cKDTree(a).sparse_distance_matrix(cKDTree(b), gate, output_type="coo_matrix")
    return pairs.row.astype(np.intp), pairs.col.astype(np.intp)

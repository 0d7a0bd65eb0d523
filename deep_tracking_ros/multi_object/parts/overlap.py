"""Pairs of boxes that overlap: from a matrix while that is small, else from a search among neighbours.

Outlines of N boxes are a (5, N) float64 array with rows -x0, -y0, x1, y1 in px and the area in px^2. With the signs
turned so, the part that two boxes share reaches outward as far as the lesser of both, on all four sides alike.

The search sorts boxes into bands of the image, by x within each, and compares neighbours in the same and the adjacent
bands. It does so within classes of size: boxes whose longest sides differ by a factor of f overlap by at most 1 / f,
so one box as large as the image does not make everything a neighbour of everything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

SMALL = 12_000
"""Up to so many entries a matrix is faster than a search."""
STEP = 2.0
"""Ratio of the longest sides of the smallest and largest boxes of one class of size."""
LEAST = 1e-3
"""Smaller boxes are searched for as if they were so large, px."""
BLOCK = 512
"""So many boxes are compared with each other at once to find copies."""
NO_INDICES: Indices = np.zeros(0, np.intp)


def outlines(boxes: Array) -> Array:
    """(5, N) outlines of boxes (N, 4) xyxy."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([-boxes[:, :2], boxes[:, 2:], sides[:, :1] * sides[:, 1:]], 1).T.copy()


def overlaps(first: Array, second: Array, least: float) -> tuple[Indices, Indices, Array]:
    """As `overlapping`, for boxes (N, 4) and (M, 4) xyxy."""
    return overlapping(outlines(first), outlines(second), least)


def overlapping(first: Array, second: Array, least: float) -> tuple[Indices, Indices, Array]:
    """All pairs of outlines (5, N) and (5, M) whose intersection over union is above ``least`` (0 or more).

    Returns:
        (P,) indices into the first, (P,) into the second, (P,) intersection over union; ordered by them.
    """
    n, m = first.shape[1], second.shape[1]
    if n * m <= SMALL:
        iou = _iou(np.minimum(first[:4, :, None], second[:4, None]), first[4, :, None] + second[4])
        enough = iou > least
        rows, columns = enough.nonzero()
        return rows, columns, iou.ravel().compress(enough.ravel())
    parts = [(NO_INDICES, NO_INDICES)]  # where no class of the first is near any of the second
    sizes = [_size_class(first), _size_class(second)]
    for one in np.unique(sizes[0]):
        for other in np.unique(sizes[1]):
            if STEP ** (abs(one - other) - 1) * least < 1:
                i, j = (sizes[0] == one).nonzero()[0], (sizes[1] == other).nonzero()[0]
                row, column = _near(first.take(i, 1), second.take(j, 1))
                parts.append((i.take(row), j.take(column)))
    rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    a, b = first.take(rows, 1), second.take(columns, 1)
    iou = _iou(np.minimum(a[:4], b[:4]), a[4] + b[4])
    chosen = (iou > least).nonzero()[0]
    chosen = chosen.take((rows.take(chosen) * m + columns.take(chosen)).argsort())
    return rows.take(chosen), columns.take(chosen), iou.take(chosen)


def distinct(boxes: Array, kinds: Indices, limit: float) -> Indices:
    """Of outlines (5, N) in order of merit those that are left when each removes its copies that come later.

    A copy is a box of the same class that overlaps by more than ``limit``. Goes by blocks, so that memory does not grow
    with the square of a pile of boxes on one spot.
    """
    left = np.arange(boxes.shape[1])
    if len(left) < 2:
        return left
    kept = []
    while len(left):
        block, left = left[:BLOCK], left[BLOCK:]
        row, column, _ = overlapping(boxes.take(block, 1), boxes.take(block, 1), limit)
        copies = (row < column) & (kinds.take(block.take(row)) == kinds.take(block.take(column)))
        row, column = row.compress(copies), column.compress(copies)
        alive = np.ones(len(block), bool)
        for better in np.unique(row):
            if alive[better]:
                begin, end = row.searchsorted([better, better + 1])
                alive[column[begin:end]] = False
        block = block.compress(alive)
        kept.append(block)
        if len(left):
            one, other = (boxes.take(left, 1), kinds.take(left)), (boxes.take(block, 1), kinds.take(block))
            left = left.compress(~copied(*one, *other, limit))
    return np.concatenate(kept)


def copied(boxes: Array, kinds: Indices, others: Array, other_kinds: Indices, limit: float) -> NDArray[np.bool_]:
    """(N,) which of the outlines (5, N) are copies of others (5, M), see `distinct`."""
    row, column, _ = overlapping(boxes, others, limit)
    found = np.zeros(boxes.shape[1], bool)
    found[row.compress(kinds.take(row) == other_kinds.take(column))] = True
    return found


def _iou(shared: Array, areas: Array) -> Array:
    """Intersections over union, of the outline that two boxes share (4, ...) and the sum of their areas (...)."""
    sides = shared[:2] + shared[2:]
    np.maximum(sides, 0, out=sides)
    both: Array = sides[0] * sides[1]
    areas -= both
    both /= areas
    return both


def _size_class(boxes: Array) -> Indices:
    sides = boxes[:2] + boxes[2:4]
    return np.asarray(np.floor(np.log2(np.maximum(sides.max(0), LEAST)) / np.log2(STEP)), np.intp)


def _near(first: Array, second: Array) -> tuple[Indices, Indices]:
    """Pairs that may overlap: in the same or adjacent bands, and of centres near enough in x."""
    width, height = (first[:2] + first[2:4]).max(1) / 2 + (second[:2] + second[2:4]).max(1) / 2
    n = first.shape[1]
    width, height = max(width, LEAST), max(height, LEAST)
    centres = np.concatenate([first[2:4] - first[:2], second[2:4] - second[:2]], 1) / 2
    x, y = centres - centres.min(1, keepdims=True)
    span = x.max() + 2 * width  # the bands laid end to end, none nearer to the next than boxes reach
    place = np.floor(y / height) * span + x
    row_order, column_order = place[:n].argsort(), place[n:].argsort()
    mine, theirs = place[:n].take(row_order), place[n:].take(column_order)
    found = []
    for band in (-span, 0.0, span):
        begin = theirs.searchsorted(mine + (band - width))
        count = theirs.searchsorted(mine + (band + width)) - begin
        rows = row_order.repeat(count)
        within = np.arange(len(rows)) - (count.cumsum() - count).repeat(count)
        found.append((rows, column_order.take(begin.repeat(count) + within)))
    row, column = (np.concatenate(part) for part in zip(*found, strict=True))
    return row, column

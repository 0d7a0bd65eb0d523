"""Which track goes with which detection: the assignment of least cost among the pairs that a limit admits.

Whoever stays single costs ``limit``, so a set of pairs is chosen that maximises the sum of ``limit - cost``, as in
ByteTrack (Zhang et al., ECCV 2022). Pairs that share no row and no column do not influence each other: large problems
fall into connected components, nearly all of them a single pair, and the time grows with the number of admitted pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Indices = NDArray[np.intp]

SMALL = 4096
"""Problems with at most so many entries are solved in one piece, which is faster than taking them apart."""


class Assignment(NamedTuple):
    """Who goes with whom, ordered by row, and who stays single, ascending."""

    matches: Indices  # (K, 2) row, column
    rows: Indices  # (N - K,) unmatched
    columns: Indices  # (M - K,) unmatched


def assign(cost: ArrayLike, limit: float) -> Assignment:
    """The best one-to-one assignment of a cost matrix.

    Args:
        cost: (N, M); nan and inf mean that a pair is impossible.
        limit: a pair must cost less than this.
    """
    array = np.asarray(cost, np.float64)
    rows, columns = np.nonzero(array < limit)
    matches = assign_pairs(rows, columns, array[rows, columns], (array.shape[0], array.shape[1]), limit)
    row, column = np.ones(array.shape[0], bool), np.ones(array.shape[1], bool)
    row[matches[:, 0]] = False
    column[matches[:, 1]] = False
    return Assignment(matches, np.flatnonzero(row), np.flatnonzero(column))


def assign_pairs(
    rows: Indices, columns: Indices, cost: NDArray[np.float64], shape: tuple[int, int], limit: float
) -> Indices:
    """As `assign`, for P admitted pairs of a problem that may be too large for a matrix.

    Args:
        rows, columns: (P,) of the pairs, each pair once.
        cost: (P,), each below ``limit``.
        shape: (N, M) of the whole problem.
        limit: cost of staying single.

    Returns:
        (K, 2) row and column of those that go together, ordered by row.
    """
    if shape[0] * shape[1] <= SMALL:
        return _solve(rows, columns, cost, shape, limit)
    n, m = shape
    graph = coo_matrix((np.ones(len(rows)), (rows, columns + n)), shape=(n + m, n + m))
    component = connected_components(graph, directed=False)[1][rows]
    order = np.argsort(component, kind="stable")
    starts = np.flatnonzero(np.diff(component[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    alone = order[starts[sizes == 1]]
    parts = [np.stack([rows[alone], columns[alone]], 1)]
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        pairs = order[start : start + size]
        i, row = np.unique(rows[pairs], return_inverse=True)
        j, column = np.unique(columns[pairs], return_inverse=True)
        found = _solve(row, column, cost[pairs], (len(i), len(j)), limit)
        parts.append(np.stack([i[found[:, 0]], j[found[:, 1]]], 1))
    matches = np.concatenate(parts)
    return np.asarray(matches[np.argsort(matches[:, 0], kind="stable")])


def _solve(rows: Indices, columns: Indices, cost: NDArray[np.float64], shape: tuple[int, int], limit: float) -> Indices:
    block = np.empty(shape)
    block.fill(limit)
    block[rows, columns] = cost
    row, column = linear_sum_assignment(block)
    return np.asarray(np.array((row, column)).T[block[row, column] < limit])

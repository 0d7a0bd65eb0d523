"""Which track goes with which detection: the assignment of least cost among the pairs that a limit admits.

Whoever stays single costs ``limit``, so a set of pairs is chosen that maximises the sum of ``limit - cost``, the gain
of a pair, as in ByteTrack (Zhang et al., ECCV 2022). Pairs that share no row and no column do not influence each other:
large problems fall into connected components, most of them a single pair, and the time grows with the number of
admitted pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

SMALL = 12_000
"""Problems with at most so many entries are solved in one piece, which is faster than taking them apart."""
DENSE = 100_000
"""Pieces with more entries are solved without a matrix."""
BATCH = 24
"""So many components are solved together."""


def assign_pairs(rows: Indices, columns: Indices, cost: Array, shape: tuple[int, int], limit: float) -> Indices:
    """The best one-to-one assignment of P admitted pairs, of a problem that may be too large for a matrix.

    Args:
        rows, columns: (P,) of the pairs, each pair once.
        cost: (P,), each below ``limit``.
        shape: (N, M) of the whole problem.
        limit: cost of staying single.

    Returns:
        (K, 2) row and column of those that go together, ordered by row.
    """
    return np.stack(best_pairs(rows, columns, limit - cost, shape), 1)


def best_pairs(rows: Indices, columns: Indices, gain: Array, shape: tuple[int, int]) -> tuple[Indices, Indices]:
    """Of P pairs, each of them once, those that gain the most together; pairs with no gain, 0 or less, are no pairs.

    Returns:
        (K,) rows, ascending, and (K,) columns of those that go together.
    """
    if shape[0] * shape[1] <= SMALL:
        return _solve(rows, columns, gain, shape)
    good = (gain > 0).nonzero()[0]
    rows, columns, gain = rows.take(good), columns.take(good), gain.take(good)
    alone = (np.bincount(rows).take(rows) == 1) & (np.bincount(columns).take(columns) == 1)
    parts = [(rows.compress(alone), columns.compress(alone))]
    contested = (~alone).nonzero()[0]
    i, row = np.unique(rows.take(contested), return_inverse=True)
    j, column = np.unique(columns.take(contested), return_inverse=True)
    gain = gain.take(contested)
    n, m = len(i), len(j)
    if n * m <= SMALL:
        found = _solve(row, column, gain, (n, m))
        parts.append((i.take(found[0]), j.take(found[1])))
    else:
        graph = coo_matrix((np.ones(len(row)), (row, column + n)), shape=(n + m, n + m))
        batch = connected_components(graph, directed=False)[1].take(row) // BATCH
        order = batch.argsort(kind="stable")
        for pairs in np.split(order, np.diff(batch.take(order)).nonzero()[0] + 1):
            k, row_k = np.unique(row.take(pairs), return_inverse=True)
            h, column_h = np.unique(column.take(pairs), return_inverse=True)
            found = _solve(row_k, column_h, gain.take(pairs), (len(k), len(h)))
            parts.append((i.take(k.take(found[0])), j.take(h.take(found[1]))))
    row, column = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = row.argsort(kind="stable")
    return row.take(order), column.take(order)


def _solve(rows: Indices, columns: Indices, gain: Array, shape: tuple[int, int]) -> tuple[Indices, Indices]:
    if shape[0] * shape[1] > DENSE:
        return _solve_sparse(rows, columns, gain, shape)
    block = np.zeros(shape)
    block[rows, columns] = gain
    row, column = linear_sum_assignment(block, maximize=True)
    good = block[row, column] > 0
    if np.count_nonzero(good) < len(good):
        return row.compress(good), column.compress(good)
    return row, column


def _solve_sparse(rows: Indices, columns: Indices, gain: Array, shape: tuple[int, int]) -> tuple[Indices, Indices]:
    """The same for pairs of gain above 0, in memory that grows with the pairs; a column of its own for each row that
    stays single."""
    n, m = shape
    single = np.arange(n)
    weight = gain.max() + 1 - np.concatenate([gain, np.zeros(n)])  # of 0 would be no pair
    places = np.concatenate([rows, single]), np.concatenate([columns, m + single])
    row, column = min_weight_full_bipartite_matching(csr_matrix((weight, places), shape=(n, m + n)))
    paired = column < m
    return row.compress(paired), column.compress(paired)

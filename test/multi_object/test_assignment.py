import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from deep_tracking_ros.multi_object.parts import assignment
from deep_tracking_ros.multi_object.parts.assignment import assign_pairs, best_pairs


def assign(cost, limit):
    """(K, 2) of the whole matrix of costs, of which those below the limit are admitted."""
    cost = np.asarray(cost, float)
    rows, columns = np.nonzero(cost < limit)
    return assign_pairs(rows, columns, cost[rows, columns], cost.shape, limit)


def test_the_best_sum_wins_over_the_best_pair():
    found = assign([[0.1, 0.2], [0.3, 0.9]], 1.0)
    assert found.tolist() == [[0, 1], [1, 0]]  # 0.5, while the best pair first would cost 1.0


def test_a_pair_at_the_limit_or_impossible_stays_single():
    found = assign([[0.5, np.inf, np.nan], [0.4, 0.6, np.nan]], 0.5)
    assert found.tolist() == [[1, 0]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_empty_problems_have_no_matches(shape):
    assert assign(np.zeros(shape), 1.0).shape == (0, 2)


@pytest.mark.parametrize("dense", [10**9, 0], ids=["matrix", "sparse"])
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.floats(0.05, 1.0))
def test_parts_and_whole_cost_the_same(dense, seed, n, m, limit):
    cost = np.random.default_rng(seed).random((n, m))
    before = assignment.SMALL, assignment.DENSE, assignment.BATCH
    assignment.SMALL, assignment.DENSE, assignment.BATCH = 0, dense, 2  # take it apart
    try:
        found = assign(cost, limit)
    finally:
        assignment.SMALL, assignment.DENSE, assignment.BATCH = before
    clipped = np.minimum(cost, limit)
    best = clipped[linear_sum_assignment(clipped)].sum()
    i, j = found.T
    assert cost[i, j].sum() + (min(n, m) - len(i)) * limit == pytest.approx(best)
    assert i.tolist() == sorted(set(i))
    assert len(set(j)) == len(j)


def test_many_far_objects_need_no_matrix():
    n = 50_000  # a matrix would take 20 GB
    rows = np.arange(n)
    matches = assign_pairs(rows, rows[::-1].copy(), np.full(n, 0.5), (n, n), 1.0)
    assert (matches[:, 0] == rows).all()
    assert (matches[:, 1] == rows[::-1]).all()


def test_pairs_without_a_gain_are_none():
    rows, columns = np.array([0, 0, 1]), np.array([0, 1, 1])
    found = best_pairs(rows, columns, np.array([0.0, 0.5, -1.0]), (2, 2))
    assert [index.tolist() for index in found] == [[0], [1]]

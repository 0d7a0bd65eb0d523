import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.geometry.boxes import iou_matrix
from deep_tracking_ros.multi_object.parts import overlap
from deep_tracking_ros.multi_object.parts.overlap import copied, distinct, outlines, overlaps


def scattered(rng, count, room, smallest, largest):
    """(N, 4) boxes with sizes alike on a scale of ratios."""
    corner = rng.uniform(0, room, (count, 2))
    return np.concatenate([corner, corner + np.exp(rng.uniform(np.log(smallest), np.log(largest), (count, 2)))], 1)


@pytest.mark.parametrize("small", [0, 10**9], ids=["search", "matrix"])
@pytest.mark.parametrize("least", [0.0, 0.05, 0.3, 0.9])
@given(seed=st.integers(0, 2**32 - 1), largest=st.sampled_from([5.0, 60.0, 3000.0]))
@settings(max_examples=25, deadline=None)
def test_all_pairs_above_the_least_overlap_are_found(small, least, seed, largest):
    rng = np.random.default_rng(seed)
    first, second = scattered(rng, 80, 200, 4, largest), scattered(rng, 60, 200, 4, largest)
    second[:20] = first[:20] + rng.normal(0, 0.05, (20, 4))
    before, overlap.SMALL = overlap.SMALL, small
    try:
        rows, columns, iou = overlaps(first, second, least)
    finally:
        overlap.SMALL = before
    expected = iou_matrix(first, second)
    found = np.zeros_like(expected)
    found[rows, columns] = iou
    assert (np.diff(rows * len(second) + columns) > 0).all()  # each once, in order
    assert iou == pytest.approx(expected[rows, columns], abs=1e-5)
    clear = np.abs(expected - least) > 1e-5  # single precision cannot tell the others
    assert ((found > 0) == (expected > least))[clear].all()
    assert (expected > least).sum() >= 10


def test_one_box_as_large_as_the_image_is_no_neighbour_of_all(monkeypatch):
    near, looked_at = overlap._near, []
    monkeypatch.setattr(overlap, "_near", lambda *a: looked_at.append(len((pairs := near(*a))[0])) or pairs)
    y, x = np.mgrid[:100, :100].reshape(2, -1) * 100.0
    boxes = np.stack([x, y, x + 60, y + 60], 1)
    boxes = np.concatenate([boxes, [[0, 0, 10_000, 10_000]]])
    rows, columns, _ = overlaps(boxes, boxes, 0.2)
    assert (rows == columns).all()
    assert len(rows) == 10_001
    assert sum(looked_at) < 30_000


def test_of_copies_the_first_is_left():
    boxes = outlines(np.array([[0, 0, 10, 10], [50, 0, 60, 10], [0.1, 0, 10, 10], [0, 0, 10, 10], [50, 0, 60, 10.0]]))
    assert distinct(boxes, np.array([0, 0, 0, 1, 0]), 0.9).tolist() == [0, 1, 3]
    taken = outlines(np.array([[0.0, 0, 10, 10]]))
    assert copied(boxes, np.zeros(5, np.intp), taken, np.array([0]), 0.9).tolist() == [True, False, True, True, False]
    assert copied(boxes, np.zeros(5, np.intp), taken, np.array([1]), 0.9).tolist() == [False] * 5


def test_copies_are_found_across_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    boxes = outlines(scattered(rng, 40, 2000, 20, 40)[np.arange(400) % 40])
    whole = distinct(boxes, np.zeros(400, np.intp), 0.9)
    monkeypatch.setattr(overlap, "BLOCK", 7)
    assert whole.tolist() == list(range(40))
    assert distinct(boxes, np.zeros(400, np.intp), 0.9).tolist() == list(range(40))


def test_boxes_without_area_overlap_nothing(monkeypatch):
    monkeypatch.setattr(overlap, "SMALL", 0)
    points = np.array([[5.0, 5, 5, 5], [7, 7, 6, 9]])
    rows, _, _ = overlaps(points, np.array([[0.0, 0, 10, 10]]), 0.0)
    assert len(rows) == 0


def test_boxes_of_sizes_far_apart_overlap_nothing(monkeypatch):
    monkeypatch.setattr(overlap, "SMALL", 0)
    small, large = np.array([[5.0, 5, 6, 6]]), np.array([[0.0, 0, 900, 900]])
    for pairs in (overlaps(small, large, 0.2), overlaps(large, small, 0.2)):
        assert [len(values) for values in pairs] == [0, 0, 0]
    assert copied(outlines(small), np.zeros(1, np.intp), outlines(large), np.zeros(1, np.intp), 0.9).tolist() == [False]

import numpy as np
import pytest

from deep_tracking_ros.geometry.boxes import iou_matrix
from deep_tracking_ros.multi_object.parts import overlap


@pytest.mark.parametrize("small", [0, 10**9], ids=["search", "matrix"])
@pytest.mark.parametrize("least", [0.0, 0.3])
def test_all_pairs_above_the_least_overlap_are_found(small, least, monkeypatch):
    monkeypatch.setattr(overlap, "SMALL", small)
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 300, (2, 120, 2)), rng.uniform(1, 60, (2, 120, 2))
    first, second = np.concatenate([corner, corner + side], 2)
    rows, columns, iou = overlap.overlaps(first, second[:70], least)
    expected = iou_matrix(first, second[:70])
    assert list(zip(rows, columns, strict=True)) == list(zip(*np.nonzero(expected > least), strict=True))
    assert iou == pytest.approx(expected[rows, columns], abs=1e-5)
    assert len(rows) > 15

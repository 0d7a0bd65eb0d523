import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.errors import InvalidBoxError, OutsideImageError
from deep_tracking_ros.geometry import boxes as B

coordinate = st.floats(-500, 500, width=32)
side = st.floats(1, 500, width=32)
boxes = st.tuples(coordinate, coordinate, side, side).map(lambda b: B.xywh_to_xyxy(b))


def test_known_overlaps():
    a = [0, 0, 10, 10]
    assert B.iou(a, a) == 1
    assert B.iou(a, [5, 0, 15, 10]) == pytest.approx(50 / 150)
    assert B.iou(a, [10, 10, 20, 20]) == 0
    assert B.iou([3, 3, 3, 3], [3, 3, 3, 3]) == 0
    assert B.iou_matrix([a, a], [[0, 0, 10, 5], [20, 20, 30, 30], a]).tolist() == [[0.5, 0, 1], [0.5, 0, 1]]
    assert B.iou_matrix(np.zeros((0, 4)), [a]).shape == (0, 1)


@given(boxes, boxes)
def test_iou_is_symmetric_and_bounded(a, b):
    assert 0 <= B.iou(a, b) <= 1 + 1e-6
    assert B.iou(a, b) == pytest.approx(B.iou(b, a))


@given(boxes)
def test_formats_go_round(box):
    np.testing.assert_allclose(B.cxcywh_to_xyxy(B.xyxy_to_cxcywh(box)), box, atol=1e-3)
    np.testing.assert_allclose(B.xywh_to_xyxy(B.xyxy_to_xywh(box)), box, atol=1e-3)
    assert B.area(box) == pytest.approx(np.prod(B.xyxy_to_xywh(box)[2:]), rel=1e-5)


@given(boxes)
def test_what_is_cut_lies_on_the_image(box):
    cut = B.clip(box, 640, 480)
    assert (cut >= -0.5).all()
    assert (cut <= [639.5, 479.5, 639.5, 479.5]).all()
    np.testing.assert_allclose(B.intersection(box, [-0.5, -0.5, 639.5, 479.5]), B.area(cut), rtol=1e-4, atol=1e-2)


def test_a_box_over_the_edge_is_cut_and_kept():
    assert B.check_box([-20, 10, 30, 40], 640, 480).tolist() == [-0.5, 10, 30, 40]


@pytest.mark.parametrize(
    ("box", "error", "words"),
    [
        ([0, 0, 10], InvalidBoxError, "4 numbers"),
        ([0, 0, np.nan, 10], InvalidBoxError, "not finite"),
        ([5, 5, 5, 40], InvalidBoxError, "w=0 h=35 is too small"),
        ([40, 5, 5, 40], InvalidBoxError, "w=-35"),
        ([700, 5, 760, 40], OutsideImageError, "640x480"),
        ([-60, 5, 1, 40], OutsideImageError, "at least 2 px"),
    ],
)
def test_useless_boxes_are_refused_with_their_values(box, error, words):
    with pytest.raises(error, match=words):
        B.check_box(box, 640, 480)

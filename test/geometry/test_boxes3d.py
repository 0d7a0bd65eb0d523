import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from deep_tracking_ros.geometry import boxes3d as B

place = st.floats(-8, 8, width=32)
side = st.floats(0.25, 8, width=32)
boxes = st.tuples(place, place, place, side, side, side, st.floats(-7, 7, width=32)).map(np.array)
UNIT = np.array([0, 0, 0, 2, 2, 2, 0.0])


def cross(a, b):
    return a[0] * b[1] - a[1] * b[0]


def clipped_area(a, b):
    """Sutherland and Hodgman, one polygon at a time: slow, and nothing like the code under test."""
    polygon = [tuple(p) for p in B.corners(a)]
    edges = B.corners(b)
    for p, q in zip(edges, np.roll(edges, -1, 0), strict=True):
        kept = []
        for s, e in zip([polygon[-1], *polygon[:-1]], polygon, strict=True):
            before, after = (cross(q - p, np.subtract(x, p)) for x in (s, e))
            if (before >= 0) != (after >= 0):
                kept.append(tuple(np.add(s, before / (before - after) * np.subtract(e, s))))
            if after >= 0:
                kept.append(e)
        polygon = kept
        if not polygon:
            return 0.0
    x, y = np.array(polygon).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def moved(box, angle, offset):
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    pose[:3, 3] = offset
    return B.transform(box, pose)


def test_known_values():
    half = np.add(UNIT, [1, 0, 0, 0, 0, 0, 0])
    assert B.iou(UNIT, half) == pytest.approx(1 / 3)
    assert B.giou(UNIT, half) == pytest.approx(1 / 3)  # the hull holds nothing but the boxes
    turned = np.add(UNIT, [0, 0, 0, 0, 0, 0, np.pi / 4])
    octagon = 8 * (np.sqrt(2) - 1)  # m^2, what a square and itself turned by 45 degrees share
    assert B.intersection_area(UNIT, turned) == pytest.approx(octagon)
    assert B.hull_area(UNIT, turned) == pytest.approx(4 * np.sqrt(2))
    above = np.add(UNIT, [0, 0, 3, 0, 0, 0, 0])
    assert B.iou(UNIT, above) == 0
    assert B.intersection_area(UNIT, above) == pytest.approx(4)
    assert B.giou(UNIT, above) == pytest.approx(-(20 - 16) / 20)
    far = np.add(UNIT, [6, 0, 0, 0, 0, 0, 0])
    assert B.giou(UNIT, far) == pytest.approx(-(32 - 16) / 32)
    assert B.centre_distance(UNIT, np.add(UNIT, [3, 4, 0, 0, 0, 0, 0])) == 5
    assert B.iou(np.zeros((0, 1, 7)), UNIT[None]).shape == (0, 1)


@pytest.mark.parametrize("angle", [0, 1e-16, 1e-12, 1e-10, 1e-9, 1e-7, np.pi / 2, np.pi, 3 * np.pi / 2])
@pytest.mark.parametrize("box", [[3, 4, 0, 4, 4, 1.5, 0.7], [-70, 55, 0, 4.2, 4.2, 1.5, -2.1]])
def test_edges_that_lie_on_each_other_count_once(box, angle):
    same = np.add(box, [0, 0, 0, 0, 0, 0, angle])
    assert B.iou(box, same) == pytest.approx(1, abs=1e-5)
    part = np.multiply(same, [1, 1, 1, 0.5, 1, 1, 1])
    assert B.intersection_area(box, part) == pytest.approx(part[3] * part[4], rel=1e-5)
    beside = moved(same, 0, [box[3] * np.cos(box[6]), box[3] * np.sin(box[6]), 0])
    assert B.intersection_area(box, beside) == pytest.approx(0, abs=1e-5)


@settings(deadline=None)
@given(boxes, boxes)
def test_area_agrees_with_clipping_and_hull_with_qhull(a, b):
    assert B.intersection_area(a, b) == pytest.approx(clipped_area(a, b), abs=1e-6)
    assert B.hull_area(a, b) == pytest.approx(ConvexHull(np.concatenate([B.corners(a), B.corners(b)])).volume, rel=1e-6)


@settings(deadline=None)
@given(boxes, boxes)
def test_measures_are_symmetric_and_bounded(a, b):
    for measure, low in ((B.iou, 0), (B.giou, -1)):
        assert low <= measure(a, b) <= 1 + 1e-9
        assert measure(a, b) == pytest.approx(measure(b, a), abs=1e-6)
    assert B.giou(a, b) <= B.iou(a, b) + 1e-9


@settings(deadline=None)
@given(boxes, boxes, st.floats(-7, 7), st.tuples(place, place, place))
def test_moving_both_changes_nothing(a, b, angle, offset):
    for measure in (B.iou, B.giou, B.centre_distance):
        assert measure(moved(a, angle, offset), moved(b, angle, offset)) == pytest.approx(measure(a, b), abs=1e-6)


@settings(deadline=None)
@given(boxes)
def test_half_a_turn_is_the_same_box(a):
    assert B.iou(a, np.add(a, [0, 0, 0, 0, 0, 0, np.pi])) == pytest.approx(1)
    assert B.giou(a, a) == pytest.approx(1)


@settings(deadline=None)
@given(st.lists(boxes, min_size=2, max_size=5))
def test_broadcasting_gives_the_matrix(many):
    many = np.array(many)
    matrix = B.iou(many[:, None], many)
    for i, a in enumerate(many):
        for j, b in enumerate(many):
            assert matrix[i, j] == pytest.approx(B.iou(a, b), abs=1e-12)


def test_wrap():
    np.testing.assert_allclose(B.wrap([0, np.pi, -np.pi, 3.5 * np.pi]), [0, -np.pi, -np.pi, -np.pi / 2], atol=1e-12)

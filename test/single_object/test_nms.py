import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.single_object.parts.nms import iou_guided_nms


def algorithm_1(boxes, scores, localisation, threshold):
    """IoU-Net's algorithm 1, line by line."""
    left = list(range(len(boxes)))
    result = {}
    while left:
        best = max(left, key=lambda j: (localisation[j], -j))
        left.remove(best)
        score = scores[best]
        for j in left.copy():
            if iou(boxes[best], boxes[j]) > threshold:
                score = max(score, scores[j])
                left.remove(j)
        result[best] = score
    return result


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 3), st.floats(0, 0.9), st.integers(0, 10_000))
def test_it_is_algorithm_1_for_each_set(count, sets, threshold, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 30, (sets, count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (sets, count, 2))], -1).astype(np.float32)
    scores, localisation = rng.random((2, sets, count), np.float32)
    localisation = np.round(localisation, 1)  # with ties
    kept, raised = iou_guided_nms(boxes, scores, localisation, threshold)
    for one in range(sets):
        expected = algorithm_1(boxes[one], scores[one], localisation[one], threshold)
        assert set(np.flatnonzero(kept[one])) == set(expected)
        np.testing.assert_array_equal(raised[one], [expected.get(j, 0) for j in range(count)])


def test_the_best_placed_box_gets_the_score_of_the_surest():
    boxes = [[0, 0, 100, 100], [10, 10, 110, 110], [300, 0, 400, 100]]
    kept, scores = iou_guided_nms(boxes, [0.6, 0.9, 0.5], [0.9, 0.7, 0.4], 0.5)
    assert kept.tolist() == [True, False, True]
    assert scores == pytest.approx([0.9, 0, 0.5])
    kept, scores = iou_guided_nms(boxes, [0.6, 0.9, 0.5], [0.6, 0.9, 0.5], 0.5)
    assert kept.tolist() == [False, True, True]


def test_no_boxes():
    kept, scores = iou_guided_nms(np.zeros((2, 0, 4)), np.zeros((2, 0)), np.zeros((2, 0)), 0.5)
    assert kept.shape == scores.shape == (2, 0)

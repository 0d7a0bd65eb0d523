import numpy as np
import pytest

from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.evaluation.refinement import LOOKS, Nudge, looks, nudges, refinement
from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.single_object.tracker import Estimate, Target


class Frames(Sequence):
    def image(self, index):
        return np.zeros((100, 200, 3), np.uint8)


def sequence(count=40):
    boxes = np.array([[t, 20, t + 40, 60] for t in range(count)], np.float32)
    boxes[10] = np.nan
    return Frames("toy", (None,) * count, boxes)


class Halving:
    """Knows the truth of frame 25 and goes half of the way to it at each look."""

    card = type("Card", (), {"name": "halving"})

    def start(self, image, boxes):
        return [Target(boxes[0])]

    def track(self, image, targets):
        for target in targets:
            target.box = (target.box + np.array([25, 20, 65, 60], np.float32)) / 2
        return [Estimate(target.box, 1.0) for target in targets]


def test_nudges_are_near_the_truth_and_spread_over_the_sequence():
    found = nudges([sequence()], 5, boxes=20)
    assert [one.second - one.first for one in found] == [5] * 5
    assert (found[0].first, found[-1].first) == (0, 34)
    overlap = np.concatenate([iou(one.boxes, one.truth) for one in found])
    assert len(overlap) == 100
    assert 0.3 < overlap.min() < 0.45
    assert 0.55 < overlap.mean() < 0.75
    assert all(10 not in (one.first, one.second) for one in nudges([sequence()], 40))
    np.testing.assert_array_equal(found[2].boxes, nudges([sequence()], 5, boxes=20)[2].boxes)
    assert (found[2].boxes != nudges([sequence()], 5, boxes=20, seed=1)[2].boxes).any()


def test_every_look_starts_where_the_last_one_ended():
    # 16 px off along a side of 40: IoU 24 / 56, then 8 and 4 px off
    nudge = Nudge(sequence(), 20, 25, np.array([[41, 20, 81, 60], [25, 20, 65, 60]], np.float32))
    result = looks(Halving(), nudge)
    assert result.shape == (1 + LOOKS, 2)
    assert result[:3, 0] == pytest.approx([24 / 56, 32 / 48, 36 / 44])
    assert result[:, 1] == pytest.approx(1)


def test_means_over_all_boxes_and_by_iou_at_the_beginning():
    boxes = np.array([[41, 20, 81, 60], [25, 20, 65, 60]], np.float32)
    calls = []
    result = refinement(Halving(), [Nudge(sequence(), 20, 25, boxes)] * 2, lambda: calls.append(1))
    assert result.boxes == 4
    assert len(calls) == 2
    assert result.after[:2] == pytest.approx([(24 / 56 + 1) / 2, (32 / 48 + 1) / 2])
    values = result.as_json()
    assert values["start"] == [None, pytest.approx(24 / 56, abs=1e-4), None, 1]
    assert values["by_start"] == [None, pytest.approx(32 / 48, abs=1e-4), None, 1]

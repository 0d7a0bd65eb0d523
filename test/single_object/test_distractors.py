"""What only looks like the target is remembered and loses (DaSiamRPN, section 3.3)."""

import numpy as np
import pytest

from deep_tracking_ros.single_object.parts.distractors import advantage, describe, describe_target, proposals


def test_proposals_are_the_best_of_each_object():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [80, 0, 90, 10]], np.float32)
    presence = np.array([0.8, 0.9, 0.6, 0.1], np.float32)
    assert proposals(presence, boxes, 5, 0.0).tolist() == [1, 2, 3]
    assert proposals(presence, boxes, 5, 0.5).tolist() == [1, 2]
    assert proposals(presence, boxes, 1, 0.0).tolist() == [1]


def test_a_box_is_described_by_the_features_in_it():
    """Two halves of different features: boxes in one half have its vector, at unit length."""
    late = np.zeros((2, 8, 8), np.float32)
    late[0, :, :4], late[1, :, 4:] = 3, 5
    # cells lie at 7.5 + 16 i: the left half reaches to cell 3 at 55.5 px
    left, right = describe(late, np.array([[0, 40, 40, 80], [80, 40, 120, 80]], np.float32))
    assert left == pytest.approx([1, 0])
    assert right == pytest.approx([0, 1])


def test_the_target_lies_in_the_middle_of_its_template():
    late = np.zeros((2, 8, 8), np.float32)
    late[0], late[:, 3:5, 3:5] = 1, 0
    late[1, 3:5, 3:5] = 1
    assert describe_target(late, np.array([20, 20], np.float32)) == pytest.approx([0, 1], abs=1e-6)


def test_likeness_to_distractors_is_taken_off():
    target, other = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    described = np.stack([target, other, (target + other) / np.sqrt(np.float32(2))])
    assert advantage(described, target, other[None]) == pytest.approx([1, -1, 0], abs=1e-6)
    assert advantage(described, target, np.zeros((0, 2), np.float32)) == pytest.approx([0, 0, 0])

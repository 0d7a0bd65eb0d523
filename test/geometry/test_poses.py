import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from deep_tracking_ros.geometry.poses import (
    boxes_of,
    interpolate,
    inverse,
    pose_of,
    pose_of_angles,
    poses_of,
    quaternion_of,
    rotation_of,
    turned_covariance,
)

many = settings(deadline=None, max_examples=50)
vectors = st.lists(st.floats(-3.1, 3.1), min_size=3, max_size=3)


def pose(vector, place=(0, 0, 0)):
    return pose_of(place, Rotation.from_rotvec(vector).as_quat())


@many
@given(vectors, st.floats(0.01, 100))
def test_rotations_agree_with_scipy(vector, length):
    expected = Rotation.from_rotvec(vector)
    np.testing.assert_allclose(rotation_of(length * expected.as_quat()), expected.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotation_of(quaternion_of(expected.as_matrix())), expected.as_matrix(), atol=1e-9)
    assert quaternion_of(expected.as_matrix())[3] >= 0


@pytest.mark.parametrize("axis", np.eye(3))
def test_half_turns_have_quaternions(axis):
    matrix = Rotation.from_rotvec(np.pi * axis).as_matrix()
    np.testing.assert_allclose(np.abs(quaternion_of(matrix)), [*axis, 0], atol=1e-12)


@pytest.mark.parametrize("quaternion", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]])
def test_what_is_no_rotation_is_not_finite(quaternion):
    assert not np.isfinite(rotation_of(quaternion)).all()


@many
@given(vectors, vectors, st.floats(0, 1))
def test_poses_between_two_are_those_of_shoemake(one, two, share):
    a, b = pose(one, (1, 2, 3)), pose(two, (5, 0, -1))
    between = interpolate(a, b, share)
    turn = Rotation.from_matrix(a[:3, :3]).inv() * Rotation.from_matrix(b[:3, :3])
    if turn.magnitude() < np.pi - 1e-3:  # opposite rotations have no shorter way
        expected = Slerp([0, 1], Rotation.from_matrix([a[:3, :3], b[:3, :3]]))(share).as_matrix()
        np.testing.assert_allclose(between[:3, :3], expected, atol=1e-7)
    np.testing.assert_allclose(between[:3, 3], (1 - share) * a[:3, 3] + share * b[:3, 3])
    np.testing.assert_allclose(between[:3, :3] @ between[:3, :3].T, np.eye(3), atol=1e-9)


@many
@given(vectors)
def test_the_other_way_round(vector):
    np.testing.assert_allclose(inverse(pose(vector, (3, -4, 5))), np.linalg.inv(pose(vector, (3, -4, 5))), atol=1e-9)


@many
@given(st.lists(st.floats(-3, 3), min_size=7, max_size=7))
def test_boxes_that_stand_come_back(numbers):
    box = np.array(numbers)
    boxes, stand = boxes_of(poses_of(box), box[3:6])
    np.testing.assert_allclose(boxes[0], box, atol=1e-9)
    assert stand.all()


@pytest.mark.parametrize(("degrees", "stands"), [(0, True), (40, True), (50, False), (90, False), (180, False)])
def test_boxes_that_lean_over_do_not_stand(degrees, stands):
    assert boxes_of(pose([np.radians(degrees), 0, 0]), np.ones(3))[1].tolist() == [stands]
    assert boxes_of(np.full((4, 4), np.nan), np.ones(3))[1].tolist() == [False]


def test_angles_are_those_of_urdf():
    angles = (0.3, -0.4, 2.0)
    made = pose_of_angles(1, 2, 3, *angles)
    np.testing.assert_allclose(made[:3, :3], Rotation.from_euler("xyz", angles).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(made[:3, 3], [1, 2, 3])


def test_covariances_turn_with_their_axes():
    covariance = np.diag([1.0, 4, 9, 16, 25, 36])
    quarter = rotation_of([0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    np.testing.assert_allclose(np.diag(turned_covariance(covariance, quarter)), [4, 1, 9, 25, 16, 36])

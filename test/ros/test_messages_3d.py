"""Objects in space, odometry and transforms through messages of rosbags and of rclpy."""

import dataclasses

import numpy as np
import pytest

from deep_tracking_ros.geometry.poses import pose_of_angles
from deep_tracking_ros.ros import interfaces, messages
from deep_tracking_ros.types import (
    Detection3D,
    Detections3D,
    Odometry,
    State,
    StaticTransforms,
    TrackedBox3D,
    TrackedBoxes3D,
    Transform,
    Transforms,
)

STAMP = 1_700_000_000_123_456_789
POSE = pose_of_angles(1, -2, 3, 0.1, -0.2, 3.0)
COVARIANCE = np.arange(36.0).reshape(6, 6) + 1
SIZE = np.array([4.2, 1.8, 1.5])
BARE = TrackedBox3D(1, np.eye(4), SIZE, State.LOST, -1.0)
FULL = TrackedBox3D(
    2**40, POSE, SIZE, State.OCCLUDED, 0.25, "car", COVARIANCE, np.arange(6.0), COVARIANCE + 1, 1.5, 0.25, 7
)
ITEMS = [
    Detections3D(STAMP, "lidar", (Detection3D(POSE, SIZE, 0.5, "car", COVARIANCE), Detection3D(np.eye(4), SIZE, -3.0))),
    Detections3D(STAMP, "lidar"),
    TrackedBoxes3D(STAMP, "lidar", 3, STAMP + 10**8, (BARE, FULL)),
    Odometry(STAMP, "odom", "base_link", POSE, COVARIANCE),
    Odometry(STAMP, "odom", "base_link", POSE),
    Transforms((Transform(STAMP, "odom", "base_link", POSE), Transform(STAMP + 1, "base_link", "arm", np.eye(4)))),
    StaticTransforms((Transform(0, "base_link", "lidar", POSE),)),
]


def assert_same(one, other):
    """Everything down to the last field, apart from the last digits of rotations."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, atol=1e-12)
    else:
        assert one == other


def rclpy_maker():
    pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")
    return messages.new_message


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
@pytest.mark.parametrize("maker", [lambda: interfaces.make, pytest.param(rclpy_maker, marks=pytest.mark.ros)])
def test_items_become_messages_and_come_back(item, maker):
    if isinstance(item, Transforms) and maker is rclpy_maker:
        pytest.importorskip("tf2_msgs", reason="tf2_msgs is not on PyPI; this runs where apt has it")
    message = messages.to_message(item, maker())
    assert_same(messages.from_message(type(item), message), item)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_items_survive_serialisation(item):
    message = messages.to_message(item, interfaces.make)
    name = interfaces.type_name(message)
    back = interfaces.deserialize(interfaces.serialize(message, name), name)
    assert_same(messages.from_message(type(item), back), item)


def test_what_is_no_rotation_is_not_finite_and_breaks_nothing():
    message = messages.to_message(ITEMS[0], interfaces.make)
    message.detections[0].pose.orientation.w = 0.0
    for axis in "xyz":
        setattr(message.detections[0].pose.orientation, axis, 0.0)
    first, second = messages.from_message(Detections3D, message).detections
    assert not np.isfinite(first.pose).all()
    assert np.isfinite(second.pose).all()

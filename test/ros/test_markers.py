import numpy as np
import pytest

from deep_tracking_ros.geometry.poses import pose_of_angles
from deep_tracking_ros.ros import interfaces, markers
from deep_tracking_ros.ros.messages import new_message
from deep_tracking_ros.types import State, TrackedBox3D, TrackedBoxes3D

SIZE = np.array([4.0, 2.0, 1.5])
MOVING = TrackedBox3D(
    2**40 + 5,
    pose_of_angles(1, 2, 3, 0, 0, 0.5),
    SIZE,
    State.CONFIRMED,
    0.9,
    "car",
    velocity=np.array([3, 4, 0, 0, 0, 0.0]),
)
PARKED = TrackedBox3D(6, pose_of_angles(9, 0, 0, np.pi / 2, 0, 0), SIZE, State.OCCLUDED, 0.9)
ITEM = TrackedBoxes3D(5 * 10**9 + 7, "lidar", 0, 0, (MOVING, PARKED))


def rclpy_maker():
    pytest.importorskip("visualization_msgs.msg", reason="ROS 2 is not on this machine: . scripts/env.sh")
    return new_message


@pytest.mark.parametrize("maker", [lambda: interfaces.make, pytest.param(rclpy_maker, marks=pytest.mark.ros)])
def test_boxes_names_and_arrows(maker):
    clear, *rest = markers.write_markers(ITEM, maker()).markers
    assert clear.action == markers.DELETE_ALL
    assert [(m.ns, m.type) for m in rest] == [
        ("boxes", markers.CUBE),
        ("names", markers.TEXT),
        ("velocities", markers.ARROW),
        ("boxes", markers.CUBE),
        ("names", markers.TEXT),
    ]
    for m in (clear, *rest):
        assert (m.header.frame_id, m.header.stamp.sec, m.header.stamp.nanosec, m.lifetime.sec) == ("lidar", 5, 7, 1)
    body, name, arrow, hidden, other = rest
    assert body.id == 5  # fits 31 bits
    assert (body.scale.x, body.scale.y, body.scale.z) == (4, 2, 1.5)
    assert (body.pose.position.x, body.pose.orientation.z) == (1, pytest.approx(np.sin(0.25)))
    assert name.text == f"car {MOVING.id}  5.0 m/s"
    assert name.pose.position.z == pytest.approx(3 + 0.75 + 0.6)
    start, end = arrow.points
    assert (end.x - start.x, end.y - start.y) == (3, 4)
    assert other.text == "6"
    # the second box lies on its side: its z axis, and so the name, points along -y
    assert other.pose.position.y == pytest.approx(-1.35)
    assert hidden.color.a < body.color.a
    assert (body.color.r, body.color.g, body.color.b) != (hidden.color.r, hidden.color.g, hidden.color.b)


def test_nothing_followed_clears_what_was_drawn():
    (clear,) = markers.write_markers(TrackedBoxes3D(1, "lidar", 0, 1), interfaces.make).markers
    assert clear.action == markers.DELETE_ALL

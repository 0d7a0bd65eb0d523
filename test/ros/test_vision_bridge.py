"""``vision_msgs`` in and out, with stand-ins that have the documented fields."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import vision_types

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.geometry.poses import pose_of_angles
from deep_tracking_ros.ros import bags, interfaces
from deep_tracking_ros.ros.vision_bridge import DETECTIONS, TRACKS
from deep_tracking_ros.types import (
    Detection,
    Detection3D,
    Detections,
    Detections3D,
    State,
    TrackedBox,
    TrackedBox3D,
    TrackedBoxes,
    TrackedBoxes3D,
)

ROOT = Path(__file__).resolve().parents[2]
STAMP = 1_700_000_000_123_456_789
BOX = np.float32([10, 20, 50, 100])
POSE, SIZE = pose_of_angles(1, 2, 3, 0, 0, 0.5), np.array([4.2, 1.8, 1.5])
COVARIANCE = np.arange(36.0).reshape(6, 6) + 1


@pytest.fixture(autouse=True)
def _types():
    vision_types.learn()


def hypothesis(label, score, covariance=None):
    message = interfaces.make("vision_msgs/msg/ObjectHypothesisWithPose")
    message.hypothesis.class_id, message.hypothesis.score = label, score
    if covariance is not None:
        message.pose.covariance = covariance.reshape(36)
    return message


def detection(dimensions, *results):
    message = interfaces.make(f"vision_msgs/msg/Detection{dimensions}D")
    message.results = list(results)
    if dimensions == 2:
        message.bbox.center.position.x, message.bbox.center.position.y = 30.0, 60.0
        message.bbox.size_x, message.bbox.size_y = 40.0, 80.0
    else:
        message.bbox.center.position.x, message.bbox.center.orientation.w = 5.0, 1.0
        message.bbox.size.x, message.bbox.size.y, message.bbox.size.z = 4.0, 2.0, 1.5
    return message


def array(dimensions, *detections):
    message = interfaces.make(f"vision_msgs/msg/Detection{dimensions}DArray")
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(STAMP, 10**9)
    message.header.frame_id = "sensor"
    message.detections = list(detections)
    return message


@pytest.mark.parametrize(("dimensions", "kind"), [(2, Detections), (3, Detections3D)])
def test_the_best_hypothesis_is_taken(dimensions, kind):
    several = detection(dimensions, hypothesis("dog", 0.2), hypothesis("cat", 0.7), hypothesis("cow", 0.6))
    item = DETECTIONS[kind].read(array(dimensions, several, detection(dimensions)))
    assert (item.stamp, item.frame_id) == (STAMP, "sensor")
    assert [(d.label, d.score) for d in item.detections] == [("cat", 0.7), ("", 1.0)]
    assert DETECTIONS[kind].read(array(dimensions)).detections == ()


def test_boxes_in_the_image():
    plain, turned, askew = detection(2), detection(2), detection(2)
    turned.bbox.center.theta, askew.bbox.center.theta = np.pi / 2, np.pi / 4
    item = DETECTIONS[Detections].read(array(2, plain, turned, askew))
    half = (40 + 80) / np.sqrt(2) / 2
    expected = [BOX, [-10, 40, 70, 80], [30 - half, 60 - half, 30 + half, 60 + half]]
    np.testing.assert_allclose([d.box for d in item.detections], expected, rtol=1e-6)


def test_boxes_in_space():
    known, unknown = hypothesis("car", 0.9, COVARIANCE), hypothesis("car", 0.9)
    item = DETECTIONS[Detections3D].read(array(3, detection(3, known), detection(3, unknown)))
    first, second = item.detections
    np.testing.assert_array_equal(first.pose, pose_of_angles(5, 0, 0, 0, 0, 0))
    np.testing.assert_array_equal(first.size, [4, 2, 1.5])
    np.testing.assert_array_equal(first.covariance, COVARIANCE)
    assert second.covariance is None


def test_detections_go_out_and_come_back():
    flat = Detections(STAMP, "cam", (Detection(BOX, 0.75, "dog"), Detection(BOX + 3, 0.5)))
    back = DETECTIONS[Detections].read(DETECTIONS[Detections].write(flat, interfaces.make))
    assert (back.stamp, back.frame_id) == (STAMP, "cam")
    for one, other in zip(back.detections, flat.detections, strict=True):
        assert (one.label, one.score) == (other.label, other.score)
        np.testing.assert_allclose(one.box, other.box)
    solid = Detections3D(STAMP, "lidar", (Detection3D(POSE, SIZE, 0.75, "car", COVARIANCE),))
    message = DETECTIONS[Detections3D].write(solid, interfaces.make)
    (one,) = DETECTIONS[Detections3D].read(message).detections
    np.testing.assert_allclose(one.pose, POSE, atol=1e-12)
    np.testing.assert_array_equal(one.size, SIZE)
    np.testing.assert_array_equal(one.covariance, COVARIANCE)
    assert message.detections[0].header.frame_id == "lidar"
    assert message.detections[0].results[0].pose.pose.position.z == 3.0
    name = "vision_msgs/msg/Detection3DArray"
    assert (
        interfaces.deserialize(interfaces.serialize(message, name), name).detections[0].results[0].hypothesis.score
        == 0.75
    )


def test_tracks_go_out_as_detections_with_ids():
    flat = TrackedBoxes(STAMP, "cam", 0, STAMP, 0, 0, "", (TrackedBox(2**40, BOX, State.OCCLUDED, -1, "dog"),))
    (message,) = TRACKS[TrackedBoxes].write(flat, interfaces.make).detections
    assert (message.id, message.results[0].hypothesis.class_id) == (str(2**40), "dog")
    assert message.results[0].hypothesis.score == 0
    assert (message.bbox.center.position.x, message.bbox.size_y) == (30, 80)
    solid = TrackedBoxes3D(STAMP, "lidar", 0, STAMP, (TrackedBox3D(7, POSE, SIZE, State.CONFIRMED, 0.9, "car"),))
    (message,) = TRACKS[TrackedBoxes3D].write(solid, interfaces.make).detections
    assert (message.id, message.bbox.size.x, message.bbox.center.position.y) == ("7", 4.2, 2)


def test_where_the_package_is_missing_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "humble")
    with pytest.raises(
        DataError, match=r"vision_msgs/msg/Detection2DArray is not installed .* apt install ros-humble-vis"
    ):
        interfaces.message_class("vision_msgs/msg/Detection2DArray")


def test_a_bag_brings_its_definitions(tmp_path):
    """Offline neither the package nor its definitions are needed: what recorded the bag put them into it."""
    path = tmp_path / "drive.mcap"
    with bags.BagWriter(path) as writer:
        for k in range(5):
            message = array(3, detection(3, hypothesis("car", 0.9)))
            message.header.stamp.sec = k
            writer.write_message("/boxes", message, k)
    (item, *_) = bags.read_items(path, Detections3D)
    assert item.detections[0].label == "car"
    command = [sys.executable, "-m", "deep_tracking_ros.cli.main", "process", str(path)]
    command += ["--pipeline", "multi_object_tracker_3d", "--out", str(tmp_path / "out.mcap")]
    result = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    tracks = list(bags.read_items(tmp_path / "out.mcap", TrackedBoxes3D))
    assert [[b.id for b in t.boxes] for t in tracks] == [[1]] * 5

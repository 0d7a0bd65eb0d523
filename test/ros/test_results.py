"""What a node publishes of a result, with stand-ins for publishers."""

import numpy as np
import pytest
import vision_types

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")

from deep_tracking_ros.geometry.poses import pose_of_angles
from deep_tracking_ros.pipelines.multi_object_3d import MultiObject3DParameters, MultiObject3DPipeline
from deep_tracking_ros.ros import interfaces, results
from deep_tracking_ros.ros.measurements import Measurements
from deep_tracking_ros.ros.messages import stamp_of, to_message
from deep_tracking_ros.types import Detection3D, Detections3D

pytestmark = pytest.mark.ros
DT, LATER = 100_000_000, 50_000_000  # ns


class Publisher:
    def __init__(self):
        self.messages = []
        self.publish = self.messages.append

    def get_subscription_count(self):
        return 1


class Node:
    """A node at a time, whose publishers keep what they are given."""

    def __init__(self):
        self.publishers, self.nanoseconds = {}, 0

    def create_lifecycle_publisher(self, type_, topic, qos):
        return self.publishers.setdefault(topic, Publisher())

    def destroy_lifecycle_publisher(self, publisher):
        self.publishers = {topic: kept for topic, kept in self.publishers.items() if kept is not publisher}

    def get_clock(self):
        return self

    def now(self):
        return self


@pytest.fixture
def node(monkeypatch):
    vision_types.learn()
    monkeypatch.setattr(results, "message_class", lambda name: name)
    monkeypatch.setattr(results, "new_message", interfaces.make)
    monkeypatch.setattr(results, "to_message", lambda item: to_message(item, interfaces.make))
    return Node()


def test_predicted_boxes_are_given_where_messages_say_for_when(node):
    """``vision_msgs`` cannot say it: there boxes are where they were at the time of the header."""
    pipeline = MultiObject3DPipeline(MultiObject3DParameters(predict_to_now=True))
    given = results.Results(node, pipeline.outputs, Measurements(), vision_msgs=True, overlay=False)
    for k in range(20):  # 10 m/s
        item = Detections3D(
            k * DT, "lidar", (Detection3D(pose_of_angles(k, 0, 0, 0, 0, 0), np.array([4, 2, 1.5]), 0.9),)
        )
        (output,) = pipeline.step("detections", item)
    node.nanoseconds = 19 * DT + LATER
    given.publish(output, pipeline)
    boxes, vision, markers = (node.publishers[f"~/{name}"].messages[0] for name in ("boxes", "boxes_vision", "markers"))
    assert stamp_of(boxes.valid_at) == 19 * DT + LATER
    assert boxes.boxes[0].pose.position.x == pytest.approx(19.5, abs=0.05)
    assert markers.markers[1].pose.position.x == boxes.boxes[0].pose.position.x
    assert stamp_of(vision.header.stamp) == stamp_of(boxes.header.stamp) == 19 * DT
    assert vision.detections[0].bbox.center.position.x == pytest.approx(19, abs=0.05)
    assert "~/overlay" not in node.publishers
    given.destroy()
    assert not node.publishers

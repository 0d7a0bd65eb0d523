"""The doctor on nodes that take no images, or not only."""

import time
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from test_doctor import graph, problems, served

from deep_tracking_ros.ros import doctor
from deep_tracking_ros.ros.client import temporary_node
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.messages import CONVERTERS, to_message
from deep_tracking_ros.types import Cloud, Detections3D, Odometry, TrackedBoxes, TrackedBoxes3D

pytestmark = pytest.mark.ros
NAME = "/multi_object_tracker_3d"


def item(kind, stamp):
    return {
        Cloud: lambda: Cloud(stamp, "lidar", np.zeros((5, 3), np.float32)),
        Detections3D: lambda: Detections3D(stamp, "lidar", ()),
        Odometry: lambda: Odometry(stamp, "odom", "base", np.eye(4)),
        TrackedBoxes3D: lambda: TrackedBoxes3D(stamp, "lidar", 0, stamp, ()),
    }[kind]()


@contextmanager
def running(listens, publishes, name=NAME, asked="reliable", offered="reliable", delay=0.0, rate=20.0):
    """A node that looks like one of ours from outside, and a driver; topics by their kinds of items."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from test_doctor import _active, _no_sim_time, _report

    def qos(word):
        return QoSProfile(depth=5, reliability=ReliabilityPolicy[word.upper()])

    with temporary_node("driver") as driver, temporary_node(name.strip("/")) as node:
        for topic, kind in listens.items():
            node.create_subscription(message_class(CONVERTERS[kind].type), topic, lambda message: None, qos(asked))
        node.create_service(message_class("lifecycle_msgs/srv/GetState"), "~/get_state", _active)
        node.create_service(message_class("rcl_interfaces/srv/GetParameters"), "~/get_parameters", _no_sim_time)
        _report(node, name.strip("/"), b"\0")
        for topic, kind in publishes.items():
            own = topic.startswith(name)
            where = node if own else driver
            word = "reliable" if own else offered
            publisher = where.create_publisher(message_class(CONVERTERS[kind].type), topic, qos(word))

            def publish(publisher=publisher, kind=kind):
                publisher.publish(to_message(item(kind, time.time_ns() - round(delay * 1e9))))

            where.create_timer(1 / rate, publish)
        with served(driver), served(node):
            yield


def examine(listens, publishes, listen=1.0, **ills):
    with running(listens, publishes, **ills), temporary_node("doctor") as node:
        return list(doctor.graph(node, "", "", listen))


def texts(findings, subject="input"):
    return [f.text for f in findings if f.subject == subject]


INPUTS = {"/boxes": Detections3D, "/odom": Odometry}


def test_a_node_that_is_well():
    findings = examine(INPUTS, {**INPUTS, f"{NAME}/boxes": TrackedBoxes3D})
    assert problems(findings) == {}, problems(findings)
    assert texts(findings, "tracker") == [f"{NAME} is there"]
    assert "/boxes: deep_tracking_ros/msg/Detection3DArray from /driver" in texts(findings)
    (rate,) = [text for text in texts(findings) if text.startswith("/odom: ") and "per second" in text]
    assert 5 < float(rate.split()[1]) < 25  # 20 Hz
    assert rate.endswith("frame 'odom'")
    assert texts(findings, "results")[0].startswith(f"{NAME}/boxes at ")
    assert texts(findings, "state") == [f"{NAME} is active"]
    assert not texts(findings, "image")
    assert not texts(findings, "topic")


def test_an_input_that_nobody_publishes():
    found = problems(examine({"/points": Cloud}, {"/velodyne_points": Cloud}, name="/lidar_proposals"))
    assert found["input"] == (
        "nobody publishes /points; published topics of sensor_msgs/msg/PointCloud2 are /velodyne_points"
        " -> start what publishes it, or start the node with one of these topics"
    )


def test_a_node_is_not_advised_to_take_its_own_results():
    found = problems(examine({"/boxes_3d": TrackedBoxes3D}, {"/fusion/boxes": TrackedBoxes3D}, name="/fusion"))
    assert found["input"].endswith("TrackedBox3DArray are none -> start what publishes it")


def test_an_input_that_does_not_pass():
    found = problems(examine(INPUTS, INPUTS, offered="best_effort"))
    assert (
        "offered best_effort, volatile; asked reliable, volatile: nothing passes -> let /driver offer" in found["input"]
    )


def test_an_input_of_another_type():
    found = problems(examine({"/boxes": Detections3D}, {"/boxes": TrackedBoxes3D}))
    assert found["input"].startswith(
        "/boxes: deep_tracking_ros/msg/TrackedBox3DArray from /driver, but /multi_object_tracker_3d wants "
        "deep_tracking_ros/msg/Detection3DArray -> name a topic of type"
    )


def test_old_stamps_and_no_results():
    findings = examine({"/boxes": Detections3D}, {"/boxes": Detections3D}, delay=60.0)
    found = problems(findings)
    assert "/boxes: 600" in found["age"]
    assert "the stamps are old" in found["age"]
    assert found["results"] == f"nothing on {NAME}/boxes -> see the node's state, QoS and diagnostics here"


def test_messages_that_come_too_rarely():
    found = problems(examine({"/boxes": Detections3D}, {"/boxes": Detections3D}, rate=0.7, listen=4.0))
    assert "slower than 1 Hz" in found["input"]


def test_a_node_that_listens_to_nothing_is_to_be_activated():
    findings = examine({}, {"/boxes": Detections3D})
    assert problems(findings)["subscription"].startswith(f"{NAME} listens to nothing -> activate it")
    assert not texts(findings, "topic")  # it takes no images


def test_what_a_single_object_tracker_can_do_without_is_no_problem():
    with graph(), temporary_node("doctor") as node:
        tracks = message_class(CONVERTERS[TrackedBoxes].type)
        with temporary_node("single_object_tracker") as tracker:
            tracker.create_subscription(tracks, "/tracks", lambda message: None, 10)
            with served(tracker):
                findings = list(doctor.graph(node, "/camera/image", "/single_object_tracker", 1.0))
    assert set(problems(findings)) == {"results"}  # this tracker publishes nothing
    assert not texts(findings)

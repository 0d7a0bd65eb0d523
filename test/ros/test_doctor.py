"""The doctor on graphs that are ill in the ways in which they usually are."""

import json
import os
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from deep_tracking_ros.ros import bags, doctor, interfaces
from deep_tracking_ros.ros.client import temporary_node
from deep_tracking_ros.ros.interfaces import message_class

pytestmark = pytest.mark.ros
TOPIC = "/camera/image"
TRACKER = "/single_object_tracker"


@pytest.fixture(autouse=True)
def domain(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(50 + os.getpid() % 10))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


@contextmanager
def served(node):
    """Serve a node in the background."""
    over = threading.Event()

    def serve():
        while not over.is_set():
            node.executor.spin_once(timeout_sec=0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def graph(*, camera=True, type_=bags.IMAGE, offered="reliable", asked="reliable", delay=0.0, listens=TOPIC, step=90):
    """A camera and a node that looks like a tracker from outside; ``delay`` (s): how old the images are."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    def qos(name):
        return QoSProfile(depth=5, reliability=ReliabilityPolicy[name.upper()])

    with temporary_node("camera_driver") as driver, temporary_node("single_object_tracker") as tracker:
        tracker.create_subscription(message_class(bags.IMAGE), listens, lambda message: None, qos(asked))
        tracker.create_service(message_class("lifecycle_msgs/srv/GetState"), "~/get_state", _active)
        tracker.create_service(message_class("rcl_interfaces/srv/GetParameters"), "~/get_parameters", _no_sim_time)
        if camera:
            publisher = driver.create_publisher(message_class(type_), TOPIC, qos(offered))
            message = interfaces.make(type_)
            if type_ == bags.IMAGE:
                message.height, message.width, message.encoding, message.step = 20, 30, "bgr8", step
                message.data = np.zeros(1800, np.uint8)

            def publish():
                stamp = time.time_ns() - round(delay * 1e9)
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
                publisher.publish(interfaces.serialize(message, type_))

            driver.create_timer(0.05, publish)
        with served(driver), served(tracker):
            yield


def _active(request, response):
    response.current_state.label = "active"
    return response


def _no_sim_time(request, response):
    from rclpy.parameter import Parameter

    response.values = [Parameter("use_sim_time", value=False).get_parameter_value()]
    return response


def examine(**ills):
    with graph(**ills), temporary_node("doctor") as node:
        return list(doctor.graph(node, TOPIC, TRACKER, 1.0))


def problems(findings):
    return {f.subject: f"{f.text} -> {f.advice}" for f in findings if f.problem}


def test_a_camera_that_is_well():
    findings = examine()
    texts = {f.subject: f.text for f in findings}
    assert set(problems(findings)) == {"results"}  # this tracker publishes nothing
    assert texts["image"].startswith("30x20 bgr8, step 90")
    assert texts["QoS"] == "offered reliable, volatile; asked reliable, volatile"
    assert texts["state"] == "/single_object_tracker is active"
    assert 5 < float(texts["rate"].split()[0]) < 25  # 20 Hz
    assert 0 <= int(texts["age"].split()[0]) < 500


def test_qos_that_does_not_match():
    found = problems(examine(offered="best_effort"))
    assert found["QoS"] == (
        "offered best_effort, volatile; asked reliable, volatile: nothing passes"
        " -> set the tracker's parameter image_reliability to best_effort"
    )


def test_no_camera():
    found = problems(examine(camera=False))
    assert found["topic"] == "nobody publishes /camera/image; published topics of images are none -> start the camera"


def test_a_topic_of_another_type():
    found = problems(examine(type_="sensor_msgs/msg/PointCloud2"))
    assert "sensor_msgs/msg/PointCloud2 from /camera_driver -> name a topic of type" in found["topic"]


def test_a_tracker_that_listens_elsewhere():
    found = problems(examine(listens="/front/image"))
    assert "it listens to /front/image" in found["subscription"]
    assert "image:=/camera/image" in found["subscription"]


@pytest.mark.parametrize(("delay", "word"), [(60.0, "stamps are old"), (-60.0, "in the future")])
def test_stamps_of_another_time(delay, word):
    assert word in problems(examine(delay=delay))["age"]


def test_images_that_do_not_fit_together():
    assert "step" in problems(examine(step=80))["image"]


def test_no_tracker():
    with temporary_node("doctor") as node:
        found = problems(doctor.graph(node, TOPIC, TRACKER, 0.3))
    assert found["tracker"].startswith("there is no node /single_object_tracker; nodes are none -> start it")


def test_verdict_and_exit_status():
    from deep_tracking_ros.cli import main

    with graph(offered="best_effort"):
        result = CliRunner().invoke(main.app, ["doctor", "--seconds", "0.5", "--json"])
        assert result.exit_code == 1
        answer = json.loads(result.output)
        assert answer["ok"] is False
        assert any(f["subject"] == "QoS" and f["advice"] for f in answer["findings"])
        words = CliRunner().invoke(main.app, ["doctor", "--seconds", "0.5"])
    assert "nothing passes. Do: set the tracker's parameter image_reliability to best_effort." in words.output

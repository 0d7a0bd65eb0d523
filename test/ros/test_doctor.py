"""The doctor on graphs that are ill in the ways in which they usually are."""

import json
import shutil
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from deep_tracking_ros.models.store import find_model
from deep_tracking_ros.ros import bags, doctor, interfaces
from deep_tracking_ros.ros.client import temporary_node
from deep_tracking_ros.ros.installation import installation
from deep_tracking_ros.ros.interfaces import message_class

pytestmark = pytest.mark.ros
TOPIC = "/camera/image"
TRACKER = "/single_object_tracker"


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
def graph(
    *,
    camera=True,
    type_=bags.IMAGE,
    offered="reliable",
    asked="reliable",
    delay=0.0,
    listens=TOPIC,
    takes=bags.IMAGE,
    publishes=TOPIC,
    step=90,
    name="single_object_tracker",
):
    """A camera and a node that looks like a tracker from outside; ``delay`` (s): how old the images are."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    def qos(name):
        return QoSProfile(depth=5, reliability=ReliabilityPolicy[name.upper()])

    with temporary_node("camera_driver") as driver, temporary_node(name) as tracker:
        tracker.create_subscription(message_class(takes), listens, lambda message: None, qos(asked))
        tracker.create_service(message_class("lifecycle_msgs/srv/GetState"), "~/get_state", _active)
        tracker.create_service(message_class("deep_tracking_ros/srv/SetTarget"), "~/set_target", lambda q, a: a)
        tracker.create_service(message_class("rcl_interfaces/srv/GetParameters"), "~/get_parameters", _no_sim_time)
        _report(tracker, f"front/{name}", b"\2")
        _report(tracker, name, b"\0")
        if camera:
            publisher = driver.create_publisher(message_class(type_), publishes, qos(offered))
            message = interfaces.make(type_)
            if type_ == bags.IMAGE:
                message.height, message.width, message.encoding, message.step = 20, 30, "bgr8", step
                message.data = np.zeros(1800, np.uint8)
            if type_ == bags.COMPRESSED:
                message.format, message.data = "jpeg", cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].ravel()

            def publish():
                stamp = time.time_ns() - round(delay * 1e9)
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
                publisher.publish(interfaces.serialize(message, type_))

            driver.create_timer(0.05, publish)
        with served(driver), served(tracker):
            yield


def _report(node, name, level):
    """Say on /diagnostics how the node of this name is."""
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    message = DiagnosticArray(status=[DiagnosticStatus(name=name, level=level, message=f"{name} speaks")])
    publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    node.create_timer(0.1, lambda: publisher.publish(message))


def _active(request, response):
    response.current_state.label = "active"
    return response


def _no_sim_time(request, response):
    from rclpy.parameter import Parameter

    response.values = [Parameter("use_sim_time", value=False).get_parameter_value()]
    return response


def examine(topic=TOPIC, tracker=TRACKER, **ills):
    with graph(**ills), temporary_node("doctor") as node:
        return list(doctor.graph(node, topic, tracker, 1.0))


def problems(findings):
    return {f.subject: f"{f.text} -> {f.advice}" for f in findings if f.problem}


def test_a_camera_that_is_well():
    findings = examine()
    texts = {f.subject: f.text for f in findings}
    assert set(problems(findings)) == {"results"}  # this tracker publishes nothing
    assert texts["image"].startswith("30x20 bgr8, step 90")
    assert texts["QoS"] == "offered reliable, volatile; asked reliable, volatile"
    assert texts["state"] == "/single_object_tracker is active"
    assert texts["diagnostics"] == "single_object_tracker speaks ()"  # not what /front/single_object_tracker says
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
    assert found["topic"] == (
        "nobody publishes /camera/image; published topics of images are none -> no camera publishes; start its driver"
    )
    assert found["results"].startswith(f"nothing on {TRACKER}/boxes -> nothing comes in")


def test_a_tracker_is_not_advised_to_follow_its_own_picture():
    with graph(camera=False), temporary_node("doctor") as node, temporary_node("single_object_tracker") as tracker:
        tracker.create_publisher(message_class(bags.IMAGE), "~/overlay", 1)
        with temporary_node("driver") as driver:
            driver.create_publisher(message_class(bags.IMAGE), "/front/overlay", 1)  # a camera of that name
            alone = problems(doctor.graph(node, TOPIC, TRACKER, 0.3))["topic"]
    assert "published topics of images are /front/overlay (sensor_msgs/msg/Image) -> start the tracker with" in alone


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


@pytest.mark.parametrize("topic", [TOPIC, f"{TOPIC}/compressed", ""])
def test_raw_and_compressed_are_one_stream(topic):
    small = f"{TOPIC}/compressed"
    findings = examine(topic, publishes=small, type_=bags.COMPRESSED, listens=small, takes=bags.COMPRESSED)
    assert set(problems(findings)) == {"results"}, problems(findings)  # this tracker publishes nothing
    texts = {f.subject: f.text for f in findings}
    assert texts["topic"].startswith(f"{small}: sensor_msgs/msg/CompressedImage from /camera_driver")
    assert "QoS" in texts


@pytest.mark.parametrize("topic", [TOPIC, ""])
def test_a_raw_tracker_beside_a_camera_that_compresses(topic):
    found = problems(examine(topic, publishes=f"{TOPIC}/compressed", type_=bags.COMPRESSED))
    assert found["transport"] == (
        "/single_object_tracker listens to /camera/image, but only /camera/image/compressed is published"
        " -> start it with image_transport:=compressed"
    )
    assert set(found) == {"transport", "results"}


def test_a_compressed_tracker_beside_a_raw_camera():
    found = problems(examine(listens=f"{TOPIC}/compressed", takes=bags.COMPRESSED))
    assert found["transport"].endswith("start it with image_transport:=raw")


@pytest.mark.parametrize(("topic", "tracker"), [("camera/image", "single_object_tracker"), ("", "")])
def test_names_may_be_relative_or_left_out(topic, tracker):
    assert set(problems(examine(topic, tracker))) == {"results"}


def test_a_tracker_of_another_name_is_found_by_its_service():
    texts = {f.subject: f.text for f in examine("", "", name="it", listens="/front/image", publishes="/front/image")}
    assert texts["tracker"] == "/it is there"
    assert texts["topic"].startswith("/front/image: ")


def test_no_tracker():
    with temporary_node("doctor") as node:
        found = problems(doctor.graph(node, TOPIC, TRACKER, 0.3))
        unnamed = problems(doctor.graph(node, "", "", 0.3))
    assert found["tracker"].startswith("there is no node /single_object_tracker; nodes are none -> start it")
    assert unnamed["tracker"].startswith("there is no tracker; nodes are none -> start it")


@pytest.mark.parametrize("file", ["golden.npz", "model.safetensors"])
def test_a_damaged_model(tmp_path, file):
    shutil.copytree(find_model("siamfc").folder, tmp_path / "model")
    (tmp_path / "model" / file).write_bytes(b"PK\3\4 and no more")
    found = problems(installation(str(tmp_path / "model")))
    assert found["model"].startswith("cannot read")
    assert file in found["model"]
    assert "backends" not in found  # it is not they that are to be installed


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

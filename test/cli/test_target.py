"""Targets from the command line, from a picture and from YAML."""

import threading

import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli import main
from deep_tracking_ros.cli.target import Wanted, format_stamp, parse_stamp, read_targets
from deep_tracking_ros.errors import DataError


def test_stamps_keep_every_nanosecond():
    stamp = 1_700_000_000_123_456_789
    assert parse_stamp(format_stamp(stamp)) == stamp
    assert parse_stamp("12.5") == 12_500_000_000


def test_targets_of_a_file(tmp_path):
    file = tmp_path / "targets.yaml"
    file.write_text(
        "- {box: [1, 2, 30, 40], label: car, stamp: 1700000000.000000001}\n- {box: [5.5, 6, 7, 8], id: 3}\n"
    )
    assert read_targets(file) == [
        Wanted((1, 2, 30, 40), 1_700_000_000_000_000_001, "car"),
        Wanted((5.5, 6, 7, 8), id=3),
    ]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("box: [1, 2, 3, 4]", "not a list"),
        ("- {bax: [1, 2, 3, 4]}", "target 1 must be like"),
        ("- {box: [1, 2, 3, 4], colour: red}", "target 1 must be like"),
        ("- {box: [1, 2, 3, 4], id: -1}", "whole number"),
        ("- [", "cannot be read as YAML"),
    ],
)
def test_files_that_are_no_targets(tmp_path, text, answer):
    file = tmp_path / "targets.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=answer):
        read_targets(file)


@pytest.fixture
def tracker(domain):
    """A node that has the tracker's services and a camera; gives the requests that came."""
    pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
    srv = pytest.importorskip("deep_tracking_ros.srv", reason="the interfaces are not built: make setup")
    from deep_tracking_ros.ros import bags, interfaces
    from deep_tracking_ros.ros.client import temporary_node
    from deep_tracking_ros.ros.interfaces import message_class

    requests = []

    def answer(request, response):
        requests.append(request)
        response.success = getattr(request, "label", "") != "bad"
        response.message = "fine" if response.success else "the box lies outside of the image"
        return response

    message = interfaces.make(bags.IMAGE)
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 345
    message.height, message.width, message.encoding, message.step = 20, 30, "bgr8", 90
    message.data = np.full(1800, 90, np.uint8)
    over = threading.Event()
    with temporary_node("single_object_tracker") as node:
        node.create_service(srv.SetTarget, "~/set_target", answer)
        node.create_service(srv.RemoveTarget, "~/remove_target", answer)
        node.create_service(srv.ClearTargets, "~/clear_targets", answer)
        publisher = node.create_publisher(message_class(bags.IMAGE), "/camera/image", 1)
        data = interfaces.serialize(message, bags.IMAGE)
        node.create_timer(0.05, lambda: publisher.publish(data))

        def serve():
            while not over.is_set():
                node.executor.spin_once(timeout_sec=0.05)

        thread = threading.Thread(target=serve)
        thread.start()
        yield requests
        over.set()
        thread.join()


@pytest.mark.ros
def test_target_verbs_call_the_services(tracker, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    def run(*arguments):
        return CliRunner().invoke(main.app, ["target", *arguments])

    picture = tmp_path / "now.png"
    result = run("snapshot", str(picture))
    assert "30x20 px, stamp 12.000000345" in result.output, result.exception
    import cv2

    assert (cv2.imread(str(picture)) == 90).all()
    assert run("set", "10,4,8,6", "--on", str(picture), "--label", "cup").exit_code == 0
    request = tracker[-1]
    assert (request.stamp.sec, request.stamp.nanosec, request.label) == (12, 345, "cup")
    # pixels 10 to 17 and 4 to 9, centres at integers
    assert (request.center_x, request.center_y, request.size_x, request.size_y) == (13.5, 6.5, 8, 6)
    assert run("set", "10,4,8,6").exit_code == 0
    assert (tracker[-1].stamp.sec, tracker[-1].id) == (0, 0)
    failed = run("set", "10,4,8,6", "--label", "bad")
    assert failed.exit_code == 1
    assert "outside of the image" in failed.output
    assert run("remove", "7").exit_code == 0
    assert tracker[-1].id == 7
    assert run("clear").exit_code == 0
    assert "no display here; use `deep-tracking target snapshot" in str(run("pick").exception)
    missing = str(run("clear", "--node", "/other").exception)
    assert missing.startswith("there is no service /other/clear_targets; trackers here (ROS_DOMAIN_ID=")
    assert missing.endswith(" are /single_object_tracker: name one with --node")
    missing = str(run("snapshot", str(picture), "--topic", "front").exception)
    assert missing.startswith("nobody publishes /front; topics of images here (ROS_DOMAIN_ID=")
    assert missing.endswith(" are /camera/image: name one with --topic")


@pytest.mark.ros
def test_nothing_is_running(domain, tmp_path):
    """Whom others only ask for and listen to is not there."""
    pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
    srv = pytest.importorskip("deep_tracking_ros.srv", reason="the interfaces are not built: make setup")
    from deep_tracking_ros.ros import bags
    from deep_tracking_ros.ros.client import temporary_node
    from deep_tracking_ros.ros.interfaces import message_class

    def answer(*arguments):
        return str(CliRunner().invoke(main.app, ["target", *arguments]).exception)

    with temporary_node("panel") as node, temporary_node("single_object_tracker") as bare:
        node.create_client(srv.SetTarget, "/gone/set_target")
        node.create_subscription(message_class(bags.IMAGE), "/camera/image", print, 1)
        bare.create_publisher(message_class(bags.IMAGE), "~/overlay", 1)
        assert answer("set", "1,2,30,40", "--node", "gone") == (
            f"there is no service /gone/set_target: no tracker is running here (ROS_DOMAIN_ID={domain}); "
            "start it with deep-tracking run tracker image:=TOPIC"
        )
        assert "/single_object_tracker runs but does not offer it; configure it" in answer("clear")
        assert answer("snapshot", str(tmp_path / "now.png")) == (
            f"nobody publishes /camera/image; no camera publishes images here (ROS_DOMAIN_ID={domain}); "
            "start its driver, or deep-tracking play a bag"
        )

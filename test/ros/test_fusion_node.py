"""The real node fusion in a process of its own, fed over DDS."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reports import reports_of

from deep_tracking_ros.geometry.poses import inverse, pose_of_angles
from deep_tracking_ros.multi_object.fusion import outlines
from deep_tracking_ros.types import (
    Camera,
    State,
    StaticTransforms,
    TrackedBox,
    TrackedBox3D,
    TrackedBoxes,
    TrackedBoxes3D,
    Transform,
)

ROOT = Path(__file__).resolve().parents[2]
DT, START, FRAMES = 100_000_000, 50 * 10**9, 6  # ns
NAME = "/front/fusion"
PLACE = "0.3 0.1 -0.2 -1.5707963 0 -1.5707963"  # of an optical frame that looks along x, beside the lidar
POSE = pose_of_angles(*map(float, PLACE.split()))
K = np.array([[700.0, 0, 620], [0, 700, 187], [0, 0, 1]])
CAMERA = Camera(1240, 375, K, np.zeros(5), frame_id="camera")
SIZE = np.array([4.5, 1.8, 1.5])
PORTS = {
    TrackedBoxes3D: "boxes_3d",
    TrackedBoxes: "boxes",
    Camera: "camera_info",
    StaticTransforms: "/tf_static",
}
pytestmark = pytest.mark.ros


def centre(k, lane):
    return pose_of_angles(12 + k, 5 * lane, -0.5, 0, 0, 0)


def in_space(k, stamp=None):
    """Two cars that drive away; the camera follows the first alone."""
    cars = tuple(TrackedBox3D(7 + i, centre(k, i), SIZE, State.CONFIRMED, 0.6, "vehicle") for i in range(2))
    stamp = START + k * DT if stamp is None else stamp
    return TrackedBoxes3D(stamp, "lidar", 0, stamp, cars)


def in_image(k, stamp=None, ids=40, **values):
    box = outlines(centre(k, 0)[None], SIZE[None], inverse(POSE), K)[0][0].astype(np.float32)
    stamp = START + k * DT if stamp is None else stamp
    car = TrackedBox(ids, box, State.CONFIRMED, 0.8, "car")
    return replace(TrackedBoxes(stamp, "camera", 0, stamp, 1240, 375, "", (car,)), **values)


class Outside:
    """All that talks with the node."""

    def __init__(self, node, log):
        from rclpy.qos import QoSProfile

        from deep_tracking_ros.ros.interfaces import message_class
        from deep_tracking_ros.ros.messages import CONVERTERS
        from deep_tracking_ros.ros.qos import LATCHED

        self.node, self.log = node, log
        self.publishers = {}
        for kind, port in PORTS.items():
            topic, qos = (port, LATCHED) if port == "/tf_static" else (f"/front/{port}", QoSProfile(depth=50))
            try:
                type_ = message_class(CONVERTERS[kind].type)
            except Exception:  # tf2_msgs is not everywhere
                continue
            self.publishers[kind] = node.create_publisher(type_, topic, qos)
        self.boxes, self.reports = [], []
        for topic, type_, where in (
            (f"{NAME}/boxes", CONVERTERS[TrackedBoxes3D].type, self.boxes),
            ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", self.reports),
        ):
            node.create_subscription(message_class(type_), topic, where.append, QoSProfile(depth=100))

    def wait(self, done, seconds=20.0):
        from deep_tracking_ros.ros.client import spin_until

        assert spin_until(self.node, done, seconds), self.log.read_text()

    def send(self, *items):
        """In this order, each when the one before has left."""
        from deep_tracking_ros.ros.client import spin_until
        from deep_tracking_ros.ros.messages import to_message

        for item in items:
            self.publishers[type(item)].publish(to_message(item))
            spin_until(self.node, lambda: False, 0.03)

    def ready(self, *kinds):
        self.wait(lambda: all(self.publishers[kind].get_subscription_count() for kind in kinds))
        self.wait(lambda: self.node.count_publishers(f"{NAME}/boxes"))

    def show(self, *items):
        """Send, and give (stamp, [(id, image id, label)]) of the result that follows."""
        from deep_tracking_ros.ros.messages import stamp_of

        self.boxes.clear()
        self.send(*items)
        self.wait(lambda: self.boxes)
        (message,) = self.boxes
        assert message.header.frame_id == "lidar"
        return stamp_of(message.header.stamp), [(box.id, box.image_id, box.label) for box in message.boxes]

    def report(self, wanted, seconds=20.0):
        """(level, message, values) of the next report of the node that is wanted."""
        found = []
        self.reports.clear()

        def look():
            found.extend(reports_of(NAME, self.reports, wanted))
            return found

        self.wait(look, seconds)
        return found[0]


@contextmanager
def running(folder, **parameters):
    from deep_tracking_ros.ros.client import temporary_node

    log = folder / "node.log"
    given = {"intake": "every", "diagnostics_period": 0.2, **parameters}
    command = [sys.executable, "-u", str(ROOT / "scripts/fusion"), "--ros-args", "-r", "__ns:=/front"]
    command += [a for name, value in given.items() for a in ("-p", f"{name}:={value}")]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    try:
        with temporary_node("outside") as node:
            yield Outside(node, log)
        process.send_signal(signal.SIGINT)
        assert process.wait(15.0) == 0
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()


def quoted(text):
    return f"'{text}'"  # else YAML would read other types


def test_live_results_are_those_of_an_offline_run_and_link_both_sensors(tmp_path):
    from typer.testing import CliRunner

    from deep_tracking_ros.cli.main import app
    from deep_tracking_ros.ros import interfaces
    from deep_tracking_ros.ros.bags import ResultWriter, read_messages

    items = [CAMERA]
    for k in range(FRAMES):
        items += [in_space(k), in_image(k)] if k % 2 else [in_image(k), in_space(k)]
    recorded, result = tmp_path / "drive.mcap", tmp_path / "fused.mcap"
    with ResultWriter(recorded) as writer:
        for log_time, item in enumerate(items):
            writer.write(f"/{PORTS[type(item)]}", item, log_time)
    texts = ["process", str(recorded), "--pipeline", "fusion", "--out", str(result), "--set", f"camera_pose={PLACE}"]
    assert CliRunner().invoke(app, texts, catch_exceptions=False).exit_code == 0
    offline = [message.data for message in read_messages(result)]

    with running(tmp_path, camera_pose=quoted(PLACE)) as outside:
        outside.ready(TrackedBoxes3D, TrackedBoxes, Camera)
        # Calibration is best effort, so the first would be lost on a side that has not found the other yet: a
        # repeated one changes nothing.
        outside.send(*[CAMERA] * 20, *items)
        outside.wait(lambda: len(outside.boxes) >= FRAMES)
        name = "deep_tracking_ros/msg/TrackedBox3DArray"
        assert [interfaces.serialize(message, name) for message in outside.boxes] == offline
        linked, lonely = outside.boxes[-1].boxes
        assert (linked.id, linked.image_id, linked.label) == (7, 40, "car")
        assert (lonely.id, lonely.image_id, lonely.label) == (8, 0, "vehicle")
        # odds of 0.6 are 1.5: times 4 for the camera's 0.8, and a tenth for the one that it should see
        assert (linked.score, lonely.score) == pytest.approx((6 / 7, 0.15 / 1.15))
        level, _, values = outside.report(lambda _, v: v.get("frames") == str(FRAMES))
        assert (level, values["fused"], values["linked"], values["dropped"]) == (0, str(FRAMES), "1", "0")


def test_whatever_is_wrong_is_in_the_diagnostics_and_the_node_goes_on(tmp_path):
    """Boxes pass as they came, one result each, until what was wrong is put right."""
    alone, linked = [(7, 0, "vehicle"), (8, 0, "vehicle")], [(7, 40, "car"), (8, 0, "vehicle")]
    faults = {
        "no camera_info came": [],
        "focal lengths 0 and 0 px, they must be above 0: calibrate it": [replace(CAMERA, matrix=np.zeros((3, 3)))],
        "in the frame 'camera', but camera_info is in 'rear'": [replace(CAMERA, frame_id="rear")],
        "1240x375 px, but camera_info is of 2480x750 px": [replace(CAMERA, width=2480, height=750)],
    }
    with running(tmp_path, camera_pose=quoted(PLACE)) as outside:
        outside.ready(TrackedBoxes3D, TrackedBoxes, Camera)
        for k, (words, before) in enumerate(faults.items()):
            outside.send(*before * 20)
            assert outside.show(in_image(k), in_space(k)) == (START + k * DT, alone)
            level, _, values = outside.report(lambda text, v, words=words: words in text + v["last_fault"])
            assert level == 1
            assert values["lifecycle"] == "active"
        outside.send(*[CAMERA] * 20)
        k = len(faults)
        assert outside.show(in_image(k), in_space(k)) == (START + k * DT, linked)
        # the camera's tracker falls silent, and comes back
        assert outside.show(in_space(k + 3), in_space(k + 5)) == (START + (k + 3) * DT, alone)
        level, text, _ = outside.report(lambda message, _: "no boxes in the image within" in message)
        assert "(0.300 s); see max_apart and image_wait" in text
        assert outside.show(in_image(k + 5)) == (START + (k + 5) * DT, linked)
        level, _, values = outside.report(lambda message, _: "no boxes" not in message)
        assert (level, values["fused"], values["faults"]) == (0, "2", "0")


def test_a_bag_that_begins_again_links_with_the_ids_of_now(tmp_path):
    with running(tmp_path, camera_pose=quoted(PLACE)) as outside:
        outside.ready(TrackedBoxes3D, TrackedBoxes, Camera)
        outside.send(*[CAMERA] * 20)
        for k in range(4):
            assert outside.show(in_image(k), in_space(k))[1][0] == (7, 40, "car")
        assert outside.show(in_space(0), in_image(0, ids=90, epoch=1)) == (START, [(7, 90, "car"), (8, 0, "vehicle")])
        _, _, values = outside.report(lambda _, v: v.get("jumps") == "1")
        assert values["fused"] == "5"


def test_a_place_that_is_not_told_is_an_error_until_it_is(tmp_path):
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    from deep_tracking_ros.ros.client import call

    with running(tmp_path) as outside:

        def change(transition):
            return call(outside.node, ChangeState, f"{NAME}/change_state", ChangeState.Request(transition=transition))

        def set_place(text):
            request = SetParameters.Request(parameters=[Parameter("camera_pose", value=text).to_parameter_msg()])
            return call(outside.node, SetParameters, f"{NAME}/set_parameters", request).results[0].successful

        configure, activate = (
            Transition(id=i) for i in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
        )
        level, _, values = outside.report(lambda message, _: "it is not known where the camera is: set" in message)
        assert (level, values["lifecycle"]) == (2, "unconfigured")
        assert set_place("1 2")
        assert not change(configure).success
        level, _, values = outside.report(lambda message, _: "camera_pose is '1 2', it must be six numbers" in message)
        assert (level, values["lifecycle"]) == (2, "unconfigured")
        assert set_place(PLACE)
        assert change(configure).success
        assert change(activate).success
        outside.ready(TrackedBoxes3D, TrackedBoxes, Camera)
        outside.send(*[CAMERA] * 20)
        assert outside.show(in_image(0), in_space(0))[1][0] == (7, 40, "car")


def test_the_place_by_transforms_or_how_to_get_them(tmp_path):
    """Where tf2_msgs is missing, the error says how to install it."""
    with running(tmp_path, camera_frame="camera") as outside:
        if StaticTransforms not in outside.publishers:
            level, text, _ = outside.report(lambda message, _: "not installed" in message)
            assert level == 2
            assert f"sudo apt install ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-tf2-msgs" in text
            return
        outside.ready(TrackedBoxes3D, TrackedBoxes, Camera)
        outside.send(*[CAMERA] * 20)
        assert outside.show(in_image(0), in_space(0))[1][0] == (7, 0, "vehicle")
        outside.report(
            lambda message, _: "no transforms lead from 'lidar' of the boxes in space to 'camera'" in message
        )
        outside.send(StaticTransforms((Transform(0, "lidar", "camera", POSE),)))
        assert outside.show(in_image(1), in_space(1))[1][0] == (7, 40, "car")

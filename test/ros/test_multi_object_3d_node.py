"""The real node multi_object_tracker_3d in a process of its own, fed over DDS."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE
from reports import reports_of

from deep_tracking_ros.geometry.poses import inverse, pose_of_angles
from deep_tracking_ros.types import Detection3D, Detections3D, Odometry, TrackedBoxes3D

ROOT = Path(__file__).resolve().parents[2]
DT, START, FRAMES = 100_000_000, 50 * 10**9, 8  # ns
SIZE = np.array([4.2, 1.8, 1.5])
NAME = "/space/multi_object_tracker_3d"
AGAIN = 30
"""So often the first odometry is sent: it is best effort, so lost on a side that has not found the other yet, and a
repeated one changes nothing."""
pytestmark = pytest.mark.ros


def robot(k):
    return pose_of_angles(0.8 * k, 0, 0, 0, 0, 0.03 * k)


def seen(k):
    cars = [pose_of_angles(20, 4, 0.8, 0, 0, 0.3), pose_of_angles(10 + k, -5, 0.8, 0, 0, 0.0)]
    found = [Detection3D(inverse(robot(k)) @ car, SIZE, 0.9, "car") for car in cars]
    return Detections3D(START + k * DT, "lidar", tuple(found))


def odometry(k, child="lidar"):
    return Odometry(START + round(k * DT), "odom", child, robot(k))


def drive(child="lidar"):
    """(port, item) in the order in which they are sent; odometry comes after the detections that it is around."""
    items = [("odometry", odometry(-0.5, child))]
    for k in range(FRAMES):
        items += [("detections", seen(k)), ("odometry", odometry(k + 0.5, child))]
    return items


class Outside:
    """All that talks with the node."""

    def __init__(self, node, log, process):
        from rclpy.qos import QoSProfile

        from deep_tracking_ros.ros.interfaces import message_class
        from deep_tracking_ros.ros.messages import CONVERTERS

        self.node, self.log, self.process = node, log, process
        kinds = {"detections": Detections3D, "odometry": Odometry}
        self.publishers = {
            port: node.create_publisher(message_class(CONVERTERS[kind].type), f"/space/{port}", QoSProfile(depth=50))
            for port, kind in kinds.items()
        }
        self.boxes, self.markers, self.reports = [], [], []
        for topic, kind, where in (
            (f"{NAME}/boxes", CONVERTERS[TrackedBoxes3D].type, self.boxes),
            (f"{NAME}/markers", "visualization_msgs/msg/MarkerArray", self.markers),
            ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", self.reports),
        ):
            node.create_subscription(message_class(kind), topic, where.append, QoSProfile(depth=100))

    def wait(self, done):
        from deep_tracking_ros.ros.client import spin_until

        assert spin_until(self.node, done, PATIENCE), self.log.read_text()

    def send(self, items):
        """In this order, each when the one before has left."""
        from deep_tracking_ros.ros.client import spin_until
        from deep_tracking_ros.ros.messages import to_message

        for port, item in items:
            self.publishers[port].publish(to_message(item))
            spin_until(self.node, lambda: False, 0.03)

    def ready(self):
        self.wait(lambda: all(p.get_subscription_count() for p in self.publishers.values()))
        self.wait(lambda: self.node.count_publishers(f"{NAME}/boxes") and self.node.count_publishers(f"{NAME}/markers"))

    def report(self, wanted):
        """(level, message, values) of the next report of the node that is wanted."""
        found = []

        def look():
            found.extend(reports_of(NAME, self.reports, wanted))
            return found

        self.wait(look)
        return found[0]


@contextmanager
def running(folder, **parameters):
    from deep_tracking_ros.ros.client import temporary_node

    log = folder / "node.log"
    command = [sys.executable, "-u", str(ROOT / "scripts/multi_object_tracker_3d"), "--ros-args", "-r", "__ns:=/space"]
    command += [
        a for n, v in {"intake": "every", "diagnostics_period": 0.2, **parameters}.items() for a in ("-p", f"{n}:={v}")
    ]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    try:
        with temporary_node("outside") as node:
            yield Outside(node, log, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()


def test_live_results_are_those_of_an_offline_run(tmp_path):
    """The same bytes, down to the last bit of every covariance."""
    from typer.testing import CliRunner

    from deep_tracking_ros.cli.main import app
    from deep_tracking_ros.ros import interfaces
    from deep_tracking_ros.ros.bags import ResultWriter, read_messages

    recorded, result = tmp_path / "drive.mcap", tmp_path / "tracks.mcap"
    with ResultWriter(recorded) as writer:
        for log_time, (port, item) in enumerate(drive()):
            writer.write(f"/{port}", item, log_time)
    texts = ["process", str(recorded), "--pipeline", "multi_object_tracker_3d", "--out", str(result)]
    assert CliRunner().invoke(app, [*texts, "--set", "ego_motion=odometry"], catch_exceptions=False).exit_code == 0
    offline = [message.data for message in read_messages(result)]

    with running(tmp_path, ego_motion="odometry") as outside:
        outside.ready()
        outside.send(drive()[:1] * AGAIN)
        outside.send(drive())
        outside.wait(lambda: len(outside.boxes) >= FRAMES)
        name = "deep_tracking_ros/msg/TrackedBox3DArray"
        assert [interfaces.serialize(message, name) for message in outside.boxes] == offline
        assert [[box.id for box in message.boxes] for message in outside.boxes] == [[1, 2]] * FRAMES
        # markers come as soon as somebody looks: a clearing one, then box, name and, of what moves, arrow
        outside.wait(lambda: outside.markers)
        kinds = [m.ns for m in outside.markers[-1].markers]
        assert kinds[0] == ""
        assert kinds.count("boxes") == kinds.count("names") == 2
        _, _, values = outside.report(lambda _, v: v.get("frames") == str(FRAMES))
        assert (values["without_pose"], values["dropped"], values["waiting_for_pose"]) == ("0", "0", "0")


def test_frames_that_do_not_match_are_in_the_diagnostics(tmp_path):
    with running(tmp_path, ego_motion="odometry") as outside:
        outside.ready()
        outside.send(drive(child="base_link")[:1] * AGAIN)
        outside.send(drive(child="base_link")[:4])
        level, text, values = outside.report(lambda message, _: "base_link" in message)
        assert level == 1
        assert "the detections are in the frame 'lidar', but odometry tells where 'base_link' is; set mounting" in text
        assert int(values["without_pose"]) >= 1
        assert outside.boxes == []


@pytest.mark.parametrize(
    ("parameters", "package"),
    [
        ({"detections_type": "vision_msgs"}, "vision-msgs"),
        ({"publish_vision_msgs": "true"}, "vision-msgs"),
        ({"ego_motion": "tf"}, "tf2-msgs"),
    ],
)
def test_a_package_that_is_missing_is_named_with_how_to_install_it(tmp_path, parameters, package):
    try:
        __import__(package.replace("-", "_"))
    except ImportError:
        pass
    else:
        pytest.skip(f"{package} is installed here")
    with running(tmp_path, **parameters) as outside:
        level, text, values = outside.report(lambda message, _: "not installed" in message)
        assert level == 2
        assert f"sudo apt install ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-{package}" in text
        assert values["lifecycle"] in ("unconfigured", "inactive")

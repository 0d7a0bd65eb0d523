"""The real node detector in a process of its own: cameras over DDS in, detections out."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE

from deep_tracking_ros.ros.messages import from_message, set_stamp
from deep_tracking_ros.types import Detections

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "detection"))
from small_graphs import seeing

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.ros
START, DT = 50 * 10**9, 40_000_000  # ns


@pytest.fixture
def model(tmp_path):
    return seeing(tmp_path / "light.onnx", notes={"names": "{0: 'light'}"})


class Rig:
    """Cameras and listeners around a node in the namespace /see."""

    def __init__(self, node, log, topics):
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image

        from deep_tracking_ros.ros.client import spin_until
        from deep_tracking_ros.ros.interfaces import message_class

        self.node, self.log, self.spin_until, self.image = node, log, spin_until, Image
        self.publishers, self.received, self.reports = {}, {}, []
        arrays = message_class("deep_tracking_ros/msg/Detection2DArray")
        node.create_subscription(DiagnosticArray, "/diagnostics", self.reports.append, QoSProfile(depth=100))
        for topic, result in topics.items():
            self.received[topic] = []
            self.publishers[topic] = node.create_publisher(Image, topic, QoSProfile(depth=50))
            node.create_subscription(arrays, result, self.received[topic].append, QoSProfile(depth=50))
            self.wait(
                lambda t=topic, r=result: self.publishers[t].get_subscription_count() and node.count_publishers(r)
            )

    def wait(self, done):
        assert self.spin_until(self.node, done, PATIENCE), Path(self.log.name).read_text()

    def send(self, topic, k, *corners, encoding="mono8"):
        """A dark image with bright squares of 32 px."""
        from deep_tracking_ros.ros.images import fill_image

        pixels = np.zeros((64, 96), np.uint8)
        for x, y in corners:
            pixels[y : y + 32, x : x + 32] = 255
        message = fill_image(self.image(), pixels)
        message.encoding, message.header.frame_id = encoding, f"{topic} optical"
        set_stamp(message.header.stamp, START + k * DT)
        self.publishers[topic].publish(message)

    def results(self, topic, count):
        self.wait(lambda: len(self.received[topic]) >= count)
        return [from_message(Detections, message) for message in self.received[topic]]

    def diagnostics(self, wanted):
        """The values of the next report that is wanted."""
        self.reports.clear()

        def found():
            for report in self.reports:
                for status in report.status:
                    values = {v.key: v.value for v in status.values} | {"message": status.message}
                    if status.name.endswith("detector") and wanted(values):
                        return values
            return None

        self.wait(found)
        return found()


@contextmanager
def running(folder, topics, **parameters):
    from deep_tracking_ros.ros.client import temporary_node

    with (folder / "node.log").open("w+") as log:
        command = [sys.executable, "-u", str(ROOT / "scripts/detector"), "--ros-args", "-r", "__ns:=/see"]
        for name, value in {"diagnostics_period": 0.2, "threads": 1, "image_depth": 50, **parameters}.items():
            command += ["-p", f"{name}:={value}"]
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        try:
            with temporary_node("cameras") as node:
                yield Rig(node, log, topics)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
            assert "Traceback" not in Path(log.name).read_text()
        finally:
            if process.poll() is None:
                process.kill()


def corners(item):
    boxes = np.stack([d.box for d in item.detections])
    return [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]


def test_each_image_has_its_detections(tmp_path, model):
    with running(tmp_path, {"/see/image": "/see/detector/detections"}, model=model, score=0.9, intake="every") as rig:
        rig.send("/see/image", 0, (32, 0))
        rig.send("/see/image", 1)  # nothing in it
        rig.send("/see/image", 1, (0, 0))  # a duplicate
        rig.send("/see/image", 2, encoding="nonsense")
        rig.send("/see/image", 3, (64, 32))
        first, empty, last = rig.results("/see/image", 3)
        assert [item.stamp for item in (first, empty, last)] == [START, START + DT, START + 3 * DT]
        assert first.frame_id == "/see/image optical"
        assert {d.label for d in first.detections} == {"light"}
        assert corners(first) == pytest.approx([31.5, -0.5, 63.5, 31.5])
        assert empty.detections == ()
        assert corners(last) == pytest.approx([63.5, 31.5, 95.5, 63.5])
        values = rig.diagnostics(lambda v: v.get("frames") == "3" and v.get("unusable") == "1")
        assert (values["layout"], values["backend"], values["duplicates"]) == ("yolox", "onnxruntime", "1")
        assert values["lifecycle"] == "active"


def test_cameras_share_a_network_and_each_has_its_own_results(tmp_path, model):
    topics = {"/front/image": "/see/detector/front/image/detections", "/see/rear": "/see/detector/rear/detections"}
    with running(tmp_path, topics, model=model, score=0.9, intake="every", cameras="/front/image,rear") as rig:
        for k in range(20):
            rig.send("/front/image", k, (32, 0))
            rig.send("/see/rear", k + 5, (64, 32), encoding="nonsense" if k == 7 else "mono8")
        front, rear = rig.results("/front/image", 20), rig.results("/see/rear", 19)
        assert [item.stamp for item in front] == [START + k * DT for k in range(20)]
        assert [item.stamp for item in rear] == [START + (k + 5) * DT for k in range(20) if k != 7]
        assert all(corners(item) == pytest.approx([31.5, -0.5, 63.5, 31.5]) for item in front)
        assert all(corners(item) == pytest.approx([63.5, 31.5, 95.5, 63.5]) for item in rear)
        assert {item.frame_id for item in rear} == {"/see/rear optical"}
        values = rig.diagnostics(lambda v: v.get("frames") == "39")
        assert values["cameras"] == "2"
        # one that is silent holds up nobody
        rig.send("/front/image", 30, (32, 0))
        assert rig.results("/front/image", 21)[-1].stamp == START + 30 * DT


def test_a_model_that_is_not_there_is_told_with_those_that_are(tmp_path, model):
    with running(tmp_path, {}, model=str(tmp_path / "none.onnx")) as rig:
        values = rig.diagnostics(lambda v: "not configured" in v["message"])
        assert "there is no model file" in values["message"]
        assert "there are: light.onnx" in values["message"]
        assert values["lifecycle"] == "unconfigured"

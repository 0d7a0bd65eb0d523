"""The real node multi_object_tracker in a process of its own, fed over DDS."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE

from deep_tracking_ros.ros import interfaces
from deep_tracking_ros.ros.messages import from_message, stamp_of, to_message
from deep_tracking_ros.types import Detection, Detections, State, TrackedBoxes

ROOT = Path(__file__).resolve().parents[2]
DT, START = 40_000_000, 50 * 10**9  # ns


def seen(k, *xs, frame_id="camera"):
    boxes = [np.array([x, 100, x + 40, 180], np.float32) for x in xs]
    return Detections(START + k * DT, frame_id, tuple(Detection(box, 0.9, "person") for box in boxes))


def test_detections_survive_the_way_through_a_message():
    look = np.array([0.6, 0.8], np.float32)
    box = np.array([10, 20, 50, 100], np.float32)
    item = Detections(123456789012, "cam", (Detection(box, 0.75, "dog", look), Detection(box + 3, 0.5)))
    back = from_message(Detections, to_message(item, interfaces.make))
    assert (back.stamp, back.frame_id, len(back.detections)) == (item.stamp, "cam", 2)
    first, second = back.detections
    assert (first.label, first.score) == ("dog", 0.75)
    assert first.box == pytest.approx(box)
    assert first.embedding == pytest.approx(look)
    assert second.embedding is None


@pytest.mark.ros
@pytest.mark.parametrize("reliability", ["RELIABLE", "BEST_EFFORT"])
def test_node_gives_ids_to_detections(tmp_path, reliability):
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    from deep_tracking_ros.ros.client import spin_until, temporary_node
    from deep_tracking_ros.ros.interfaces import message_class

    log = (tmp_path / "node.log").open("w+")
    command = [sys.executable, "-u", str(ROOT / "scripts/multi_object_tracker"), "--ros-args"]
    command += ["-r", "__ns:=/many", "-p", "autostart:=true", "-p", "intake:=every"]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        with temporary_node("detector") as node:
            arrays = message_class("deep_tracking_ros/msg/Detection2DArray")
            boxes = message_class("deep_tracking_ros/msg/TrackedBoxArray")
            received = []
            quality = QoSProfile(depth=20, reliability=ReliabilityPolicy[reliability])
            publisher = node.create_publisher(arrays, "/many/detections", quality)
            topic = "/many/multi_object_tracker/boxes"
            node.create_subscription(boxes, topic, received.append, QoSProfile(depth=20))
            assert spin_until(
                node, lambda: publisher.get_subscription_count() and node.count_publishers(topic), PATIENCE
            ), Path(log.name).read_text()
            sent = [seen(0, 100, 300), seen(1, 104, 298), seen(2), seen(2, 999), seen(3, 110, 294)]
            for item in sent:
                publisher.publish(to_message(item))
                spin_until(node, lambda: False, 0.05)
            assert spin_until(node, lambda: len(received) >= 4, PATIENCE), Path(log.name).read_text()
            results = [from_message(TrackedBoxes, message) for message in received]
            assert [stamp_of(m.header.stamp) for m in received] == [START + k * DT for k in range(4)]
            assert [[b.id for b in r.boxes] for r in results] == [[1, 2]] * 4
            assert [b.state for b in results[2].boxes] == [State.OCCLUDED] * 2
            assert [b.state for b in results[3].boxes] == [State.CONFIRMED] * 2
            assert results[3].boxes[0].label == "person"
            assert results[3].boxes[0].box[0] == pytest.approx(110, abs=3)
            assert results[3].boxes[0].velocity[0] > 0 > results[3].boxes[1].velocity[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert "Traceback" not in Path(log.name).read_text()
    finally:
        if process.poll() is None:
            process.kill()
        log.close()

"""The nodes of the launch file lidar_tracker in processes of their own, fed with clouds over DDS as drivers do."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from patience import PATIENCE

from deep_tracking_ros.evaluation.lidar_scene import Lidar, Scene, Thing
from deep_tracking_ros.ros import nodes
from deep_tracking_ros.ros.messages import from_message, to_message
from deep_tracking_ros.types import Cloud, Detections3D, State, TrackedBoxes3D

ROOT = Path(__file__).resolve().parents[2]
DT, START = 100_000_000, 50 * 10**9
COARSE = Lidar(elevations=np.linspace(2, -24.8, 32), step=0.4)
SCENE = Scene([Thing("car", (4.5, 1.8, 1.55), 14, 4, speed=8), Thing("car", (4.5, 1.8, 1.55), 16, -5)], lidar=COARSE)


def started(folder, start):
    """A node of the launch file in a process of its own, and its log."""
    log = folder / f"{start.name}.log"
    command = [sys.executable, "-u", str(ROOT / "scripts" / start.executable), *start.ros_arguments()]
    with log.open("w") as out:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*command, "-p", "intake:=every"], stdout=out, stderr=subprocess.STDOUT, env=environment
        )
    return SimpleNamespace(process=process, log=log)


@pytest.mark.ros
def test_clouds_of_a_best_effort_driver_become_objects_with_ids(tmp_path):
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    from deep_tracking_ros.ros.client import spin_until, temporary_node
    from deep_tracking_ros.ros.interfaces import message_class

    running = [started(tmp_path, start) for start in nodes.resolve("lidar_tracker", {"namespace": "street"})]
    try:
        with temporary_node("driver") as node:
            clouds = message_class("sensor_msgs/msg/PointCloud2")
            found, followed = [], []
            sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
            publisher = node.create_publisher(clouds, "/points", sensor)
            for kind, topic, into in (
                ("Detection3DArray", "/street/lidar_proposals/detections", found),
                ("TrackedBox3DArray", "/street/multi_object_tracker_3d/boxes", followed),
            ):
                message = message_class(f"deep_tracking_ros/msg/{kind}")
                node.create_subscription(message, topic, into.append, QoSProfile(depth=20))

            def logs():
                return "\n".join(one.log.read_text() for one in running)

            def connected():
                boxes = "/street/multi_object_tracker_3d/boxes"
                detections = "/street/lidar_proposals/detections"
                reaches = node.count_subscribers(detections) >= 2 and node.count_publishers(detections)
                return publisher.get_subscription_count() and node.count_publishers(boxes) and reaches

            def deliver(message, effect):
                """Best effort may lose one, so again until it has its effect; what comes twice is dropped."""

                def again():
                    publisher.publish(message)
                    return spin_until(node, effect, 3.0)

                assert spin_until(node, again, PATIENCE), logs()

            assert spin_until(node, connected, PATIENCE), logs()
            # whoever asked for reliable at first, asks again when it meets a driver that is not
            assert spin_until(node, lambda: "best effort from now on" in logs(), PATIENCE), logs()
            for k in range(4):
                points = SCENE.sweep(k).cloud.points
                if k == 2:
                    points = np.full((5, 3), np.nan, np.float32)
                cloud = to_message(Cloud(START + k * DT, "lidar", points))
                deliver(cloud, lambda wanted=k + 1: len(followed) >= wanted)
                assert len(followed) == k + 1, logs()
            broken = to_message(Cloud(START + 4 * DT, "lidar", points))
            broken.fields = broken.fields[:2]
            deliver(broken, lambda: "has no field z" in logs())

            detections = [from_message(Detections3D, message) for message in found]
            assert [d.stamp for d in detections] == [START + k * DT for k in range(4)]
            assert [[one.label for one in d.detections] for d in detections] == [
                ["car"] * 2,
                ["car"] * 2,
                [],
                ["car"] * 2,
            ]
            boxes = [from_message(TrackedBoxes3D, message) for message in followed]
            assert [b.stamp for b in boxes] == [START + k * DT for k in range(4)]
            assert [[one.id for one in b.boxes] for b in boxes] == [[1, 2]] * 4
            assert [one.state for one in boxes[2].boxes] == [State.OCCLUDED] * 2
            assert boxes[3].frame_id == "lidar"
        for one in running:
            one.process.send_signal(signal.SIGINT)
            assert one.process.wait(PATIENCE) == 0
            assert "Traceback" not in one.log.read_text()
    finally:
        for one in running:
            if one.process.poll() is None:
                one.process.kill()

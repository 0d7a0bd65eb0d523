"""What the node itself costs: from an image in the middleware's hands to its boxes published, without a network.

The camera and the node are processes of their own. The node runs the real code with a pipeline that only gives an
empty result; what remains is taking the message, handing it to the worker, decoding, converting and publishing.

    python -m benchmarks.node
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import benchmarks.common as common
from deep_tracking_ros.ros.client import spin_until, temporary_node

SIZES = ((640, 480), (1920, 1080))
ENCODINGS = ("bgr8", "rgb8", "jpeg")
RATE = {640: 30, 1920: 15}  # images a second
LENGTH = 8.0  # s
KEYS = ("latency_ms_p50", "latency_ms_p95", "wait_ms_p50", "decode_ms_p50", "convert_ms_p50", "publish_ms_p50")


def camera(width: int, height: int, encoding: str, rate: float) -> None:
    """Publish the same image at a rate until interrupted."""
    import cv2
    import numpy as np
    import rclpy
    from sensor_msgs.msg import CompressedImage, Image

    from deep_tracking_ros.ros.images import fill_image
    from deep_tracking_ros.ros.messages import set_stamp

    small = np.random.default_rng(0).integers(0, 255, (height // 16, width // 16, 3), np.uint8)
    picture = np.asarray(cv2.resize(small, (width, height)), np.uint8)
    rclpy.init()
    node = rclpy.create_node("camera")
    if encoding == "jpeg":
        message = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", picture)[1].tobytes())
        publisher = node.create_publisher(CompressedImage, "image/compressed", 5)
    else:
        message = fill_image(Image(), picture, encoding)
        publisher = node.create_publisher(Image, "image", 5)
    due = time.monotonic()
    while node.context.ok():
        set_stamp(message.header.stamp, time.time_ns())
        publisher.publish(message)
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def node() -> None:
    """Run the node with a pipeline that does nothing."""
    from collections.abc import Iterable
    from dataclasses import dataclass

    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.utilities import try_shutdown

    from deep_tracking_ros.pipelines.pipeline import Output, Pipeline, Reply
    from deep_tracking_ros.ros.node import PipelineNode
    from deep_tracking_ros.types import Frame, TrackedBoxes

    @dataclass(frozen=True)
    class NoParameters:
        pass

    class Nothing(Pipeline):
        name = "nothing"
        Parameters = NoParameters
        inputs = {"image": Frame}  # noqa: RUF012
        outputs = {"boxes": TrackedBoxes}  # noqa: RUF012
        commands = {}  # noqa: RUF012

        @classmethod
        def make(cls, parameters: Any, log: Any = None) -> Nothing:
            return cls()

        def step(self, port: str, item: Frame) -> Iterable[Output]:
            height, width = item.image.shape[:2]
            result = TrackedBoxes(item.stamp, item.frame_id, 0, item.stamp, width, height, "nothing")
            return (Output("boxes", result),)

        def command(self, request: Any) -> Reply:
            raise NotImplementedError

        def reset(self, reason: str) -> None:
            pass

        def status(self) -> Mapping[str, str | int | float]:
            used = os.times()
            return {"cpu_s": used.user + used.system}

    rclpy.init()
    own = PipelineNode(Nothing)
    try:
        own.run()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        own.destroy_node()
        try_shutdown()


def measure(width: int, height: int, encoding: str) -> dict[str, float]:
    """Values of the node's diagnostics after a run, and the processor time of its process per image."""
    from diagnostic_msgs.msg import DiagnosticArray

    from deep_tracking_ros.ros.interfaces import message_class

    transport = "compressed" if encoding == "jpeg" else "raw"
    command = [sys.executable, "-m", "benchmarks.node"]
    arguments = ["--ros-args", "-p", f"image_transport:={transport}", "-p", "diagnostics_period:=0.5"]
    reports: list[dict[str, str]] = []
    with temporary_node("observer") as observer:
        observer.create_subscription(
            message_class("deep_tracking_ros/msg/TrackedBoxArray"), "nothing/boxes", lambda m: None, 10
        )
        observer.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            lambda m: reports.append({v.key: v.value for v in m.status[0].values}),  # type: ignore[attr-defined]
            10,
        )
        runs = [
            subprocess.Popen([*command, "node", *arguments]),
            subprocess.Popen(
                [*command, "camera", str(width), str(height), encoding, str(RATE[width])], stderr=subprocess.DEVNULL
            ),
        ]
        try:
            if not spin_until(observer, lambda: reports and int(reports[-1]["published"]) > 30, 30.0):
                raise SystemExit("the node did not publish 30 results in 30 s")
            first = reports[-1]
            spin_until(observer, lambda: False, LENGTH)
            last = reports[-1]
        finally:
            for process in runs:
                process.send_signal(2)
            for process in runs:
                process.wait(10.0)
    images = int(last["published"]) - int(first["published"])
    values = {key: float(last[key]) for key in KEYS}
    values["cpu_ms"] = 1e3 * (float(last["cpu_s"]) - float(first["cpu_s"])) / images
    values["images"] = images
    values["dropped"] = int(last["dropped"]) - int(first["dropped"])
    return values


def main() -> None:
    os.environ.setdefault("ROS_DOMAIN_ID", "29")
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ["OMP_NUM_THREADS"] = "1"
    runs = {
        f"{width}x{height} {encoding}": lambda w=width, h=height, e=encoding: measure(w, h, e)
        for width, height in SIZES
        for encoding in ENCODINGS
    }
    results = common.interleave(runs, 3, lambda name: print(name, flush=True))
    values = {
        name: {key: common.median(repetitions, key) for key in repetitions[0]} for name, repetitions in results.items()
    }
    header = ["image", "in to out p50 ms", "p95 ms", "waiting ms", "decode ms", "convert ms", "publish ms", "CPU ms"]
    rows = [[name, *(f"{found[key]:.2f}" for key in (*KEYS, "cpu_ms"))] for name, found in values.items()]
    text = (
        "The node's own cost for an image, without network: from when the middleware has the whole message to when\n"
        "the boxes are published; medians over 3 runs. Waiting is until the worker takes the image up, with copying\n"
        "it out of the middleware; CPU is processor time of the whole process, with the middleware's own threads.\n\n"
        + common.markdown(header, rows)
    )
    common.write("node", "Cost of the node", {"runs": values}, text)
    print(text)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["camera", width, height, encoding, rate]:
            camera(int(width), int(height), encoding, float(rate))
        case ["node", *_]:
            node()
        case _:
            main()

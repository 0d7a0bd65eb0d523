"""A camera that misbehaves on purpose: a target whose place is a function of the stamp, and faults of many kinds.

It is a process of its own, so that it can be killed. Whoever knows a stamp knows where the target is, whatever the
camera has done to time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.ros.images import fill_image
from deep_tracking_ros.ros.messages import set_stamp
from deep_tracking_ros.types import NANOSECONDS, FloatArray

STEP = 50_000_000
"""Time between two images, ns."""

SIZES = ((320, 240), (160, 120), (321, 243), (640, 480))
"""Sizes (width, height) of images, px; the first is that of a camera without faults."""

ENCODINGS = ("bgr8", "rgb8", "mono8")

MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown encoding": ({"encoding": "yuv999"}, "is not known"),
    "no encoding": ({"encoding": ""}, "is not known"),
    "step too short": ({"step": 7}, "step of 7 bytes"),
    "step too long": ({"step": 100_000}, "bytes of data, not"),
    "no data": ({"data": b""}, "0 bytes of data"),
    "no pixels": ({"width": 0, "height": 0}, "has no pixels"),
    "too high": ({"height": 2**31}, "bytes of data, not"),
    "odd width": ({"encoding": "yuv422", "width": 319}, "needs an even width"),
}
"""Fields of raw images that make them unusable, and words of what the node says then."""

CORRUPT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "JPEG cut off": (lambda jpeg: jpeg[: len(jpeg) // 2], "cut off"),
    "JPEG of nothing": (lambda jpeg: b"", "no image"),
    "JPEG of noise": (lambda jpeg: jpeg[::-1], "no image"),
}
"""What makes the data of a compressed image unusable, and words of what the node says then."""

CUT = "message cut off"
TIME = ("duplicate", "late", "jump back", "jump forward", "pause")
OTHER = ("burst", "other size", "other encoding", "other frame id")


def target_box(stamp: int, width: int, height: int) -> FloatArray:
    """(x0, y0, x1, y1) of the target in the image of a stamp (ns), px; it goes round in 20 s."""
    phase = 2 * np.pi * (stamp / NANOSECONDS) / 20
    centre = np.array([0.5 + 0.25 * np.cos(phase), 0.5 + 0.2 * np.sin(2 * phase)])
    size = np.rint(np.array([0.15 * width, 0.2 * height]))
    corner = np.rint(centre * (width, height) - size / 2)
    return np.concatenate([corner, corner + size]).astype(np.float32) - np.float32(0.5)


@cache
def _textures(width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Background and target, smooth and without a repetition."""
    import cv2

    random = np.random.default_rng(5)
    x0, y0, x1, y1 = target_box(0, width, height)
    coarse = random.integers(60, 140, (18, 24, 3), np.uint8), random.integers(0, 256, (6, 6, 3), np.uint8)
    background = cv2.resize(coarse[0], (width, height), interpolation=cv2.INTER_CUBIC)
    target = cv2.resize(coarse[1], (round(x1 - x0), round(y1 - y0)), interpolation=cv2.INTER_LINEAR)
    return np.asarray(background, np.uint8), np.asarray(target, np.uint8)


def picture(stamp: int, width: int, height: int) -> NDArray[np.uint8]:
    """(H, W, 3) image of the scene at a stamp (ns)."""
    background, target = _textures(width, height)
    image = background.copy()
    x, y = np.rint(target_box(stamp, width, height)[:2] + 0.5).astype(int)
    image[y : y + target.shape[0], x : x + target.shape[1]] = target
    return image


class FaultyCamera:
    """Publishes ``image`` or ``image/compressed``; `fault` does one thing wrong, `show` goes on as it should."""

    def __init__(self, node: Any, *, reliable: bool, compressed: bool, seed: int) -> None:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CompressedImage, Image

        self._random = np.random.default_rng(seed)
        self._kind, topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        self._compressed = compressed
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self.publisher = node.create_publisher(self._kind, topic, QoSProfile(depth=5, reliability=reliability))
        self.size, self.encoding, self.frame_id = SIZES[0], ENCODINGS[0], "camera"
        self.stamp = int(self._random.integers(10_000, 1_000_000)) * NANOSECONDS  # a time of its own
        self.faults = [*(CORRUPT if compressed else MALFORMED), CUT, *TIME, *OTHER]

    def message(self, stamp: int) -> Any:
        """A good image."""
        import cv2

        image = picture(stamp, *self.size)
        if self.encoding == "mono8":
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        elif self.encoding == "rgb8":
            image = image[..., ::-1]
        if self._compressed:
            message = self._kind(format=f"{self.encoding}; jpeg compressed bgr8")
            coded = image[..., ::-1] if self.encoding == "rgb8" else image
            message.data = cv2.imencode(".jpg", coded)[1].tobytes()
        else:
            message = fill_image(self._kind(), image, self.encoding)
        set_stamp(message.header.stamp, stamp)
        message.header.frame_id = self.frame_id
        return message

    def show(self, steps: float = 1) -> None:
        """The next good image."""
        self.stamp += round(steps * STEP)
        self.publisher.publish(self.message(self.stamp))

    def fault(self, name: str) -> None:
        """One fault of `faults`."""
        if name in MALFORMED or name in CORRUPT or name == CUT:
            self._publish_unusable(name)
        elif name == "duplicate":
            self.publisher.publish(self.message(self.stamp))
        elif name == "late":
            self.publisher.publish(self.message(self.stamp - STEP // 2))
        elif name == "jump back":
            self.show(-20 * int(self._random.integers(3, 1000)))
        elif name == "jump forward":
            self.show(20 * int(self._random.integers(3, 1000)))
        elif name == "pause":
            seconds = self._random.uniform(0.2, 3.0)
            time.sleep(seconds)
            self.show(seconds * NANOSECONDS / STEP)
        elif name == "burst":
            for _ in range(30):
                self.show()
        elif name == "other size":
            self.size = SIZES[self._random.integers(len(SIZES))]
        elif name == "other encoding":
            self.encoding = ENCODINGS[self._random.integers(len(ENCODINGS))]
        elif name == "other frame id":
            self.frame_id = str(self._random.choice(["camera", "", "x" * 300, "frame/\u00e9"]))
        else:
            raise ValueError(name)

    def _publish_unusable(self, name: str) -> None:
        from rclpy.serialization import serialize_message

        self.stamp += STEP
        message = self.message(self.stamp)
        if name in MALFORMED:
            for field, value in MALFORMED[name][0].items():
                setattr(message, field, value)
        elif name in CORRUPT:
            message.data = CORRUPT[name][0](bytes(message.data))
        if name == CUT:
            self.publisher.publish(serialize_message(message)[:30])
        else:
            self.publisher.publish(message)

    def run(self, rate: float, log: Path) -> None:
        """Show images for ever, with a fault instead at the given rate (0 to 1); each is a line of ``log``."""
        parent, due = os.getppid(), time.monotonic()
        with log.open("a", buffering=1) as lines:  # by lines, so that nothing is lost when the process is killed
            while os.getppid() == parent:
                if self._random.random() < rate:
                    name = str(self._random.choice(self.faults))
                    self.fault(name)
                    lines.write(json.dumps(name) + "\n")
                else:
                    self.show()
                due = max(due + STEP / NANOSECONDS, time.monotonic() - 1.0)
                time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    import cv2
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    parser = argparse.ArgumentParser("python -m benchmarks.faulty_camera", description=__doc__)
    parser.add_argument("--rate", type=float, default=0.1, help="share of faults among all that is done")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, nargs=2, default=SIZES[0], metavar=("W", "H"), help="at the start, px")
    parser.add_argument("--encoding", choices=ENCODINGS, default=ENCODINGS[0], help="at the start")
    parser.add_argument("--best-effort", action="store_true")
    parser.add_argument("--compressed", action="store_true")
    parser.add_argument("--log", type=Path, required=True, help="file that gets a line for each fault")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells have background jobs ignore
    node = rclpy.create_node("camera")
    camera = FaultyCamera(
        node, reliable=not arguments.best_effort, compressed=arguments.compressed, seed=arguments.seed
    )
    camera.size, camera.encoding = tuple(arguments.size), arguments.encoding
    with suppress(KeyboardInterrupt):
        camera.run(arguments.rate, arguments.log)


if __name__ == "__main__":
    main()

"""Memory of the tracker's node over 10,000 images: real node, real model, targets that come and go.

The camera waits for each result before it shows the next image, so that every image is processed. Images are small,
since the network's work does not depend on their size.

    python -m benchmarks.memory
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, markdown, write
from benchmarks.faulty_camera import FaultyCamera
from benchmarks.operator import TrackerClient
from benchmarks.resources import Resources
from benchmarks.soak import NAME, tracker_node
from deep_tracking_ros.errors import ErrorCode
from deep_tracking_ros.ros.client import temporary_node
from deep_tracking_ros.ros.messages import stamp_of

WARM_UP = 0.2  # share of the images that is not looked at for growth
LIMIT_MB = 5.0  # growth over 10,000 images
SAMPLES = 50


def measure(images: int, folder: Path) -> dict[str, Any]:
    """What the node's process holds after each part of the images, and how fast that grows."""
    samples: list[dict[str, float]] = []
    with tracker_node(folder / "node.log") as process, temporary_node("camera") as node:
        client = TrackerClient(node, NAME)
        camera = FaultyCamera(node, reliable=True, compressed=False, seed=0)
        client.wait(lambda: client.state() == "active", 60.0, "the node does not start")
        client.wait(camera.publisher.get_subscription_count, 15.0, "the node does not subscribe")
        every = max(1, images // SAMPLES)
        began = time.monotonic()
        for shown in range(1, images + 1):
            camera.show()
            stamp = camera.stamp
            client.wait(
                lambda s=stamp: client.results and stamp_of(client.results[-1].header.stamp) == s, 10.0, "silence"
            )
            if shown % 200 == 10:
                last = client.results[-1]
                reply = client.set_target(client.truth(last), last.header.stamp)
                assert reply.code == ErrorCode.SUCCESS, reply.message
            elif shown % 200 == 0:
                client.remove_target(client.results[-1].boxes[0].id)
            if shown % every == 0:
                samples.append({"images": shown, **asdict(Resources.of(process.pid))})
                print(f"  {shown} images: {samples[-1]['rss_mb']:.1f} MB", flush=True)
        seconds = time.monotonic() - began
        process.send_signal(signal.SIGINT)
        status = process.wait(15.0)
    settled = [one for one in samples if one["images"] > WARM_UP * images]
    numbers = np.array([one["images"] for one in settled])
    slopes = {
        name: float(np.polyfit(numbers, [one[name] for one in settled], 1)[0]) for name in asdict(Resources(0, 0, 0))
    }
    return {
        "images": images,
        "seconds": round(seconds, 1),
        "rss_mb_after_warm_up": round(settled[0]["rss_mb"], 1),
        "rss_mb_at_end": round(settled[-1]["rss_mb"], 1),
        "growth_per_10000_images": {name: round(10_000 * slope, 3) for name, slope in slopes.items()},
        "exit_status": status,
        "samples": samples,
    }


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for memory.json and memory.md")
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with tempfile.TemporaryDirectory() as folder:
        values = measure(arguments.images, Path(folder))
    grown = values["growth_per_10000_images"]
    rows = [
        ("images", f"{values['images']} of 320x240, in {values['seconds']} s"),
        ("memory after warm-up", f"{values['rss_mb_after_warm_up']} MB"),
        ("memory at the end", f"{values['rss_mb_at_end']} MB"),
        ("growth", f"{grown['rss_mb']:+.2f} MB in 10,000 images (limit {LIMIT_MB:g})"),
        ("growth of threads, open files", f"{grown['threads']:+.1f}, {grown['files']:+.1f}"),
    ]
    text = markdown(("what", "value"), rows)
    text += (
        f"\n\nResident memory of the node's process; growth is the slope of a line through the samples after the first "
        f"{WARM_UP:.0%} of the images. A target is set on a past image every 200 images, followed for 190 and removed."
    )
    write("memory", "Memory of the tracker's node", values, text, arguments.out)
    print(text)
    sys.exit(0 if grown["rss_mb"] < LIMIT_MB and values["exit_status"] == 0 else 1)


if __name__ == "__main__":
    main()

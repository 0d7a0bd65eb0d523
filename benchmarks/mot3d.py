"""Speed of the tracker of objects in space by number of objects, memory under churn, and KITTI where it is given.

Detections are made beforehand; what is timed is `Tracker3D.step`, on one thread.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import argparse
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, markdown, time_steps, write
from deep_tracking_ros.evaluation.kitti import PERIOD_NS, read_sequences
from deep_tracking_ros.evaluation.mot3d import evaluate, run
from deep_tracking_ros.multi_object.tracker_3d import Boxes3D, Tracker3D

COUNTS = (10, 100, 1000, 10000)


def street(objects: int, frames: int) -> list[Boxes3D]:
    """Cars 10 m apart on a square grid, each at its own speed, seen with 0.1 m of noise."""
    random = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(objects)))
    place = 10.0 * np.stack(np.divmod(np.arange(objects), side), 1)
    speed = random.normal(0, 2, (objects, 2))
    found = []
    for frame in range(frames):
        boxes = np.tile([0, 0, 0, 4.2, 1.8, 1.5, 0.0], (objects, 1))
        boxes[:, :2] = place + 0.1 * frame * speed + random.normal(0, 0.1, (objects, 2))
        found.append(Boxes3D(boxes, np.full(objects, 0.9), ["car"] * objects))
    return found


def step_time(objects: int, frames: int) -> float:
    """Median milliseconds of processor time of a step, the first ones left out."""
    tracker, detections = Tracker3D(), street(objects, frames)
    for frame in range(3):
        tracker.step(detections[frame], frame * PERIOD_NS)
    return time_steps(
        lambda frame=frame: tracker.step(detections[frame], frame * PERIOD_NS) for frame in range(3, frames)
    )[0]


def memory_under_churn(frames: int) -> Iterator[tuple[int, float, int]]:
    """Frame, kilobytes held, last id, while ten new objects come and ten go in every frame."""
    tracker = Tracker3D()
    boxes = np.tile([0, 0, 0, 4.2, 1.8, 1.5, 0.0], (10, 1))
    boxes[:, 0] = 10 * np.arange(10)
    tracemalloc.start()
    for frame in range(frames):
        boxes[:, 1] = 10 * (frame % 100)
        tracks = tracker.step(Boxes3D(boxes, np.full(10, 0.9), ["car"] * 10), frame * PERIOD_NS)
        if frame and (frame + 1) % (frames // 4) == 0:
            yield frame + 1, tracemalloc.get_traced_memory()[0] / 1000, int(tracks.id.max())
    tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kitti", type=Path, help="folder in the layout of KITTI tracking, for eval mot3d")
    parser.add_argument("--churn", type=int, default=100_000, help="frames of the memory test")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()

    times = {count: step_time(count, 13 if count >= 1000 else 53) for count in COUNTS}
    rows = [[f"{n:,}", f"{ms:.2f}", f"{1000 / ms:.0f}", f"{1000 * ms / n:.1f}"] for n, ms in times.items()]
    text = markdown(["objects", "ms a step", "steps/s", "us an object"], rows)
    churn = list(memory_under_churn(options.churn))
    rows = [[f"{frame:,}", f"{size:.0f}", f"{last:,}"] for frame, size, last in churn]
    text += "\n\n## Ten objects come and ten go in every frame\n\n" + markdown(["frames", "kB held", "last id"], rows)
    values: dict[str, object] = {"ms_by_objects": times, "churn": churn}
    if options.kitti:
        sequences = read_sequences(options.kitti, "Car")
        results, spent = run(sequences, "Car")
        m, fps = evaluate(sequences, results, "Car"), sum(s.frames for s in sequences) / spent
        values["kitti"] = {"samota": m.samota, "amota": m.amota, "mota": m.best.mota, "fps": fps}
        shares = [f"{100 * value:.2f}" for value in (m.samota, m.amota, m.best.mota)]
        text += "\n\n## KITTI, cars\n\n" + markdown(["sAMOTA", "AMOTA", "MOTA", "frames/s"], [[*shares, f"{fps:.0f}"]])
    write("mot3d", "Objects in space", values, text, options.out)
    print(text)


if __name__ == "__main__":
    main()

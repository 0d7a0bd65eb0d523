"""Time of a step of the multi-object tracker against the number of objects, and memory while ids churn."""

import argparse
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import RESULTS, markdown, write

from deep_tracking_ros.multi_object.tracker import Boxes, MultiObjectTracker

DT = 40_000_000  # ns


def crowd(count, frames, rng):
    """Boxes of people 60x120 px, 100 px apart, who walk by up to 100 px/s and are found with 2 px of noise."""
    side = int(np.ceil(np.sqrt(count)))
    place = np.stack(np.divmod(np.arange(count), side), 1)[:, ::-1] * (100.0, 150.0)
    velocity = rng.uniform(-100, 100, (count, 2)) * DT / 1e9
    for k in range(frames):
        centre = place + velocity * k
        half = np.array([30.0, 60.0])
        boxes = np.concatenate([centre - half, centre + half], 1) + rng.normal(0, 2, (count, 4))
        yield Boxes(boxes, rng.uniform(0.6, 1.0, count), np.zeros(count, np.intp))


def step_ms(count, frames):
    """Median processor time of a step, ms."""
    tracker, costs = MultiObjectTracker(), []
    for k, found in enumerate(crowd(count, frames, np.random.default_rng(0))):
        began = time.process_time()
        tracker.step(DT * (k + 1), found)
        costs.append(time.process_time() - began)
    return float(np.median(costs[2:])) * 1e3


def churn(frames):
    """Growth of the process, MB, and ids given, while all objects are new in nearly every frame."""
    tracker, rng = MultiObjectTracker(), np.random.default_rng(0)
    highest, before = 0, 0
    for k in range(frames):
        corner = rng.uniform(0, 5000, (5, 2))
        found = Boxes(np.concatenate([corner, corner + 50], 1), np.full(5, 0.9), np.zeros(5, np.intp))
        tracks = tracker.step(DT * (k + 1), found)
        highest = max(highest, int(tracks.ids.max()))
        if k == frames // 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, highest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=30, help="steps for each number of objects")
    parser.add_argument("--churn", type=int, default=100_000, help="frames of the memory test")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    rows = []
    for count in (10, 100, 1000, 10_000):
        cost = step_ms(count, arguments.frames)
        rows.append({"objects": count, "ms": round(cost, 3), "us_per_object": round(1e3 * cost / count, 2)})
    grown, ids = churn(arguments.churn)
    header = ("objects", "CPU ms / step", "us / object")
    text = markdown(header, ([str(value) for value in row.values()] for row in rows))
    text += f"\n\n{arguments.churn} frames with {ids} ids: the process grew by {grown:.1f} MB after the first tenth."
    values = {"steps": rows, "churn": {"frames": arguments.churn, "ids": ids, "grown_mb": round(grown, 2)}}
    write("mot", "Multi-object tracker in the image", values, text, arguments.out)
    print(text)


if __name__ == "__main__":
    main()

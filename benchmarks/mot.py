"""The multi-object tracker in the image: time of a step against the number of objects, beside the trackers of the
package trackers where they can follow, and memory while ids churn.

    python -m benchmarks.mot            # both
    python -m benchmarks.mot steps      # mot.json, mot.md
    python -m benchmarks.mot memory     # mot_memory.json, mot_memory.md
"""

from __future__ import annotations

import argparse
import os
import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.common import RESULTS, interleave, markdown, median, ratio, write
from deep_tracking_ros.evaluation.mot import PEERS, Array, Competitor, ours, peer
from deep_tracking_ros.multi_object.tracker import Boxes, MultiObjectTracker

RATE = 25.0  # frames/s
FRAMES = {10: 60, 100: 30, 1000: 9, 10_000: 8}
WARM = 3
"""First frames, which are not timed: all tracks begin in them."""
MOST = 1000
"""Objects up to which the peers run: they make matrices of all pairs, which would have 10^8 entries for 10,000."""


def crowd(count: int, frames: int) -> Iterator[tuple[Array, Array]]:
    """Boxes of people 60x120 px, 100 px apart, who walk by up to 100 px/s and are found with 2 px of noise."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(count)))
    place = np.stack(np.divmod(np.arange(count), side), 1)[:, ::-1] * (100.0, 150.0)
    step = rng.uniform(-100, 100, (count, 2)) / RATE
    half = np.array([30.0, 60.0])
    for k in range(frames):
        centre = place + step * k
        boxes = np.concatenate([centre - half, centre + half], 1) + rng.normal(0, 2, (count, 4))
        yield boxes, rng.uniform(0.6, 1.0, count)


def step_ms(competitor: Competitor, count: int) -> dict[str, float]:
    """Median processor time of a step, ms, and how many objects are reported in the last one."""
    step, costs, reported = competitor.start(RATE), [], 0
    for k, (boxes, scores) in enumerate(crowd(count, FRAMES[count])):
        cost, (ids, _) = step(k / RATE, boxes, scores)
        costs.append(cost)
        reported = len(ids)
    return {"ms": 1e3 * float(np.median(costs[WARM:])), "reported": reported}


def churn(frames: int) -> dict[str, float]:
    """Growth of the process, MB, while nearly all objects are new in nearly every frame."""
    tracker, rng = MultiObjectTracker(), np.random.default_rng(0)
    before, highest, most = 0, 0, 0
    for k in range(frames):
        corner = rng.uniform(0, 5000, (5, 2))
        found = Boxes(np.concatenate([corner, corner + 50], 1), np.full(5, 0.9), np.zeros(5, np.intp))
        tracks = tracker.step(round((k + 1) * 1e9 / RATE), found)
        begun = tracks.ids[tracks.ages == 0]
        if len(begun) and begun[0] <= highest:
            raise SystemExit(f"id {begun[0]} was given again in frame {k}")
        highest, most = max(highest, int(tracks.ids.max())), max(most, len(tracks))
        if k == frames // 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"frames": frames, "ids": highest, "most_tracks": most, "grown_mb": round(grown, 2)}


def memory(frames: int, out: Path) -> None:
    values = churn(frames)
    text = (
        f"{values['frames']:,} frames in which nearly all objects are new, with {values['ids']:,} ids, none "
        f"given twice,\nat most {values['most_tracks']} tracks at once: the process grew by {values['grown_mb']} MB "
        "after the first tenth."
    )
    write("mot_memory", "Memory of the multi-object tracker in the image", values, text, out)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("steps", "memory", "both"), nargs="?", default="both")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each, interleaved")
    parser.add_argument("--churn", type=int, default=100_000, help="frames of the memory test")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    if arguments.what != "steps":  # first, while the process is small
        memory(arguments.churn, arguments.out)
    if arguments.what != "memory":
        steps(arguments.repetitions, arguments.out)


def steps(repetitions: int, out: Path) -> None:
    competitors = {"this tracker": ours(), **{name: peer(name) for name in PEERS}}
    runs = {
        (name, count): partial(step_ms, competitor, count)
        for count in FRAMES
        for name, competitor in competitors.items()
        if count <= MOST or name == "this tracker"
    }
    named = {f"{name}, {count}": run for (name, count), run in runs.items()}
    results = interleave(named, repetitions, lambda name: print(name, flush=True))
    values, rows = [], []
    for count in FRAMES:
        mine = results[f"this tracker, {count}"]
        cost = {name: median(results[f"{name}, {count}"], "ms") for name in competitors if (name, count) in runs}
        # of each peer, how many times as long it takes; within repetitions, so that a busy spell touches both
        times = {name: ratio(results[f"{name}, {count}"], mine, "ms") for name in cost if name != "this tracker"}
        values.append({"objects": count, "ms": cost, "times": times})
        own = cost["this tracker"]
        others = [f"{cost[name]:.2f} ({times[name]:.1f}x)" if name in cost else "-" for name in PEERS]
        rows.append([f"{count:,}", f"{own:.3f}", f"{1e3 / own:,.0f}", f"{1e3 * own / count:.2f}", *others])
    header = ["objects", "ms / step", "steps / s", "us / object", *(f"{name}, ms" for name in PEERS)]
    text = (
        "Processor time of a step with all objects found, one thread; medians over frames and runs. In brackets,\n"
        "how many times as long a peer of the package trackers takes as this tracker in the same run.\n\n"
        + markdown(header, rows)
    )
    write("mot", "Multi-object tracker in the image", {"steps": values}, text, out)
    print(text)


if __name__ == "__main__":
    main()

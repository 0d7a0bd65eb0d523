"""A node under faults: the tracker's node for half an hour with a bad camera and a bad operator, and what is left.

Everything is as in use: node and camera are processes of their own, over real DDS, with the real model. The run goes
in rounds. In each, a camera misbehaves and an operator with it, both by chance; then the camera is killed, another one
shows a clean moving target, the node must follow it, and what its process holds is noted. At the end each fault is sent
once by itself and must be counted once, and the node is interrupted.

    python -m benchmarks.soak --minutes 30
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, markdown, write
from benchmarks.faulty_camera import CORRUPT, CUT, MALFORMED, FaultyCamera
from benchmarks.operator import DiagnosticsWatch, Operator, TrackerClient
from benchmarks.resources import Resources, growth
from deep_tracking_ros.errors import DataError, ErrorCode
from deep_tracking_ros.ros.client import temporary_node
from deep_tracking_ros.ros.nodes import NodeStart
from deep_tracking_ros.ros.runner import command

NAME = "single_object_tracker"
FAULTY, CLEAN = 22.0, 8.0  # s of a round
WARM_UP = 3  # rounds that are not looked at for growth
JUDGED_FROM = 20  # rounds after them: with fewer, a median still follows which images and targets chance brought
# Limits. Memory: what stays, of the process as a whole; the frame buffer alone comes and goes by 60 MB.
GROWTH_MB, GROWTH_THREADS, GROWTH_FILES = 40.0, 2, 6
MIN_IOU = 0.5
ENDS = ("published", "dropped", "unusable", "faults", "duplicates", "late")
"""Counters of the diagnostics, one of which every image that was received raises."""


@dataclass(frozen=True)
class Round:
    """What was seen in the clean part of a round."""

    minutes: float  # since the start of the first
    iou: float  # mean, of the boxes in all images after the first two; 0 without any
    tracked: float  # share of these images in which the target was TRACKED
    images: int
    rss_mb: float
    threads: int
    files: int


@contextmanager
def tracker_node(log: Path, **parameters: object) -> Any:
    """The process of a tracker's node with its own log; killed at the end where it still runs."""
    start = NodeStart(NAME, NAME, {"diagnostics_period": 0.5, "threads": 1, "max_targets": 4, **parameters})
    with log.open("w") as out:
        process = subprocess.Popen(command(start), stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def camera(log: Path, how: signal.Signals, *arguments: str) -> Any:
    """A camera in a process of its own, ended by a signal."""
    line = [sys.executable, "-m", "benchmarks.faulty_camera", "--log", str(log), *arguments]
    process = subprocess.Popen(line)
    try:
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"the camera ended by itself with status {process.returncode}")
    finally:
        process.send_signal(how)
        process.wait(15.0)


def clean_round(client: TrackerClient, process: Any, log: Path, began: float, *options: str) -> Round:
    """Follow the target of a clean camera, and look at what the node's process holds then."""
    client.clear_targets()
    client.results.clear()
    with camera(log, signal.SIGINT, "--rate", "0", *options):
        client.wait(lambda: len(client.results) > 10, 30.0, "no result of a clean camera")
        shown = client.results[-1]
        reply = client.set_target(client.truth(shown), shown.header.stamp)
        if reply.code != ErrorCode.SUCCESS:
            raise DataError(f"the target of a clean camera is refused: {reply.message}")
        client.results.clear()
        client.spin(CLEAN)
        messages = client.results[2:]
        found = [(m, box) for m in messages for box in m.boxes if box.id == reply.id]
        ious = [client.iou(m, box) for m, box in found]
        tracked = sum(box.state == box.STATE_TRACKED for _, box in found)
        held = Resources.of(process.pid)
    return Round(
        (time.monotonic() - began) / 60,
        float(np.mean(ious)) if ious else 0.0,
        tracked / max(len(messages), 1),
        len(messages),
        held.rss_mb,
        held.threads,
        held.files,
    )


def roll_call(client: TrackerClient, watch: DiagnosticsWatch, compressed: bool, seed: int) -> list[str]:
    """Send each fault of an image or of time once, by itself: it must raise its counter by one, and be told in words.

    Gives a sentence for each that was not.
    """
    client.change("deactivate")
    client.set_parameter("image_transport", "compressed" if compressed else "raw")
    client.change("activate")
    own = FaultyCamera(client.node, reliable=True, compressed=compressed, seed=seed)
    client.wait(own.publisher.get_subscription_count, 15.0, "the node does not subscribe")
    for _ in range(3):
        own.show()
        client.spin(0.3)
    unusable = {name: words for name, (_, words) in (CORRUPT if compressed else MALFORMED).items()} | {CUT: ""}
    expected = dict.fromkeys(unusable, "unusable")
    expected |= {"duplicate": "duplicates", "late": "late", "jump back": "jumps", "jump forward": "jumps"}
    wrong = []
    for name, counter in expected.items():
        before = int(watch.newest(client)[counter])
        own.fault(name)
        raised = client.spin_until(lambda n=counter, b=before: int(watch.values.get(n, 0)) > b, 5.0)
        values = watch.newest(client)
        if not raised or int(values[counter]) != before + 1:
            wrong.append(f"{name}: {counter} went from {before} to {values[counter]}")
        elif name in unusable and unusable[name] not in values["last_fault"]:
            wrong.append(f"{name}: last_fault is {values['last_fault']!r}")
        own.show()
        client.spin(0.2)
    client.node.destroy_publisher(own.publisher)
    return wrong


def soak(minutes: float, seed: int, folder: Path, progress: Callable[[str], None] = print) -> dict[str, Any]:
    """The whole run; gives all figures and, under ``failures``, a sentence for each promise that was not kept."""
    choice = random.Random(seed)
    node_log, fault_log = folder / "node.log", folder / "faults.log"
    fault_log.touch()
    rounds: list[Round] = []
    failures: list[str] = []
    with tracker_node(node_log) as process, temporary_node("operator") as node:
        client = TrackerClient(node, NAME)
        watch = DiagnosticsWatch(node, NAME)
        operator = Operator(client, watch, choice)
        client.wait(lambda: client.state() == "active", 60.0, "the node does not start")
        began = time.monotonic()
        # the largest images first, in an encoding that is copied: the node keeps freed memory for its next images
        clean_round(client, process, fault_log, began, "--size", "640", "480", "--encoding", "rgb8")
        while time.monotonic() - began < 60 * minutes or not rounds:
            number = len(rounds)
            transport = [
                "--seed",
                str(1000 * seed + number),
                *(["--compressed"] if operator.choose_transport() else []),
            ]
            reliability = ["--best-effort"] if choice.random() < 0.5 else []
            end = signal.SIGKILL if choice.random() < 0.5 else signal.SIGINT
            with camera(fault_log, end, "--rate", "0.15", *transport, *reliability):
                deadline = time.monotonic() + FAULTY
                while time.monotonic() < deadline and process.poll() is None:
                    operator.act()
                    client.spin(choice.uniform(0.0, 0.5))
            if process.poll() is not None:
                failures.append(f"the node ended by itself with status {process.returncode}")
                break
            operator.calm_down()
            clean = clean_round(client, process, fault_log, began, *transport)
            rounds.append(clean)
            progress(
                f"{clean.minutes:5.1f} min: IoU {clean.iou:.2f}, tracked {clean.tracked:.0%} of {clean.images} images, "
                f"{clean.rss_mb:.0f} MB, {clean.threads} threads, {clean.files} files"
            )
        status = None
        if process.poll() is None:
            for compressed in (False, True):
                failures += roll_call(client, watch, compressed, seed)
            process.send_signal(signal.SIGINT)
            status = process.wait(15.0)
    faults = Counter(re.findall(r'"([^"]*)"', fault_log.read_text()))
    failures += operator.failures + judge(rounds, status, node_log.read_text(), watch)
    gone = watch.total("received") - sum(watch.total(name) for name in ENDS)
    if not 0 <= gone <= client.deactivated:  # the one image that may wait when the node is deactivated
        failures.append(
            f"of {gone} images nobody knows what became; the node was deactivated {client.deactivated} times"
        )
    settled = rounds[WARM_UP:] if len(rounds) > 2 * WARM_UP else rounds
    return {
        "minutes": round((time.monotonic() - began) / 60, 1),
        "seed": seed,
        "images": watch.total("received"),
        "counts": {name: watch.total(name) for name in (*ENDS, "jumps")},
        "images_waiting_when_deactivated": gone,
        "deactivated": client.deactivated,
        "longest_silence_s": round(watch.longest_silence, 2),
        "camera_faults": dict(faults.most_common()),
        "operator_acts": dict(operator.done.most_common()),
        "growth": {name: growth([getattr(r, name) for r in settled]) for name in ("rss_mb", "threads", "files")},
        "rounds": [asdict(one) for one in rounds],
        "failures": failures,
    }


def judge(rounds: Sequence[Round], status: int | None, log: str, watch: DiagnosticsWatch) -> list[str]:
    """The promises about the run as a whole that were not kept."""
    failures = []
    if status != 0:
        failures.append(f"the node's exit status after SIGINT is {status}, not 0")
    if "Traceback" in log:
        failures.append("the node's log has a traceback: " + log[log.index("Traceback") :][:2000])
    lost = [one for one in rounds if one.iou < MIN_IOU or not one.images]
    if lost:
        failures.append(f"in {len(lost)} of {len(rounds)} rounds the clean target was not followed")
    settled = rounds[WARM_UP:]
    if len(settled) >= JUDGED_FROM:
        limits = {"rss_mb": GROWTH_MB, "threads": GROWTH_THREADS, "files": GROWTH_FILES}
        for name, limit in limits.items():
            grown = growth([getattr(one, name) for one in settled])
            if grown > limit:
                failures.append(f"{name} grew by {grown:.1f} from the first third to the last; at most {limit}")
    counters = ("unusable", "duplicates", "late", "jumps", "dropped")
    failures += [f"{name} never rose" for name in counters if not watch.total(name)]
    if watch.total("faults"):
        failures.append(f"the pipeline failed {watch.total('faults')} times")
    return failures


def report(values: dict[str, Any]) -> str:
    first, last = values["rounds"][0], values["rounds"][-1]
    rows = [
        ("length", f"{values['minutes']} min, {len(values['rounds'])} rounds, seed {values['seed']}"),
        ("images received", str(values["images"])),
        *((name, str(count)) for name, count in values["counts"].items()),
        (
            "deactivated, images that waited then",
            f"{values['deactivated']}, {values['images_waiting_when_deactivated']}",
        ),
        ("longest silence of /diagnostics", f"{values['longest_silence_s']} s"),
        ("faults of the camera", ", ".join(f"{n} {c}" for n, c in values["camera_faults"].items())),
        ("acts of the operator", ", ".join(f"{n} {c}" for n, c in values["operator_acts"].items())),
        ("mean IoU with the clean target", f"{np.mean([r['iou'] for r in values['rounds']]):.2f}"),
        ("worst round", f"{min(r['iou'] for r in values['rounds']):.2f}"),
        ("memory, first and last round", f"{first['rss_mb']:.0f} MB, {last['rss_mb']:.0f} MB"),
        ("growth of memory after warm-up", f"{values['growth']['rss_mb']:+.1f} MB (limit {GROWTH_MB:g})"),
        ("growth of threads", f"{values['growth']['threads']:+g} (limit {GROWTH_THREADS})"),
        ("growth of open files", f"{values['growth']['files']:+g} (limit {GROWTH_FILES})"),
        ("promises not kept", "; ".join(values["failures"]) or "none"),
    ]
    text = markdown(("what", "value"), rows)
    return (
        f"{text}\n\nGrowth: median of the last third of the rounds less that of the first, without {WARM_UP} rounds of "
        f"warm-up, held to the limits from {JUDGED_FROM} rounds on; each is taken while a clean "
        "target is followed. Counts are sums over all cycles of the node."
    )


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the run")
    parser.add_argument("--seed", type=int, default=0, help="of the faults and of the operator")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for soak.json and soak.md")
    parser.add_argument("--keep", type=Path, help="folder for the logs of node and faults; default: not kept")
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        values = soak(arguments.minutes, arguments.seed, folder, lambda line: print(line, flush=True))
    text = report(values)
    write("soak", "Soak of the tracker's node", values, text, arguments.out)
    print(text)
    sys.exit(1 if values["failures"] else 0)


if __name__ == "__main__":
    main()

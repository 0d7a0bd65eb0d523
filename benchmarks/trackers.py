"""Speed of the single-object trackers, by model, backend and number of targets, beside those of OpenCV.

All run on the same frames of one clip, by turns, with one thread. Images are decoded beforehand; one step of a
tracker, for all targets, is what is timed.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import CYCLIST, RESULTS, clip, interleave, markdown, median, ratio, time_steps, write
from deep_tracking_ros.errors import DeepTrackingError
from deep_tracking_ros.evaluation.machine import limit_threads
from deep_tracking_ros.evaluation.peers import make_peer, peers
from deep_tracking_ros.geometry.boxes import xywh_to_xyxy
from deep_tracking_ros.models.store import list_models
from deep_tracking_ros.single_object.registry import make_tracker

REFERENCE = "opencv-csrt"
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """A tracker with a number of targets: a function that starts them and returns the step to be timed."""

    name: str
    backend: str
    targets: int
    start: Callable[[Image], Callable[[Image], object]]

    @property
    def key(self) -> str:
        return f"{self.name}/{self.backend}/{self.targets}"


def boxes(count: int, image: Image) -> NDArray[np.float32]:
    """The cyclist, and boxes of his size on a grid over the image."""
    x, y, w, h = CYCLIST
    side = int(np.ceil(np.sqrt(count)))
    columns = np.linspace(0, image.shape[1] - w, side)
    rows = np.linspace(0, image.shape[0] - h, side)
    grid = [(column, row, w, h) for row in rows for column in columns]
    return xywh_to_xyxy(np.array([(x, y, w, h), *grid][:count])) - np.float32(0.5)


def our_subjects(model: str, backend: str, precision: str, counts: list[int]) -> list[Subject]:
    tracker = make_tracker(model, backend=backend, precision=precision, threads=1)
    name = "/".join(dict.fromkeys(f"{engine.backend} {engine.precision}" for engine in tracker.engines))

    def subject(count: int) -> Subject:
        def start(image: Image) -> Callable[[Image], object]:
            targets = tracker.start(image, boxes(count, image))
            return lambda image: tracker.track(image, targets)

        return Subject(tracker.card.name, name, count, start)

    return [subject(count) for count in counts]


def peer_subject(name: str, weights: Path | None) -> Subject:
    peer = make_peer(name, weights)
    return Subject(name, peer.backend, 1, lambda image: peer.start(image, boxes(1, image)[0]))


def once(subject: Subject, frames: list[Image]) -> Mapping[str, float]:
    """Median milliseconds of a step over the frames after the first two (of which one starts, one warms up)."""
    step = subject.start(frames[0])
    step(frames[1])
    cpu, wall = time_steps((lambda image=image: step(image)) for image in frames[2:])
    return {"cpu_ms": cpu, "wall_ms": wall}


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.trackers", description=__doc__)
    parser.add_argument("--model", action="append", help="name or path of a model; repeat it; default: all there are")
    parser.add_argument("--backend", action="append", help="repeat it; default: torch, onnxruntime and tensorrt")
    parser.add_argument("--precision", default="fp32", help="fp32, fp16 or bf16")
    parser.add_argument("--targets", type=int, nargs="+", default=[1, 4, 16], help="numbers of targets")
    parser.add_argument("--peer-weights", type=Path, help="folder with the ONNX files of NanoTrack V2 and ViTTrack")
    parser.add_argument("--repetitions", type=int, default=7, help="how often each runs over the frames")
    parser.add_argument("--quick", action="store_true", help="2 repetitions over 8 frames: to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for trackers.json and trackers.md")
    arguments = parser.parse_args()

    limit_threads(1)
    frames = clip()[: 8 if arguments.quick else None]
    repetitions = 2 if arguments.quick else arguments.repetitions
    subjects, missing = [], {}
    for model in arguments.model or [model.card.name for model in list_models("single_object")]:
        for backend in arguments.backend or ["torch", "onnxruntime", "tensorrt"]:
            try:
                subjects += our_subjects(model, backend, arguments.precision, arguments.targets)
            except DeepTrackingError as error:
                missing[f"{model}/{backend}"] = str(error)
    subjects += [peer_subject(name, arguments.peer_weights) for name in peers(arguments.peer_weights)]

    runs = {subject.key: (lambda subject=subject: once(subject, frames)) for subject in subjects}
    results = interleave(runs, repetitions, lambda name: print(f"  {name}", flush=True))
    reference = results[f"{REFERENCE}/opencv/1"]

    table: list[dict[str, Any]] = []
    for subject in subjects:
        measured = results[subject.key]
        cpu = median(measured, "cpu_ms")
        table.append(
            {
                "tracker": subject.name,
                "backend": subject.backend,
                "targets": subject.targets,
                "cpu_ms": round(cpu, 3),
                "wall_ms": round(median(measured, "wall_ms"), 3),
                "cpu_ms_per_target": round(cpu / subject.targets, 3),
                "fps": round(1000 / cpu, 1),
                "speed_over_csrt": round(subject.targets * ratio(reference, measured, "cpu_ms"), 2),
                "repetitions": [dict(repetition) for repetition in measured],
            }
        )
    height, width = frames[0].shape[:2]
    columns = ("tracker", "backend", "targets", "cpu_ms", "wall_ms", "cpu_ms_per_target", "fps", "speed_over_csrt")
    header = ("tracker", "backend", "targets", "CPU ms", "wall ms", "CPU ms / target", "fps", "times CSRT")
    text = markdown(header, ([f"{row[column]}" for column in columns] for row in table))
    text += (
        f"\n\nOne step for all targets, {width}x{height}, one thread; median over {len(frames) - 2} frames and "
        f"{repetitions} repetitions, all trackers by turns. CPU: processor time of the process; fps: frames per second "
        "of it. Times CSRT: CPU time of CSRT for as many targets (it takes them one by one) over that of the tracker, "
        "median over the repetitions."
    )
    text += "".join(f"\n\nNot run: {name}: {reason}" for name, reason in missing.items())
    values = {"frames": len(frames), "size": [width, height], "threads": 1, "trackers": table, "not_run": missing}
    write("trackers", "Speed of single-object trackers", values, text, arguments.out)
    print(text)


if __name__ == "__main__":
    main()

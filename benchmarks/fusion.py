"""Late fusion on KITTI: cars followed in lidar detections, weighed with cars followed in the image.

Needs the layout of KITTI tracking with ``detections/*_Car_val`` (boxes in space) and a folder of 2D detections with one
file per sequence: frame, x1, y1, x2, y2, score.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, markdown, write
from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.kitti import IMAGE, PERIOD_NS, Objects, Sequence3D, read_sequences
from deep_tracking_ros.evaluation.mot3d import Measures, evaluate, run
from deep_tracking_ros.multi_object.fusion import FusionSettings, fuse
from deep_tracking_ros.multi_object.tracker import Boxes, MultiObjectTracker, Tracks
from deep_tracking_ros.types import State


def image_tracks(folder: Path, sequence: Sequence3D) -> list[Tracks]:
    """Tracks in the image of each frame, from the detections of a sequence."""
    file = folder / f"{sequence.name}.txt"
    if not file.exists():
        raise DataError(f"there is no {file} with 2D detections")
    table = np.loadtxt(file, delimiter=",", ndmin=2).reshape(-1, 6)
    tracker, found = MultiObjectTracker(), []
    for frame in range(sequence.frames):
        rows = table[table[:, 0] == frame]
        boxes = Boxes(rows[:, 1:5], rows[:, 5], np.zeros(len(rows), np.intp))
        found.append(tracker.step(frame * PERIOD_NS, boxes))
    return found


def fused(results: Objects, tracks: list[Tracks], settings: FusionSettings) -> tuple[Objects, int]:
    """The same objects with the scores of both sensors, and how many are linked to a track in the image."""
    score, linked = results.score.copy(), 0
    for frame, in_image in enumerate(tracks):
        rows = np.flatnonzero(results.frame == frame)
        seen_now = np.isin(in_image.states, (State.TENTATIVE, State.CONFIRMED))
        outcome = fuse(
            results.image_boxes[rows],
            results.boxes[rows, 0],
            results.score[rows],
            in_image.boxes[seen_now],
            in_image.scores[seen_now],
            (round(IMAGE[0]), round(IMAGE[1])),
            settings,
        )
        score[rows] = outcome.odds
        linked += int((outcome.image_row >= 0).sum())
    return replace(results, score=score), linked


def row(name: str, m: Measures) -> list[str]:
    best = m.best
    shares = (m.samota, m.amota, m.amotp, best.mota)
    counts = (best.id_switches, best.false_positives, best.misses)
    return [name, *(f"{100 * value:.2f}" for value in shares), *map(str, counts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kitti", type=Path, required=True, help="folder in the layout of KITTI tracking")
    parser.add_argument("--images", type=Path, help="folder of 2D detections; without it detections/*_Car_2d")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    folders = [options.images] if options.images else sorted(options.kitti.glob("detections/*_Car_2d"))
    if len(folders) != 1:
        raise DataError(f"{options.kitti} has {len(folders)} folders detections/*_Car_2d; name one with --images")

    sequences = read_sequences(options.kitti, "Car")
    alone, _ = run(sequences, "Car")
    in_images = [image_tracks(folders[0], sequence) for sequence in sequences]
    began = time.process_time()
    both = [fused(one, tracks, FusionSettings()) for one, tracks in zip(alone, in_images, strict=True)]
    ms = 1000 * (time.process_time() - began) / sum(s.frames for s in sequences)
    linked = sum(count for _, count in both) / sum(map(len, alone))
    rows, values = [], {"ms_per_frame": ms, "linked": linked}
    for limit in (0.25, 0.5):
        missed = 0
        for name, results in (("lidar alone", alone), ("fused", [one for one, _ in both])):
            measures = evaluate(sequences, results, "Car", limit)
            missed = missed or measures.best.misses
            same = min((p for p in measures.curve if p.misses <= missed), key=lambda point: point.false_positives)
            rows.append([f"{limit:g}", *row(name, measures), f"{same.false_positives} / {same.misses}"])
            values[f"{name}, IoU {limit:g}"] = {"samota": measures.samota, "mota": measures.best.mota,
                                               "false": measures.best.false_positives,
                                               "false_at_missed": [same.false_positives, same.misses]}  # fmt: skip
    head = [
        "IoU",
        "",
        "sAMOTA",
        "AMOTA",
        "AMOTP",
        "MOTA",
        "switches",
        "false",
        "missed",
        "false / missed, where no more are missed than by lidar alone",
    ]
    text = markdown(head, rows) + f"\n\n{linked:.1%} of the boxes are linked; {ms:.2f} ms of processor time a frame.\n"
    write("fusion", "Lidar and camera on KITTI, cars", values, text, options.out)
    print(text)


if __name__ == "__main__":
    main()

"""Lidar proposals against known boxes by distance, and what a sweep costs.

Simulated streets always; sweeps of Argoverse 2 and of KITTI's object benchmark where they are given. A box counts that
has at least ten points. It is found where a proposal of any class has its centre within 1 m seen from above, or
overlaps it with a 3D IoU of 0.5; each proposal finds one box.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.common import RESULTS, markdown, write
from deep_tracking_ros.detection.lidar import LidarDetector, LidarSettings
from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.evaluation.kitti import from_camera
from deep_tracking_ros.evaluation.lidar_scene import Ground, street
from deep_tracking_ros.evaluation.sweeps import read_sweeps
from deep_tracking_ros.geometry.boxes3d import Array, iou, transform

RANGES = (0.0, 10.0, 20.0, 30.0, 50.0)
NEAR, FEWEST, SURE = 1.0, 10, 0.5
SEEDS = range(101, 105)
"""Of the streets; others were looked at while the method was written."""
ARGOVERSE = {
    "REGULAR_VEHICLE": "car", "BOX_TRUCK": "truck", "TRUCK_CAB": "truck", "VEHICULAR_TRAILER": "truck",
    "LARGE_VEHICLE": "truck", "BUS": "truck", "TRUCK": "truck", "PEDESTRIAN": "pedestrian", "BICYCLE": "cyclist",
    "BICYCLIST": "cyclist", "MOTORCYCLE": "cyclist", "MOTORCYCLIST": "cyclist",
}  # fmt: skip
KITTI = {"Car": "car", "Van": "car", "Truck": "truck", "Pedestrian": "pedestrian", "Cyclist": "cyclist"}
# robot axes from KITTI's camera: x forward = z, y left = -x, z up = -y
AXES = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Known:
    """A sweep with the boxes that are in it."""

    points: Array  # (P, 3)
    boxes: Array  # (N, 7) of all objects, in the frame of the points
    labels: Sequence[str]  # (N,) as the detector calls them; empty = something else that may be found
    count: Array  # (N,) points in each


def simulated(ground: Ground) -> Iterator[Known]:
    for seed in SEEDS:
        for number in range(0, 100, 10):
            sweep = street(seed, ground).sweep(number)
            yield Known(sweep.cloud.points, sweep.boxes, sweep.labels, sweep.hits)


def argoverse(folder: Path) -> Iterator[Known]:
    with (folder / "annotations.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = ("tx_m", "ty_m", "tz_m", "length_m", "width_m", "height_m", "yaw_rad")
    for cloud, _ in read_sweeps(folder):
        mine = [row for row in rows if int(row["timestamp_ns"]) == cloud.stamp]
        boxes = np.array([[float(row[c]) for c in columns] for row in mine]).reshape(-1, 7)
        labels = [ARGOVERSE.get(row["category"], "") for row in mine]
        yield Known(cloud.points, boxes, labels, np.array([int(row["num_interior_pts"]) for row in mine]))


def kitti(folder: Path) -> Iterator[Known]:
    for file in sorted(folder.glob("*.bin")):
        ((cloud, _),) = read_sweeps(file)
        lines = (folder / f"{file.stem}.calib.txt").read_text().splitlines()
        calibration = {name: np.array(rest.split(), float) for name, _, rest in (x.partition(":") for x in lines)}
        rectify, mount = np.eye(4), np.eye(4)
        rectify[:3, :3] = calibration["R0_rect"].reshape(3, 3)
        mount[:3] = calibration["Tr_velo_to_cam"].reshape(3, 4)
        rows = [line.split() for line in (folder / f"{file.stem}.label.txt").read_text().splitlines()]
        rows = [row for row in rows if row[0] != "DontCare"]
        h, w, length, x, y, z, turn = np.array([row[8:15] for row in rows], float).reshape(-1, 7).T
        boxes = from_camera(np.stack([x, y, z, length, w, h, turn], 1))
        boxes = transform(boxes, np.linalg.inv(AXES @ rectify @ mount))
        count = np.array([inside(cloud.points, box) for box in boxes])
        yield Known(cloud.points, boxes, [KITTI.get(row[0], "") for row in rows], count)


def inside(points: Array, box: Array) -> int:
    cos, sin = np.cos(box[6]), np.sin(box[6])
    away = points - box[:3]
    local = np.stack([cos * away[:, 0] + sin * away[:, 1], cos * away[:, 1] - sin * away[:, 0], away[:, 2]], 1)
    return int((np.abs(local) <= box[3:6] / 2).all(1).sum())


def measure(sweeps: Iterator[Known], detect: LidarDetector) -> tuple[list[list[str]], list[str], float]:
    """Rows of recall by class and distance, the row of precision, and median ms of a sweep."""
    truths: list[tuple[str, float, bool, bool, bool]] = []  # class, distance, near, overlaps, class agrees
    proposals: list[tuple[bool, bool]] = []  # sure, near a box
    spent = []
    for known in sweeps:
        began = time.process_time()
        found = detect(known.points)
        spent.append(1e3 * (time.process_time() - began))
        apart = np.hypot(*(known.boxes[:, None, :2] - found.boxes[:, :2]).transpose(2, 0, 1))
        overlap = iou(known.boxes[:, None], found.boxes)
        distance = np.hypot(*known.boxes[:, :2].T)
        partner = one_to_one(apart < NEAR, -apart)
        partner_iou = one_to_one(overlap >= 0.5, overlap)
        for row, label in enumerate(known.labels):
            if label and known.count[row] >= FEWEST and distance[row] < RANGES[-1]:
                hit = partner[row]
                agrees = hit >= 0 and found.labels[hit] == label
                truths.append((label, float(distance[row]), hit >= 0, partner_iou[row] >= 0, agrees))
        near = (apart < NEAR).any(0) if len(known.boxes) else np.zeros(len(found.labels), bool)
        within = np.hypot(*found.boxes[:, :2].T) < RANGES[-1]
        proposals += [(s >= SURE, n) for s, n, w in zip(found.scores.tolist(), near.tolist(), within, strict=True) if w]
    rows = []
    for label in ("car", "truck", "pedestrian", "cyclist"):
        cells = [label]
        for low, high in pairwise(RANGES):
            some = [t for t in truths if t[0] == label and low <= t[1] < high]
            cells.append(f"{share(t[2] for t in some)} / {share(t[3] for t in some)} ({len(some)})" if some else "-")
        named = [t[4] for t in truths if t[0] == label and t[2]]
        rows.append([*cells, share(named) if named else "-"])
    sure = [near for is_sure, near in proposals if is_sure]
    n = len(spent)
    precision = [share(near for _, near in proposals), f"{len(proposals) / n:.1f}", share(sure), f"{len(sure) / n:.1f}"]
    return rows, precision, float(np.median(spent))


def one_to_one(possible: Array, merit: Array) -> Array:
    """Column that each row gets, -1 = none."""
    partner = np.full(len(possible), -1)
    rows, columns = linear_sum_assignment(np.where(possible, -1e3 - merit, 0.0))
    good = possible[rows, columns]
    partner[rows[good]] = columns[good]
    return partner


def share(values: Iterator[bool]) -> str:
    given = list(values)
    return f"{100 * sum(given) / len(given):.0f} %" if given else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--argoverse", type=Path, help="log of Argoverse 2: .f16.bin sweeps and annotations.csv")
    parser.add_argument("--kitti", type=Path, help="folder with N.bin, N.label.txt and N.calib.txt of KITTI's objects")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    sources = {"Simulated street, level": lambda: simulated(Ground()),
               "Simulated street, rising by 8 % from x = 15 m": lambda: simulated(Ground(0.08, 15))}  # fmt: skip
    for name, folder, read in (("Argoverse 2", options.argoverse, argoverse), ("KITTI", options.kitti, kitti)):
        if folder:
            if not folder.is_dir():
                raise DataError(f"there is no folder {folder}")
            sources[f"{name}, {folder.name}"] = lambda read=read, folder=folder: read(folder)

    head = ["found within 1 m / IoU 0.5 (boxes)", *(f"{a:g}-{b:g} m" for a, b in pairwise(RANGES)), "class right"]
    parts, values = [], {}
    for title, sweeps in sources.items():
        rows, precision, ms = measure(sweeps(), LidarDetector())
        told = "{} of {} proposals a sweep are within 1 m of a box; of those sure by 0.5, {} of {}".format(*precision)
        parts.append(f"## {title}\n\n{markdown(head, rows)}\n\n{told}. {ms:.0f} ms of processor time a sweep.")
        values[title] = {"rows": rows, "precision": precision, "ms": ms}
    times = {"scipy": [], "open3d": []}
    sweeps = [street(SEEDS[0]).sweep(number).cloud.points for number in range(0, 50, 5)]
    try:
        detectors = {name: LidarDetector(LidarSettings(clustering=name)) for name in times}
    except InvalidRequestError:  # Open3D is not installed
        detectors = {}
    for points in sweeps:
        for name, detect in detectors.items():
            began = time.process_time()
            detect(points)
            times[name].append(1e3 * (time.process_time() - began))
    if detectors:
        values["clustering_ms"] = {name: float(np.median(spent)) for name, spent in times.items()}
        told = ", ".join(f"{name} {ms:.0f} ms" for name, ms in values["clustering_ms"].items())
        parts.append(f"## Library that groups points\n\nMedian of a whole sweep, by turns: {told}.")
    text = "\n\n".join(parts)
    write("lidar", "Lidar proposals", values, text, options.out)
    print(text)


if __name__ == "__main__":
    main()

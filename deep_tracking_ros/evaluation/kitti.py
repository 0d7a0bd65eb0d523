"""Reader of the KITTI tracking benchmark: labels, calibration, camera poses, and results in its format.

Boxes in space come out in the frame of the camera with its axes named as on a robot: x forward, y left, z up, origin in
the rectified left camera (``boxes3d``). KITTI itself has x right, y down, z forward, the middle of the underside as
the place, and a yaw that turns about the axis pointing down.

Geiger, Lenz, Urtasun: Are we ready for autonomous driving? CVPR 2012; the tracking development kit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.geometry.boxes3d import Array, corners, wrap

PERIOD_NS = 100_000_000
"""Time between two frames: the laser turns at 10 Hz."""
DETECTION_CLASSES = {1: "Pedestrian", 2: "Car", 3: "Cyclist"}
IMAGE = (1242.0, 375.0)
"""Width and height of most images, px; the others are up to 18 px narrower and 5 px taller."""

# robot axes from KITTI's: x forward = z, y left = -x, z up = -y
_AXES = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one sequence, one row each, in the order of the file."""

    frame: NDArray[np.int64]  # (N,)
    boxes: Array  # (N, 7) see the module
    image_boxes: Array  # (N, 4) xyxy, px
    score: Array  # (N,) any scale; labels: 1
    id: NDArray[np.int64]  # (N,) -1 = none
    kind: NDArray[np.str_]  # (N,) class name as in KITTI, lower case
    truncation: NDArray[np.int64]  # (N,) 0 to 2
    occlusion: NDArray[np.int64]  # (N,) 0 to 3

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, rows: NDArray[np.bool_]) -> Objects:
        """Those where ``rows`` is true."""
        return Objects(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Sequence3D:
    """One sequence with truth and detections."""

    name: str
    frames: int
    truth: Objects
    detections: Objects
    projection: Array  # (3, 4) px from points in the frame of the boxes
    poses: Array  # (frames, 4, 4) place of the camera in a fixed frame, same axes


def read_sequences(data: Path, class_name: str) -> list[Sequence3D]:
    """The validation sequences of a folder.

    It holds ``evaluate_tracking.seqmap.val``, ``label_02/``, ``calib/``, ``detections/<detector>_<class_name>_val/``
    and ``poses*/``; without the last the camera is taken to stand still.

    Raises `DataError` for what is missing.
    """
    if class_name not in DETECTION_CLASSES.values():
        raise DataError(f"class {class_name!r} is unknown; known are {', '.join(DETECTION_CLASSES.values())}")
    folders = sorted(data.glob(f"detections/*_{class_name}_val"))
    if len(folders) != 1:
        raise DataError(f"{data} must have one folder detections/*_{class_name}_val, it has {len(folders)}")
    poses = sorted(folder for folder in data.glob("poses*") if folder.is_dir())
    found = []
    for line in _lines(data / "evaluate_tracking.seqmap.val"):
        name, _, _, end = line.split()
        # as the development kit has it: the last number is that of the last frame
        frames = int(end) + 1
        truth = read_labels(data / "label_02" / f"{name}.txt")
        frames = min(frames, len(_lines(poses[0] / f"{name}.txt"))) if poses else frames
        found.append(
            Sequence3D(
                name,
                frames,
                truth,
                read_detections(folders[0] / f"{name}.txt"),
                read_projection(data / "calib" / f"{name}.txt"),
                read_poses(poses[0] / f"{name}.txt") if poses else np.tile(np.eye(4), (frames, 1, 1)),
            )
        )
    return found


def read_labels(file: Path) -> Objects:
    """A label file, or results in the same format (with a score as the last column)."""
    rows = [line.split() for line in _lines(file)]
    if any(len(row) not in (17, 18) for row in rows):
        raise DataError(f"{file} is no KITTI tracking file: rows must have 17 columns, or 18 with a score")
    kind = np.array([row[2].lower() for row in rows], np.str_)
    table = np.array([[*row[:2], *row[3:17], row[17] if len(row) == 18 else 1] for row in rows], np.float64)
    table = table.reshape(-1, 17)
    whole = table[:, :4].astype(np.int64)
    height, width, length, x, y, z, turn = table[:, 9:16].T
    return Objects(
        frame=whole[:, 0],
        boxes=from_camera(np.stack([x, y, z, length, width, height, turn], 1)),
        image_boxes=table[:, 5:9],
        score=table[:, 16],
        id=whole[:, 1],
        kind=kind,
        truncation=whole[:, 2],
        occlusion=whole[:, 3],
    )


def read_detections(file: Path) -> Objects:
    """Detections as AB3DMOT keeps them: frame, class, x1, y1, x2, y2, score, h, w, l, x, y, z, ry, alpha; commas."""
    table = np.array([line.split(",") for line in _lines(file)], np.float64).reshape(-1, 15)
    height, width, length, x, y, z, turn = table[:, 7:14].T
    whole = table[:, :2].astype(np.int64)
    nothing = np.zeros(len(table), np.int64)
    return Objects(
        frame=whole[:, 0],
        boxes=from_camera(np.stack([x, y, z, length, width, height, turn], 1)),
        image_boxes=table[:, 2:6],
        score=table[:, 6],
        id=nothing - 1,
        kind=np.array([DETECTION_CLASSES[kind].lower() for kind in whole[:, 1]], np.str_),
        truncation=nothing,
        occlusion=nothing,
    )


def read_projection(file: Path) -> Array:
    """(3, 4) projection into the left colour camera, from the frame of the boxes."""
    for line in _lines(file):
        name, *numbers = line.replace(":", " ").split()
        if name == "P2":
            return np.asarray(np.array(numbers, np.float64).reshape(3, 4) @ _AXES.T)
    raise DataError(f"{file} has no P2")


def read_poses(file: Path) -> Array:
    """(T, 4, 4) camera to world of each frame, from rows of 3x4 numbers."""
    table = np.array([line.split() for line in _lines(file)], np.float64).reshape(-1, 3, 4)
    last = np.tile([[[0.0, 0, 0, 1]]], (len(table), 1, 1))
    return np.asarray(_AXES @ np.concatenate([table, last], 1) @ _AXES.T)


def from_camera(boxes: ArrayLike) -> Array:
    """(N, 7) boxes from KITTI's x, y, z (underside), l, w, h, ry to those of `boxes3d`."""
    x, y, z, length, width, height, turn = np.asarray(boxes, np.float64).T
    return np.stack([z, -x, height / 2 - y, length, width, height, wrap(-turn - np.pi / 2)], 1)


def project(boxes: Array, projection: Array) -> tuple[Array, NDArray[np.bool_]]:
    """(N, 4) outlines of boxes in the image, cut to it, and which of them are in view: in front, and on the image."""
    flat = np.repeat(corners(boxes), 2, axis=1)
    height = boxes[:, None, 2] + np.tile([-0.5, 0.5], 4) * boxes[:, None, 5]
    points = np.concatenate([flat, height[..., None]], -1)
    in_front = (points[..., 0] > 0.1).all(1)
    points[..., 0] = np.maximum(points[..., 0], 0.1)
    pixels = points @ projection[:, :3].T + projection[:, 3]
    pixels = pixels[..., :2] / pixels[..., 2:]
    limits = np.array(IMAGE) - 1
    box = np.concatenate([np.clip(pixels.min(1), 0, limits), np.clip(pixels.max(1), 0, limits)], 1)
    return box, in_front & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error

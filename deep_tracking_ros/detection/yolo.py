"""The YOLO networks whose output is decoded already: boxes in px of the network's image.

With objectness: YOLOv5 (G. Jocher et al., 2020), YOLOv6, YOLOv7 (C.-Y. Wang et al., CVPR 2023) and YOLOX exported with
its decoder. Without it: YOLOv8 and YOLO11 (G. Jocher et al., 2023, 2024), whose files have boxes in columns.
"""

from __future__ import annotations

from deep_tracking_ros.detection.family import (
    Candidates,
    Family,
    Preparation,
    Shape,
    Size,
    best_classes,
    corners,
    count_cells,
)
from deep_tracking_ros.types import FloatArray

LEVELS = ((8, 16, 32), (8, 16, 32, 64))
"""Strides of the usual networks and of those for large images."""
BOXES_PER_CELL = (1, 3)


def _is_grid(count: int, size: Size, per_cell: tuple[int, ...]) -> bool:
    return any(count == boxes * count_cells(size, strides) for boxes in per_cell for strides in LEVELS)


class YoloV5(Family):
    """(B, N, 5 + C): centre, sides, objectness and scores of classes."""

    name = "yolov5"
    layout = "batch x N x (5 + classes), N one or three per cell, decoded, with objectness"
    raw = False
    preparation = Preparation()

    def classes(self, shape: Shape, size: Size) -> int | None:
        if len(shape) != 3 or shape[2] < 6 or not _is_grid(shape[1], size, BOXES_PER_CELL):
            return None
        return shape[2] - 5

    def decode(self, output: FloatArray, size: Size, least: float) -> Candidates:
        best, kinds = best_classes(output[..., 5:])
        scores = best * output[..., 4]
        image, row = (scores >= least).nonzero()
        chosen = output[image, row]
        return Candidates(image, corners(chosen[:, :2], chosen[:, 2:4]), scores[image, row], kinds[image, row])


class YoloV8(Family):
    """(B, 4 + C, N): centre, sides and scores of classes."""

    name = "yolov8"
    layout = "batch x (4 + classes) x N, N one per cell, decoded, without objectness"
    raw = False
    preparation = Preparation()

    def classes(self, shape: Shape, size: Size) -> int | None:
        if len(shape) != 3 or shape[1] < 5 or not _is_grid(shape[2], size, (1,)):
            return None
        return shape[1] - 4

    def decode(self, output: FloatArray, size: Size, least: float) -> Candidates:
        rows = output.transpose(0, 2, 1)
        scores, kinds = best_classes(rows[..., 4:])
        image, row = (scores >= least).nonzero()
        chosen = rows[image, row]
        return Candidates(image, corners(chosen[:, :2], chosen[:, 2:4]), scores[image, row], kinds[image, row])


class YoloV8Rows(YoloV8):
    """(B, N, 4 + C): the same with boxes in rows."""

    name = "yolov8_rows"
    layout = "batch x N x (4 + classes), N one per cell, decoded, without objectness"

    def classes(self, shape: Shape, size: Size) -> int | None:
        return super().classes((shape[0], shape[2], shape[1]), size) if len(shape) == 3 else None

    def decode(self, output: FloatArray, size: Size, least: float) -> Candidates:
        return super().decode(output.transpose(0, 2, 1), size, least)

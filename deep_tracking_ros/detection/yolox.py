"""YOLOX as exported: one box per cell, not decoded.

Z. Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv:2107.08430: each cell of strides 8, 16 and 32 gives the
offset of the centre from its corner in strides, the logarithm of the sides in strides, objectness and classes.
"""

from __future__ import annotations

import numpy as np

from deep_tracking_ros.detection.family import (
    Candidates,
    Family,
    Preparation,
    Shape,
    Size,
    best_classes,
    cells,
    corners,
    count_cells,
)
from deep_tracking_ros.types import FloatArray

STRIDES = (8, 16, 32)
LARGEST = 20.0
"""Greatest logarithm of a side: what is beyond is no box and would overflow."""


class YoloX(Family):
    """(B, N, 5 + C): x, y, log w, log h, objectness and scores of classes, the latter from 0 to 1."""

    name = "yolox"
    layout = "batch x N x (5 + classes), N one per cell of strides 8, 16, 32, not decoded"
    raw = True
    preparation = Preparation(colour="bgr", std=(1.0, 1.0, 1.0), fit="corner")

    def classes(self, shape: Shape, size: Size) -> int | None:
        if len(shape) != 3 or shape[1] != count_cells(size, STRIDES) or shape[2] < 6:
            return None
        return shape[2] - 5

    def decode(self, output: FloatArray, size: Size, least: float) -> Candidates:
        best, kinds = best_classes(output[..., 5:])
        scores = best * output[..., 4]
        image, row = (scores >= least).nonzero()
        places, strides = cells(size, STRIDES)
        chosen, stride = output[image, row], strides[row]
        centres = (places[row] + chosen[:, :2]) * stride
        sides = np.exp(np.minimum(chosen[:, 2:4], LARGEST)) * stride
        return Candidates(image, corners(centres, sides), scores[image, row], kinds[image, row])

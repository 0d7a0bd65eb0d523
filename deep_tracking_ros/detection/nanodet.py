"""NanoDet and NanoDet-Plus (R. Lyu, github.com/RangiLyu/nanodet): distances to the sides as distributions.

X. Li et al., "Generalized Focal Loss", NeurIPS 2020: each side is 0 to REG_MAX strides away from the cell, the mean of
a distribution over these whole numbers. NanoDet has strides 8, 16, 32 and measures from the middle of the cell;
NanoDet-Plus has 64 too and measures from the corner.
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
    count_cells,
)
from deep_tracking_ros.types import FloatArray

REG_MAX = 7
"""Of all published networks."""
BINS = REG_MAX + 1


class NanoDetPlus(Family):
    """(B, N, C + 4 * 8): scores of classes from 0 to 1, then logits for left, top, right and bottom."""

    name = "nanodet_plus"
    layout = f"batch x N x (classes + {4 * BINS}), N one per cell of strides 8, 16, 32, 64"
    raw = True
    # the configurations of the source stretch images; channels blue, green, red
    preparation = Preparation("bgr", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), fit="stretch")
    strides: tuple[int, ...] = (8, 16, 32, 64)
    origin = 0.0  # strides from the corner of a cell to the point that distances are measured from

    def classes(self, shape: Shape, size: Size) -> int | None:
        if len(shape) != 3 or shape[1] != count_cells(size, self.strides) or shape[2] <= 4 * BINS:
            return None
        return shape[2] - 4 * BINS

    def decode(self, output: FloatArray, size: Size, least: float) -> Candidates:
        scores, kinds = best_classes(output[..., : -4 * BINS])
        image, row = (scores >= least).nonzero()
        places, strides = cells(size, self.strides)
        logits = output[image, row, -4 * BINS :].reshape(-1, 4, BINS)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        distances = (weights @ np.arange(BINS, dtype=np.float32)) / weights.sum(-1) * strides[row]
        points = (places[row] + self.origin) * strides[row]
        boxes = np.concatenate([points - distances[:, :2], points + distances[:, 2:]], 1)
        return Candidates(image, boxes.astype(np.float32), scores[image, row], kinds[image, row])


class NanoDet(NanoDetPlus):
    """The same without stride 64."""

    name = "nanodet"
    layout = f"batch x N x (classes + {4 * BINS}), N one per cell of strides 8, 16, 32"
    strides = (8, 16, 32)
    origin = 0.5

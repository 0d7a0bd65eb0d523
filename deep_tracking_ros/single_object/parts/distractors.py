"""Remember what only looked like the target, and do not take it for the target next time.

Z. Zhu, Q. Wang, B. Li, W. Wu, J. Yan, W. Hu, "Distractor-aware Siamese Networks for Visual Object Tracking" (ECCV
2018), section 3.3: proposals that score high beside the chosen one are distractors; afterwards a proposal's likeness
to them is taken off its likeness to the target (equation 2). Likeness is the cosine between mean backbone features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, iou_matrix, xyxy_to_cxcywh
from deep_tracking_ros.types import FloatArray

STRIDE = 16
FIRST = (STRIDE - 1) / 2
"""Crop px (pixel centres at integers) at which the first cell of the features lies."""
SAMPLES = np.array([-0.25, 0.0, 0.25], np.float32)
"""Where in a box features are read, along each side, in its sides from its centre."""
OVERLAP = 0.3
"""Proposals that overlap a better one more than this are the same one."""


def proposals(presence: FloatArray, boxes: FloatArray, count: int, least: float) -> NDArray[np.intp]:
    """The best offers that are not the same object, best first.

    Args:
        presence: (K,) probability of each offer.
        boxes: (K, 4) xyxy px.
        count: most that are wanted.
        least: share of the best presence below which an offer is none.
    """
    order = np.argsort(-presence, kind="stable")[: 16 * count]
    order = order[presence[order] >= least * presence[order[0]]]
    same = iou_matrix(boxes[order], boxes[order]) > OVERLAP
    chosen: list[int] = []
    for i in range(len(order)):
        if not same[i, chosen].any():
            chosen.append(i)
            if len(chosen) == count:
                break
    return np.asarray(order[chosen], np.intp)


def describe(late: FloatArray, boxes: FloatArray) -> FloatArray:
    """(N, C) unit vectors: mean of features (C, H, W) read at nine places in each box (N, 4) xyxy crop px."""
    states = xyxy_to_cxcywh(boxes)
    x = ((states[:, 0, None] + SAMPLES * states[:, 2, None]) - FIRST) / STRIDE  # (N, 3) cells
    y = ((states[:, 1, None] + SAMPLES * states[:, 3, None]) - FIRST) / STRIDE
    rows, columns = late.shape[1:]
    x, y = x.clip(0, columns - 1), y.clip(0, rows - 1)
    # bilinear interpolation as weights of all columns and rows
    over_x = (1 - np.abs(x[..., None] - np.arange(columns))).clip(0).mean(1)  # (N, W)
    over_y = (1 - np.abs(y[..., None] - np.arange(rows))).clip(0).mean(1)
    mean = np.einsum("nh,nw,chw->nc", over_y, over_x, late, optimize=True)
    norm: FloatArray = np.linalg.norm(mean, axis=1, keepdims=True)
    return np.asarray(mean / np.maximum(norm, 1e-6), np.float32)


def describe_target(late: FloatArray, size: FloatArray) -> FloatArray:
    """(C,) the same of a target of (2,) crop px in the middle of its template's features (C, H, W)."""
    middle = np.float32((late.shape[1] * STRIDE - 1) / 2)
    box = cxcywh_to_xyxy(np.array([[middle, middle, *size]], np.float32))
    return np.asarray(describe(late, box)[0], np.float32)


def advantage(described: FloatArray, target: FloatArray, distractors: FloatArray) -> FloatArray:
    """(N,) by how much proposals (N, C) are more like the target (C,) than like distractors (M, C); 0 without any."""
    if not len(distractors):
        return np.zeros(len(described), np.float32)
    return np.asarray(described @ target - (described @ distractors.T).mean(1), np.float32)

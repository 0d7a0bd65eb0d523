"""Of boxes that overlap, the best: greedy non-maximum suppression, without a loop over boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes import iou_matrix
from deep_tracking_ros.types import FloatArray

CONSIDERED = 1000
"""So many of the best boxes of an image are looked at: the cost is bounded, whatever a network says."""


def suppress(boxes: FloatArray, scores: FloatArray, kinds: NDArray[np.intp], overlap: float) -> NDArray[np.intp]:
    """Which boxes stay, best first: those that overlap no better one of their class that stays.

    Greedy suppression as a fixed point. With all boxes in, a box is out while a better one that is in overlaps it: each
    round settles at least the best box that was not settled, and a few rounds settle all.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        kinds: (N,) class.
        overlap: greatest intersection over union of two boxes of a class.

    Returns:
        (K,) rows; of equal scores the first row is the better one.
    """
    order = np.argsort(-scores, kind="stable")[:CONSIDERED]
    b, k = boxes[order], kinds[order]
    rivals = np.triu((iou_matrix(b, b) > overlap) & (k[:, None] == k), 1)  # [better, worse]
    stays = np.ones(len(order), bool)
    while True:
        after = ~rivals[stays].any(0)
        if (after == stays).all():
            return order[stays]
        stays = after

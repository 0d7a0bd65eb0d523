"""IoU-guided non-maximum suppression: of boxes on one object, the best placed one stays, not the surest.

B. Jiang, R. Luo, J. Mao, T. Xiao, Y. Jiang, "Acquisition of Localization Confidence for Accurate Object Detection"
(IoU-Net), ECCV 2018, section 3.2 and algorithm 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.types import FloatArray


def iou_guided_nms(
    boxes: ArrayLike, scores: ArrayLike, localisation: ArrayLike, threshold: float
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Keep one box of each cluster: the one whose predicted IoU is highest, with the highest score of the cluster.

    Ranked by the predicted IoU, each box that is still there suppresses all later ones that overlap it; ties go to
    the first. With ``localisation=scores`` this is the usual suppression by class confidence.

    Args:
        boxes: (..., N, 4) xyxy px; each set of N on its own.
        scores: (..., N) that the box shows the object (class confidence).
        localisation: (..., N) predicted IoU with the object (localisation confidence).
        threshold: IoU of two boxes above which they show the same object.

    Returns:
        Which boxes stay (..., N), and their scores (..., N), 0 for boxes that went.
    """
    b, s = np.asarray(boxes, np.float32), np.asarray(scores, np.float32)
    order = np.argsort(-np.asarray(localisation, np.float32), -1, kind="stable")
    b, s = np.take_along_axis(b, order[..., None], -2), np.take_along_axis(s, order, -1)
    same = iou(b[..., :, None, :], b[..., None, :, :]) > threshold
    kept = np.ones(s.shape, np.bool_)  # those that are not suppressed yet
    for rank in range(s.shape[-1]):
        cluster = same[..., rank, :] & kept & kept[..., rank, None]
        cluster[..., : rank + 1] = False  # those before it were looked at already
        best = np.maximum(s[..., rank], np.where(cluster, s, -np.inf).max(-1))
        s[..., rank] = best
        kept &= ~cluster
    stays, raised = np.empty_like(kept), np.empty_like(s)
    np.put_along_axis(stays, order, kept, -1)
    np.put_along_axis(raised, order, np.where(kept, s, np.float32(0)), -1)
    return stays, raised

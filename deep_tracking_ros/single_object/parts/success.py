"""Success of a tracker: Wu, Lim and Yang, "Object Tracking Benchmark" (PAMI 2015)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from deep_tracking_ros.types import FloatArray

THRESHOLDS = (np.arange(21) / 20).astype(np.float32)
"""Overlaps 0, 0.05, ..., 1 of the success curve; a frame succeeds where its overlap is strictly above."""


def success_curve(overlap: ArrayLike) -> FloatArray:
    """(21,) share of frames whose IoU (N,) is above each of `THRESHOLDS`; its mean is the success AUC."""
    above: FloatArray = (np.asarray(overlap, np.float32)[:, None] > THRESHOLDS).mean(0, dtype=np.float32)
    return above

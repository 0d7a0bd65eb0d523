"""How far a score can be trusted: stated against seen share of success (Guo et al., ICML 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.types import FloatArray

BINS = 10
"""Intervals of equal width from 0 to 1, as in `parts.calibration.calibration_error`."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Frames sorted by their score into `BINS` intervals. A frame without the target cannot be a success."""

    stated: FloatArray  # (BINS,) mean score; nan where there is no frame
    seen: FloatArray  # (BINS,) share of frames with IoU > 0.5; nan where there is no frame
    frames: NDArray[np.intp]  # (BINS,)
    absent: NDArray[np.intp]  # (BINS,) those of them without the target

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1: mean over all frames of the gap in their interval; nan without any."""
        total = int(self.frames.sum())
        gaps = np.abs(np.nan_to_num(self.stated - self.seen)) * self.frames
        return float(gaps.sum() / total) if total else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, one an interval; None for nan."""
        shares = {
            name: [None if np.isnan(value) else round(float(value), 6) for value in values]
            for name, values in (("stated", self.stated), ("seen", self.seen))
        }
        return {**shares, "frames": self.frames.tolist(), "absent": self.absent.tolist()}


def reliability(score: ArrayLike, success: ArrayLike, present: ArrayLike) -> Reliability:
    """Sort frames by score.

    Args:
        score: (n,) stated probability that IoU > 0.5; frames with nan are left out.
        success: (n,) whether it was.
        present: (n,) whether the target was in view.
    """
    p, y, there = np.asarray(score, np.float64), np.asarray(success, np.float64), np.asarray(present, np.bool_)
    known = p >= 0
    p, y, there = p[known], y[known], there[known]
    number = np.minimum((p * BINS).astype(int), BINS - 1)
    frames = np.bincount(number, minlength=BINS)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the nan of an empty interval
        stated, seen = (np.bincount(number, values, BINS) / frames for values in (p, y))
    absent = np.bincount(number[~there], minlength=BINS)
    return Reliability(stated.astype(np.float32), seen.astype(np.float32), frames, absent)

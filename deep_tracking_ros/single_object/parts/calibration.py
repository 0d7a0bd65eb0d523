"""From a network's confidence to the probability that the box is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deep_tracking_ros.errors import DataError, ModelError
from deep_tracking_ros.types import FloatArray

GAP = 1.1e-3
"""Knots are further apart than this, so that they stay apart in a card, which has three decimals."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A monotone curve, linear between its knots and level outside of them."""

    raw: FloatArray  # (n,) strictly rising
    probability: FloatArray  # (n,) not falling, 0 to 1

    @classmethod
    def from_card(cls, values: Mapping[str, Any]) -> Calibration:
        """The curve of a model card. Raises `ModelError` where it is none."""
        raw = np.asarray(values.get("raw", ()), np.float32)
        probability = np.asarray(values.get("probability", ()), np.float32)
        good = raw.ndim == 1 and raw.shape == probability.shape and raw.size >= 2
        if not (good and (np.diff(raw) > 0).all() and (np.diff(probability) >= 0).all()):
            raise ModelError(
                "calibration of the model card must hold 'raw' and 'probability' of equal length, at least 2, "
                f"both rising; it has {raw.tolist()} and {probability.tolist()}"
            )
        if probability[0] < 0 or probability[-1] > 1:
            raise ModelError(f"probabilities of the model card go from {probability[0]} to {probability[-1]}")
        return cls(raw, probability)

    def __call__(self, raw: ArrayLike) -> FloatArray:
        """Probability of each raw confidence, same shape."""
        return np.interp(np.asarray(raw, np.float64), self.raw, self.probability).astype(np.float32)

    @classmethod
    def fit(cls, raw: ArrayLike, success: ArrayLike, knots: int = 12) -> Calibration:
        """Isotonic regression of success (0 or 1) on raw confidence, thinned to about ``knots`` knots.

        Knots lie at equal shares of successes and failures alike, so that each is carried by many samples and the rarer
        kind is not left to one knot; the curve's ends keep away from 0 and 1 by half a sample of their share.

        Raises `DataError` where that gives less than two knots: of few samples, or of one confidence.
        """
        from scipy.optimize import isotonic_regression

        x, y = np.asarray(raw, np.float64).ravel(), np.asarray(success, np.float64).ravel()
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
        if len(x) < 4:
            raise DataError(f"a curve needs 4 frames at least, there are {len(x)}; give longer clips, or more")
        weight = np.where(y > 0, 1 / max(y.sum(), 1), 1 / max((1 - y).sum(), 1))
        share = (np.cumsum(weight) - weight / 2) / weight.sum()
        number = (share * min(knots, len(x) // 2)).astype(int)
        groups = np.split(np.arange(len(x)), np.flatnonzero(np.diff(number)) + 1)
        centres = np.array([x[group].mean() for group in groups])
        # Laplace's rule in each group keeps the ends off 0 and 1
        shares = np.array([(y[group].sum() + 0.5) / (len(group) + 1) for group in groups])
        fitted = isotonic_regression(shares, weights=np.array([len(group) for group in groups], np.float64)).x
        keep = np.concatenate([[True], np.diff(centres) > GAP])
        if keep.sum() < 2:
            raise DataError(
                f"the confidence is {x[0]:g} to {x[-1]:g} in all {len(x)} frames, there is no curve through one point: "
                "give clips in which following is hard at times"
            )
        return cls(centres[keep].astype(np.float32), fitted[keep].astype(np.float32))


def calibration_error(probability: ArrayLike, success: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error (Guo et al., ICML 2017): mean gap between stated and seen share of success.

    Args:
        probability: (n,) stated; nan and negative numbers mean that there was none and are left out.
        success: (n,) what happened.
        bins: number of intervals of equal width.

    Returns:
        0 (calibrated) to 1; nan without any probability.
    """
    p, y = np.asarray(probability, np.float64), np.asarray(success, np.float64)
    known = p >= 0
    p, y = p[known], y[known]
    if not len(p):
        return float("nan")
    number = np.minimum((p * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(number, p - y, bins)).sum() / len(p))

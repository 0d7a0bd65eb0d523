"""From a box that overlaps the target to the target's box, by ridge regression on the features in the box.

R. Girshick, J. Donahue, T. Darrell, J. Malik, "Rich feature hierarchies" (R-CNN), CVPR 2014, appendix C; MDNet (H.
Nam, B. Han, CVPR 2016, section 4.3) learns it once, in the first image, since later ones are not certain enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.types import FloatArray

LARGEST_GROWTH = 0.5
"""Most that the logarithm of a side changes: beyond what it was taught, regression is a guess."""


@dataclass(frozen=True, eq=False)
class BoxRegression:
    """A linear map from features (D,) to shift (in sides) and growth (logarithms) of a box."""

    weights: FloatArray  # (D, 4)
    mean_features: FloatArray  # (D,)
    mean_change: FloatArray  # (4,) for mean features

    @classmethod
    def fit(cls, features: ArrayLike, boxes: ArrayLike, target: ArrayLike, penalty: float) -> BoxRegression:
        """Learn the way from boxes to the target's box.

        Args:
            features: (N, D) of the boxes.
            boxes: (N, 4) xyxy px, each overlapping the target by more than half.
            target: (4,) xyxy px.
            penalty: lambda of the weights' squares, against the sum over the N boxes (1000 in R-CNN).
        """
        x, states = np.asarray(features, np.float64), xyxy_to_cxcywh(boxes).astype(np.float64)
        to = xyxy_to_cxcywh(target).astype(np.float64)
        y = np.concatenate([(to[:2] - states[:, :2]) / states[:, 2:], np.log(to[2:] / states[:, 2:])], 1)
        mean_x, mean_y = x.mean(0), y.mean(0)
        x, y = x - mean_x, y - mean_y
        weights: NDArray[np.float64]
        if len(x) < x.shape[1]:  # the same weights from the smaller system
            weights = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
        else:
            weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
        return cls(weights.astype(np.float32), mean_x.astype(np.float32), mean_y.astype(np.float32))

    def __call__(self, features: ArrayLike, boxes: ArrayLike) -> FloatArray:
        """Boxes (N, 4) xyxy px moved to where their features (N, D) say that the target is."""
        change = (np.asarray(features, np.float32) - self.mean_features) @ self.weights + self.mean_change
        states = xyxy_to_cxcywh(boxes)
        centres = states[:, :2] + change[:, :2].clip(-1, 1) * states[:, 2:]
        sizes = states[:, 2:] * np.exp(change[:, 2:].clip(-LARGEST_GROWTH, LARGEST_GROWTH))
        return cxcywh_to_xyxy(np.concatenate([centres, sizes], 1))

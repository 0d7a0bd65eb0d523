"""Constant-velocity Kalman filter of boxes, for all targets at once and with the real time between frames.

Centre x, centre y, width and height are four independent axes, each with a position and a velocity that is driven by
white acceleration noise (Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation,
2001, section 6.2.2). All noise is relative to the size of the box: a near object moves faster in pixels, and its
edges are less well known. The functions take any leading axes and never change their arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.geometry.boxes import xyxy_to_cxcywh
from deep_tracking_ros.types import FloatArray

Array = NDArray[np.float64]

# in sizes (sqrt(w * h)) of the box; size changes less than place
SPEED = np.array([2.0, 2.0, 0.5, 0.5])
"""Standard deviation of the unknown velocity at start, sizes/s."""
ACCELERATION = np.array([4.0, 4.0, 1.0, 1.0])
"""Acceleration noise: the velocity's standard deviation after one second, sizes/s."""
SURE, UNSURE = 0.03, 0.5
"""Standard deviation of a measured box at score 1 and at score 0, sizes."""
SMALLEST = 1.0
"""Smallest size and smallest side of a predicted box, px."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Belief about where boxes are and how they move."""

    mean: Array  # (..., 4, 2): cx, cy, w, h; position in px and velocity in px/s
    covariance: Array  # (..., 4, 2, 2): of position and velocity of each axis

    def __getitem__(self, index: int) -> Motion:
        return Motion(self.mean[index], self.covariance[index])

    @property
    def position(self) -> FloatArray:
        """(..., 4) cx, cy, w, h in px."""
        return self.mean[..., 0].astype(np.float32)

    @property
    def velocity(self) -> FloatArray:
        """(..., 4) of cx, cy, w, h in px/s."""
        return self.mean[..., 1].astype(np.float32)

    @property
    def position_covariance(self) -> FloatArray:
        """(..., 4, 4) of cx, cy, w, h in px^2."""
        return (self.covariance[..., 0, 0][..., None] * np.eye(4)).astype(np.float32)


def stack(motions: Sequence[Motion]) -> Motion:
    """Several beliefs as one, along a new first axis."""
    return Motion(np.stack([m.mean for m in motions]), np.stack([m.covariance for m in motions]))


def start(boxes: ArrayLike, score: ArrayLike = 1.0) -> Motion:
    """Belief from a first sight of boxes (..., 4) xyxy px: their place is known, their velocity is not."""
    position = xyxy_to_cxcywh(boxes).astype(np.float64)
    size = _size(position)
    mean = np.stack([position, np.zeros_like(position)], -1)
    covariance = np.zeros((*mean.shape, 2))
    covariance[..., 0, 0] = _measurement_variance(size, score)
    covariance[..., 1, 1] = (SPEED * size) ** 2
    return Motion(mean, covariance)


def predict(motion: Motion, dt: ArrayLike) -> Motion:
    """Belief ``dt`` seconds (scalar or (...)) later; it is less sure, the more so the longer it is."""
    t = np.asarray(dt, np.float64)[..., None]  # one per target, the same for its axes
    mean = motion.mean.copy()
    mean[..., 0] += t * mean[..., 1]
    noise = (ACCELERATION * _size(motion.mean[..., 0])) ** 2
    p, pv, v = _entries(motion.covariance)
    covariance = _matrix(
        p + 2 * t * pv + t**2 * v + noise * t**3 / 3,
        pv + t * v + noise * t**2 / 2,
        v + noise * t,
    )
    mean[..., 2:, 0] = np.maximum(mean[..., 2:, 0], SMALLEST)
    return Motion(mean, covariance)


def update(motion: Motion, boxes: ArrayLike, scores: ArrayLike) -> Motion:
    """Belief after boxes (..., 4) xyxy px were measured with calibrated scores (...), 0 to 1."""
    measured = xyxy_to_cxcywh(boxes).astype(np.float64)
    r = _measurement_variance(_size(measured), scores)
    p, pv, v = _entries(motion.covariance)
    innovation = measured - motion.mean[..., 0]
    s = p + r
    gain = np.stack([p / s, pv / s], -1)
    # (I - K H) P without its differences of near numbers, so that rounding cannot make it indefinite
    determinant = np.maximum(p * v - pv**2, 0)
    covariance = _matrix(p * r / s, pv * r / s, (determinant + r * v) / s)
    return Motion(motion.mean + gain * innovation[..., None], covariance)


def measured(motion: Motion, boxes: ArrayLike, scores: ArrayLike) -> Motion:
    """Belief centred on the boxes (..., 4) xyxy px that `update` was given last, in place of the filtered position.

    A measured box errs more than the filtered one. The error that it shares with the filtered velocity is, for the
    gain K of the filter, K_v R = P_v H' R / S, which is the entry of the covariance after the update.
    """
    position = xyxy_to_cxcywh(boxes).astype(np.float64)
    _, pv, v = _entries(motion.covariance)
    mean = np.stack([position, motion.mean[..., 1]], -1)
    return Motion(mean, _matrix(_measurement_variance(_size(position), scores), pv, v))


def _size(position: Array) -> Array:
    """(..., 1) sqrt(w * h) of (..., 4) cx, cy, w, h, px."""
    sides = np.maximum(position[..., 2:], SMALLEST)
    return np.asarray(np.sqrt(np.prod(sides, -1, keepdims=True)))


def _measurement_variance(size: Array, scores: ArrayLike) -> Array:
    """(..., 4) px^2; the standard deviation goes geometrically from SURE at score 1 to UNSURE at score 0."""
    score = np.clip(np.asarray(scores, np.float64), 0, 1)[..., None]
    return np.asarray(np.broadcast_to((size * SURE**score * UNSURE ** (1 - score)) ** 2, (*size.shape[:-1], 4)))


def _entries(covariance: Array) -> tuple[Array, Array, Array]:
    return covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]


def _matrix(position: Array, cross: Array, velocity: Array) -> Array:
    return np.stack([np.stack([position, cross], -1), np.stack([cross, velocity], -1)], -2)

"""Constant-velocity Kalman filter of many boxes at once, with the real time between frames.

Centre x, centre y, width and height are four independent axes with a position and a velocity each. Driving noise is
white acceleration (Bar-Shalom, Li and Kirubarajan, 2001, section 6.2.2) and white jitter of the position, as the boxes
of people whose limbs move have it; all noise is relative to the size of the box (Wojke, Bewley and Paulus, ICIP 2017).
Since it is the same for the four axes, and all four are always measured together, they share one 2x2 covariance:
nothing is ever inverted.

A belief about N boxes is an (11, N) float64 array: rows PLACE are cx, cy, w, h in px, rows VELOCITY those of them in
px/s, rows COVARIANCE the entries pp (px^2), pv (px^2/s) and vv (px^2/s^2) of each axis. Arguments are never changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PLACE, VELOCITY, COVARIANCE, LENGTH = slice(0, 4), slice(4, 8), slice(8, 11), 11
SMALLEST = 1.0
"""Smallest width and height of a belief, px."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations, in sizes of the box (sqrt(w * h)). Defaults are those of ByteTrack's filter at 30 Hz."""

    measurement: float = 0.05  # of a detected box
    jitter: float = 0.27  # of the place after one second without acceleration
    speed: float = 2.0  # of the unknown velocity at first sight, 1/s
    acceleration: float = 1.0  # of the velocity after one second, 1/s


def start(boxes: Array, noise: Noise) -> Array:
    """Belief from a first sight of boxes (4, N) cx, cy, w, h in px: their velocity is not known."""
    size = boxes[2] * boxes[3]
    belief = np.zeros((LENGTH, boxes.shape[1]))
    belief[PLACE] = boxes
    belief[8] = (2 * noise.measurement) ** 2 * size
    belief[10] = noise.speed**2 * size
    return belief


def predict(belief: Array, dt: float | Array, noise: Noise) -> Array:
    """Belief ``dt`` seconds (scalar or (N,)) later."""
    size = belief[2] * belief[3]
    power = noise.acceleration**2 * dt
    drift = dt * belief[10]
    later = belief.copy()
    later[PLACE] += dt * belief[VELOCITY]
    later[8] += dt * (2 * belief[9] + drift) + (power * dt * dt / 3 + noise.jitter**2 * dt) * size
    later[9] += drift + (power * dt / 2) * size
    later[10] += power * size
    sides = later[2:4]
    np.maximum(sides, SMALLEST, out=sides)
    return later


def update(belief: Array, boxes: Array, noise: Noise) -> Array:
    """Belief after boxes (4, N) cx, cy, w, h in px were measured."""
    r = noise.measurement**2 * (belief[2] * belief[3])
    gain = belief[8:10] / (belief[8] + r)
    innovation = boxes - belief[PLACE]
    after = belief.copy()
    after[PLACE] += gain[0] * innovation
    after[VELOCITY] += gain[1] * innovation
    after[8:10] = gain * r
    after[10] -= gain[1] * belief[9]
    sides = after[2:4]
    np.maximum(sides, SMALLEST, out=sides)
    return after


def warp(belief: Array, matrix: Array) -> Array:
    """Belief in the next image, where the camera's motion moved the picture by a (2, 3) similarity."""
    turn = matrix[:, :2]
    area = abs(float(np.linalg.det(turn)))
    moved: Array = belief * np.sqrt(area)
    moved[0:2] = turn @ belief[0:2] + matrix[:, 2:]
    moved[4:6] = turn @ belief[4:6]
    moved[COVARIANCE] = belief[COVARIANCE] * area
    return moved

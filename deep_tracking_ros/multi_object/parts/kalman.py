"""Constant-velocity Kalman filter of many boxes at once, with the real time between frames.

Centre x, centre y, width and height are four independent axes with a position and a velocity each. Driving noise is
white acceleration (Bar-Shalom, Li and Kirubarajan, 2001, section 6.2.2) and white jitter of the position, as the boxes
of people whose limbs move have it; all noise is relative to the size of the box (Wojke, Bewley and Paulus, ICIP 2017).
Since it is the same for the four axes, and all four are always measured together, they share one 2x2 covariance:
nothing is ever inverted.

A belief about N boxes is a (12, N) float64 array: rows PLACE are cx, cy, w, h in px, rows VELOCITY those of them in
px/s, rows COVARIANCE the entries pp (px^2), pv (px^2/s) and vv (px^2/s^2) of each axis, and row AREA is w * h. Written
so, all of it, means, covariance and noise, obeys one linear differential equation while nothing is measured: it is
predicted by one product with a 12x12 matrix, however many boxes there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
PLACE, VELOCITY, COVARIANCE, AREA, LENGTH = slice(0, 4), slice(4, 8), slice(8, 11), 11, 12
WIDTH, HEIGHT, PP, PV, VV = 2, 3, 8, 9, 10
SMALLEST = 1.0
"""Smallest width and height of a belief, px."""
BLOCK = 256
"""Most columns of one matrix product."""
TARGETS = np.concatenate([np.eye(4), np.eye(4), np.zeros((3, 4))])
"""(11, 4) from a box cx, cy, w, h to what all but the area of a belief is drawn to by a measurement: place and velocity
by its distance from the box, the covariance to nothing. How far, is told by the two gains of place and velocity."""
_MEASURED = np.array([0, 1, 2, 3, 0, 1, 2, 3, PP, PV, PV])
_GAIN = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1])


@dataclass(frozen=True)
class Noise:
    """Standard deviations, in sizes of the box (sqrt(w * h)). Defaults are those of ByteTrack's filter at 30 Hz."""

    measurement: float = 0.05  # of a detected box
    jitter: float = 0.27  # of the place after one second without acceleration
    speed: float = 2.0  # of the unknown velocity at first sight, 1/s
    acceleration: float = 1.0  # of the velocity after one second, 1/s


class Filter:
    """The filter with one set of noise; it knows no boxes."""

    def __init__(self, noise: Noise) -> None:
        self.noise = noise
        self._variance = noise.measurement**2
        rate = np.zeros((LENGTH, LENGTH))  # of change of a belief, as a linear differential equation
        rate[PLACE, VELOCITY] = np.eye(4)
        rate[PP, PV], rate[PV, VV] = 2, 1
        rate[PP, AREA], rate[VV, AREA] = noise.jitter**2, noise.acceleration**2
        # exp(rate * dt) carries a belief dt seconds on; its series ends with the third power
        self._series = np.stack([np.eye(LENGTH), rate, rate @ rate / 2, rate @ rate @ rate / 6])
        self._transition = lru_cache(maxsize=8)(self._transition_over)  # most cameras have few different dt

    def start(self, boxes: Array) -> Array:
        """Belief from a first sight of boxes (4, N) cx, cy, w, h in px: their velocity is not known."""
        belief = np.zeros((LENGTH, boxes.shape[1]))
        belief[PLACE] = boxes
        belief[AREA] = area = boxes[WIDTH] * boxes[HEIGHT]
        belief[PP] = (2 * self.noise.measurement) ** 2 * area
        belief[VV] = self.noise.speed**2 * area
        return belief

    def predict(self, belief: Array, dt: float) -> Array:
        """Belief ``dt`` seconds later."""
        return _with_area(product(self._transition(dt), belief))

    def predict_each(self, belief: Array, dt: Array) -> Array:
        """Belief with a time of its own, (N,) seconds, for each box."""
        series = self._series.dot(belief)  # (4, 12, N)
        return _with_area((series * dt ** np.arange(4.0)[:, None, None]).sum(0))

    def update(self, belief: Array, targets: Array, found: Flags | None = None) -> None:
        """Take in, in place, what was measured (11, N), see `TARGETS`; only where ``found`` (N,), if that is given."""
        variance = self._variance * belief[AREA]
        gain = belief[PP:VV] / (belief[PP] + variance)
        if found is not None:
            gain *= found
        belief[:AREA] += gain.take(_GAIN, 0) * (targets - belief.take(_MEASURED, 0))
        # the same for pp and pv; no digit of them is lost where the prediction was far less certain than the box
        np.copyto(belief[PP:VV], gain * variance, where=True if found is None else found)
        np.multiply(belief[WIDTH], belief[HEIGHT], out=belief[AREA])

    def _transition_over(self, dt: float) -> Array:
        return np.asarray((self._series * dt ** np.arange(4.0)[:, None, None]).sum(0))


def product(matrix: Array, columns: Array) -> Array:
    """``matrix @ columns``, in blocks of columns so small that BLAS starts no threads: with each number of threads it
    would round differently."""
    if columns.shape[1] <= BLOCK:
        small: Array = matrix.dot(columns)
        return small
    blocks = range(0, columns.shape[1], BLOCK)
    return np.concatenate([matrix.dot(columns[:, begin : begin + BLOCK]) for begin in blocks], 1)


def warp(belief: Array, matrix: Array) -> Array:
    """Belief in the next image, where the camera's motion moved the picture by a (2, 3) similarity."""
    turn = matrix[:, :2]
    area = abs(float(np.linalg.det(turn)))
    moved: Array = belief * np.sqrt(area)
    moved[0:2] = turn @ belief[0:2] + matrix[:, 2:]
    moved[4:6] = turn @ belief[4:6]
    moved[COVARIANCE] = belief[COVARIANCE] * area
    return _with_area(moved)


def _with_area(belief: Array) -> Array:
    sides = belief[WIDTH : HEIGHT + 1]
    np.maximum(sides, SMALLEST, out=sides)
    np.multiply(belief[WIDTH], belief[HEIGHT], out=belief[AREA])
    return belief

"""How objects move in space: Kalman filters over all tracks at once.

The state has 10 numbers in a fixed frame with z up. The first 7 are a box (`boxes3d`), so both models are measured in
the same way; the last 3 are the motion: (vx, vy, vz) of `ConstantVelocity`, (speed, turn rate, vz) of `ConstantTurn`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes3d import Array, wrap

STATE, BOX = 10, 7
X, Y, Z, LENGTH, WIDTH, HEIGHT, YAW = range(BOX)
_STRAIGHT = 1e-3
"""Turn rate below which a path counts as straight, rad/s: the arc differs by less than 1 mm over 1 m."""


@dataclass(frozen=True)
class Noise:
    """What is known of one class of objects and of its detections; all are standard deviations."""

    position: float  # m, of a detected centre
    size: float  # m, of a detected length, width, height
    yaw: float  # rad, of a detected heading, apart from flips by half a turn
    speed: float  # m/s, of objects at first sight
    acceleration: float  # m/s^2 over one second, along the ground
    turn: float  # rad/s, of turn rates at first sight
    turn_acceleration: float  # rad/s^2 over one second
    climb: float  # m/s^2 over one second, upwards

    @property
    def row(self) -> tuple[float, ...]:
        """The numbers, in order."""
        return tuple(vars(self).values())


@dataclass(eq=False)
class Belief:
    """What is believed of N objects."""

    mean: Array  # (N, 10)
    covariance: Array  # (N, 10, 10)


@dataclass(frozen=True, eq=False)
class Velocity:
    """How N objects move, over ground."""

    mean: Array  # (N, 4) vx, vy, vz (m/s), turn rate (rad/s)
    covariance: Array  # (N, 4, 4)


class Motion(ABC):
    """A motion model. ``noise`` is (N, 8), the row of each object's `Noise`; ``dt`` is in seconds."""

    def start(self, boxes: Array, noise: Array) -> Belief:
        """Objects seen once: at rest as far as we know, and we know little."""
        mean = np.concatenate([boxes, np.zeros((len(boxes), STATE - BOX))], 1)
        variance = np.concatenate([measurement_noise(noise), self.first_motion(noise)], 1)
        return Belief(mean, variance[:, :, None] * np.eye(STATE))

    @abstractmethod
    def first_motion(self, noise: Array) -> Array:
        """(N, 3) variance of the motion at first sight."""

    @abstractmethod
    def predict(self, belief: Belief, noise: Array, dt: float) -> Belief:
        """What is believed ``dt`` later."""

    @abstractmethod
    def velocity(self, belief: Belief) -> Velocity:
        """The motion, over ground."""

    @abstractmethod
    def turn_round(self, belief: Belief, rows: NDArray[np.bool_]) -> None:
        """Take front for back where ``rows`` is true; the objects move on as before."""

    def update(self, belief: Belief, boxes: Array, noise: Array) -> tuple[Belief, NDArray[np.bool_]]:
        """What is believed after each object was seen as a box (N, 7), and whether its heading agreed.

        Detectors mistake front for back: a heading off by more than a quarter turn is read the other way round.
        """
        residual = boxes - belief.mean[:, :BOX]
        angle = wrap(residual[:, YAW])
        agrees = np.abs(angle) <= np.pi / 2
        residual[:, YAW] = np.where(agrees, angle, wrap(angle + np.pi))
        prior = belief.covariance
        r = measurement_noise(noise)[:, :, None] * np.eye(BOX)
        gain = np.linalg.solve(prior[:, :BOX, :BOX] + r, prior[:, :BOX, :]).transpose(0, 2, 1)
        mean = belief.mean + (gain @ residual[:, :, None])[:, :, 0]
        mean[:, YAW] = wrap(mean[:, YAW])
        mean[:, LENGTH : HEIGHT + 1] = np.maximum(mean[:, LENGTH : HEIGHT + 1], 0.01)
        # Joseph's form stays symmetric and positive where the short form loses digits
        keep = np.tile(np.eye(STATE), (len(mean), 1, 1))
        keep[:, :, :BOX] -= gain
        covariance = keep @ prior @ keep.transpose(0, 2, 1) + gain @ r @ gain.transpose(0, 2, 1)
        return Belief(mean, (covariance + covariance.transpose(0, 2, 1)) / 2), agrees


class ConstantVelocity(Motion):
    """Straight on at the same speed; the heading is that of the box and does not steer."""

    def first_motion(self, noise: Array) -> Array:
        speed = noise[:, 3]
        return np.stack([speed**2, speed**2, (speed / 10) ** 2], 1)

    def predict(self, belief: Belief, noise: Array, dt: float) -> Belief:
        mean = belief.mean.copy()
        mean[:, :3] += dt * mean[:, BOX:]
        step = np.eye(STATE)
        step[[0, 1, 2], [7, 8, 9]] = dt
        covariance = step @ belief.covariance @ step.T
        for axis, kind in ((X, 4), (Y, 4), (Z, 7)):
            _add_white(covariance, axis, BOX + axis, noise[:, kind], dt)
        _add_box_noise(covariance, noise, dt)
        covariance[:, YAW, YAW] += (noise[:, 5] * dt) ** 2
        return Belief(mean, covariance)

    def velocity(self, belief: Belief) -> Velocity:
        n = len(belief.mean)
        mean = np.concatenate([belief.mean[:, BOX:], np.zeros((n, 1))], 1)
        covariance = np.zeros((n, 4, 4))
        covariance[:, :3, :3] = belief.covariance[:, BOX:, BOX:]
        covariance[:, 3, 3] = belief.covariance[
            :, YAW, YAW
        ]  # turns are not estimated: within the heading's doubt, a second
        return Velocity(mean, covariance)

    def turn_round(self, belief: Belief, rows: NDArray[np.bool_]) -> None:
        belief.mean[rows, YAW] = wrap(belief.mean[rows, YAW] + np.pi)


class ConstantTurn(Motion):
    """Along the heading at the same speed, turning at the same rate; linearised about the mean (extended filter)."""

    def first_motion(self, noise: Array) -> Array:
        return np.stack([noise[:, 3] ** 2, noise[:, 5] ** 2, (noise[:, 3] / 10) ** 2], 1)

    def predict(self, belief: Belief, noise: Array, dt: float) -> Belief:
        mean = belief.mean.copy()
        yaw, speed, turn = mean[:, YAW], mean[:, 7], mean[:, 8]
        # the way along an arc is the chord, seen under the heading in its middle
        half = turn * dt / 2
        middle = yaw + half
        sinc = np.sinc(half / np.pi)
        slope = np.where(np.abs(half) > _STRAIGHT, (np.cos(half) - sinc) / np.where(half == 0, 1, half), -half / 3)
        chord = dt * sinc
        cos, sin = np.cos(middle), np.sin(middle)
        step = np.tile(np.eye(STATE), (len(mean), 1, 1))
        step[:, X, YAW], step[:, Y, YAW] = -speed * chord * sin, speed * chord * cos
        step[:, X, 7], step[:, Y, 7] = chord * cos, chord * sin
        step[:, X, 8] = speed * dt * dt / 2 * (slope * cos - sinc * sin)
        step[:, Y, 8] = speed * dt * dt / 2 * (slope * sin + sinc * cos)
        step[:, YAW, 8] = step[:, Z, 9] = dt
        mean[:, X] += speed * chord * cos
        mean[:, Y] += speed * chord * sin
        mean[:, Z] += dt * mean[:, 9]
        mean[:, YAW] = wrap(yaw + turn * dt)
        covariance = step @ belief.covariance @ step.transpose(0, 2, 1)
        # acceleration is known neither in size nor in direction, so the place gets as much of it sideways
        for axis in (X, Y):
            covariance[:, axis, axis] += noise[:, 4] ** 2 * dt**3 / 3
        covariance[:, 7, 7] += noise[:, 4] ** 2 * dt
        _add_white(covariance, YAW, 8, noise[:, 6], dt)
        _add_white(covariance, Z, 9, noise[:, 7], dt)
        _add_box_noise(covariance, noise, dt)
        return Belief(mean, covariance)

    def velocity(self, belief: Belief) -> Velocity:
        yaw, speed = belief.mean[:, YAW], belief.mean[:, 7]
        cos, sin = np.cos(yaw), np.sin(yaw)
        mean = np.stack([speed * cos, speed * sin, belief.mean[:, 9], belief.mean[:, 8]], 1)
        slope = np.zeros((len(yaw), 4, STATE))
        slope[:, 0, 7], slope[:, 1, 7] = cos, sin
        slope[:, 0, YAW], slope[:, 1, YAW] = -speed * sin, speed * cos
        slope[:, 2, 9] = slope[:, 3, 8] = 1
        covariance = slope @ belief.covariance @ slope.transpose(0, 2, 1)
        # of an object at rest the first order says that it will not move sideways, but its speed may be anything
        sideways = (
            np.stack([-sin, cos], 1) * np.sqrt(belief.covariance[:, 7, 7] * belief.covariance[:, YAW, YAW])[:, None]
        )
        covariance[:, :2, :2] += sideways[:, :, None] * sideways[:, None, :]
        return Velocity(mean, covariance)

    def turn_round(self, belief: Belief, rows: NDArray[np.bool_]) -> None:
        belief.mean[rows, YAW] = wrap(belief.mean[rows, YAW] + np.pi)
        belief.mean[rows, 7] *= -1
        sign = np.ones(STATE)
        sign[7] = -1
        belief.covariance[rows] *= sign[:, None] * sign


MODELS: dict[str, Motion] = {"constant_velocity": ConstantVelocity(), "constant_turn": ConstantTurn()}


def measurement_noise(noise: Array) -> Array:
    """(N, 7) variances of a detected box."""
    position, size, yaw = noise[:, 0], noise[:, 1], noise[:, 2]
    return np.stack([position, position, position, size, size, size, yaw], 1) ** 2


def _add_white(covariance: Array, place: int, rate: int, density: Array, dt: float) -> None:
    """Noise of a rate that is pushed at random all the time (white noise acceleration), over dt."""
    q = density**2
    covariance[:, place, place] += q * dt**3 / 3
    covariance[:, place, rate] += q * dt**2 / 2
    covariance[:, rate, place] += q * dt**2 / 2
    covariance[:, rate, rate] += q * dt


def _add_box_noise(covariance: Array, noise: Array, dt: float) -> None:
    """Sizes do not change, but the part of an object that is seen does: a tenth of the detector's doubt a second."""
    for axis in (LENGTH, WIDTH, HEIGHT):
        covariance[:, axis, axis] += (noise[:, 1] / 10) ** 2 * dt

"""Smooth motion of flat textured surfaces: where a texture's points lie in the picture at any time, exactly.

A surface is drawn in two steps. A *deformation* turns flat coordinates y into texture coordinates, u = y + d(y, t);
a *motion* puts the flat plane into the picture by a homography H(t). Rendering asks for the texture under a pixel,
which is explicit: u = y + d(y, t) with y = H(t)^-1 x. Following a texture point through time needs the other
direction, y = u - d(y, t), solved by fixed-point iteration: d is a contraction by construction, so there is exactly
one solution and the surface never folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import InvalidRequestError

Points: TypeAlias = "NDArray[np.floating[Any]]"  # (..., 2) x, y px
STEEPEST = 0.9  # largest Lipschitz constant of a deformation that is accepted
TOLERANCE = 1e-6  # px, of the solution of y + d(y) = u


class Spline:
    """Uniform cubic B-spline through time: twice differentiable, within the hull of its knots.

    Args:
        knots: (K, D), K >= 4; evenly spaced over `duration`.
        duration: the spline runs from time 0 to this, in any unit; beyond its ends it stays where it is.
    """

    def __init__(self, knots: NDArray[np.floating[Any]], duration: float = 1.0) -> None:
        self.knots, self.duration = np.asarray(knots, np.float64), float(duration)
        if self.knots.ndim != 2 or len(self.knots) < 4:
            raise InvalidRequestError(f"a cubic spline needs (K, D) knots with K >= 4, not {self.knots.shape}")

    @classmethod
    def constant(cls, value: NDArray[np.floating[Any]]) -> Spline:
        """The spline that is (D,) ``value`` at all times."""
        return cls(np.tile(np.asarray(value, np.float64), (4, 1)))

    def __call__(self, t: float) -> NDArray[np.float64]:
        """(D,) value at a time."""
        position = min(max(t / self.duration, 0.0), 1.0) * (len(self.knots) - 3)
        first = min(int(position), len(self.knots) - 4)
        s = position - first
        weights = np.array([(1 - s) ** 3, 3 * s**3 - 6 * s**2 + 4, -3 * s**3 + 3 * s**2 + 3 * s + 1, s**3]) / 6
        return weights @ self.knots[first : first + 4]


# the numbers that a motion is made of, in this order
PARAMETERS = ("x", "y", "log_scale", "log_aspect", "rotation", "shear", "perspective_x", "perspective_y")


@dataclass(frozen=True, eq=False)
class Motion:
    """Homography H(t) of a plane: similarity, aspect, shear and perspective about a pivot, each a smooth function.

    A plane point y lies at ``c + A (y - pivot) / (1 + p . (y - pivot))``: the pivot itself at c = (x, y) px, A scales
    by e^log_scale (and e^+-log_aspect/2 along the plane's axes), shears and rotates (rad), p in 1/px.
    """

    pivot: NDArray[np.float64]  # (2,)
    path: Spline  # of PARAMETERS

    def matrix(self, t: float) -> NDArray[np.float64]:
        """(3, 3) from homogeneous plane to picture coordinates."""
        x, y, log_scale, log_aspect, rotation, shear, px, py = self.path(t)
        cos, sin = np.cos(rotation), np.sin(rotation)
        wide, high = np.exp(log_scale + log_aspect / 2), np.exp(log_scale - log_aspect / 2)
        # the rotation times the upper triangle ((wide, shear * high), (0, high)), plus the outer product of c and p
        a, b = cos * wide + x * px, (cos * shear - sin) * high + x * py
        c, d = sin * wide + y * px, (sin * shear + cos) * high + y * py
        u, v = self.pivot
        return np.array([[a, b, x - a * u - b * v], [c, d, y - c * u - d * v], [px, py, 1 - px * u - py * v]])


@dataclass(frozen=True, eq=False)
class Deformation:
    """Smooth displacement d(y, t) of a plane: elastic plane waves, and one part that turns about a joint.

    d(y, t) = sum_k a_k(t) v_k sin(w_k . y + phase_k) + s(n . (y - joint) / width) (R(angle(t)) - 1)(y - joint), where
    s is the logistic function: far on the side of n all turns, on the other side nothing does.
    Raises `InvalidRequestError` where it could fold.
    """

    waves: NDArray[np.float64]  # (K, 5): w (rad/px), v (px), phase (rad)
    joint: NDArray[np.float64]  # (2,) px
    normal: NDArray[np.float64]  # (2,) unit vector
    width: float  # px, of the zone that bends
    reach: float  # px, distance from the joint beyond which there is no texture
    sway: Spline  # (K + 1,): the amplitudes a_k, -1 to 1, and the angle in rad

    def __post_init__(self) -> None:
        if self.steepness() > STEEPEST:
            raise InvalidRequestError(
                f"a deformation with a slope of up to {self.steepness():.2f} could fold; at most {STEEPEST} is "
                f"allowed: give smaller or longer waves, a smaller angle or a wider bending zone"
            )

    def steepness(self) -> float:
        """Upper bound of the Lipschitz constant of d over all times."""
        # a B-spline stays within the hull of its knots, so these are bounds for all times
        largest = np.abs(self.sway.knots).max(0)
        waves = largest[:-1] * np.hypot(*self.waves[:, 2:4].T) * np.hypot(*self.waves[:, :2].T)
        # |d(s)/dy| <= 1 / (4 width); along the normal |z s'(z)| <= 0.224
        bend = 2 * np.sin(min(largest[-1], np.pi) / 2) * (1.224 + self.reach / (4 * self.width))
        return float(waves.sum() + bend)

    def largest(self, t: float) -> float:
        """Upper bound of |d| at a time, px."""
        sway = np.abs(self.sway(t))
        bend = 2 * np.sin(min(sway[-1], np.pi) / 2) * self.reach
        return float((sway[:-1] * np.hypot(*self.waves[:, 2:4].T)).sum() + bend)

    def __call__(self, points: Points, t: float) -> Points:
        """(..., 2) displacement at plane points, of the same type of float."""
        sway = self.sway(t).astype(points.dtype)
        waves = self.waves.astype(points.dtype)
        x, y = points[..., 0], points[..., 1]
        out = np.zeros_like(points)
        for (wx, wy, vx, vy, phase), amplitude in zip(waves, sway[:-1], strict=True):
            wave = amplitude * np.sin(wx * x + wy * y + phase)
            out[..., 0] += vx * wave
            out[..., 1] += vy * wave
        if sway[-1]:
            jx, jy = x - self.joint[0].astype(points.dtype), y - self.joint[1].astype(points.dtype)
            nx, ny = (self.normal / self.width).astype(points.dtype)
            share = 0.5 + 0.5 * np.tanh(0.5 * (nx * jx + ny * jy))
            cos, sin = np.cos(sway[-1]) - 1, np.sin(sway[-1])
            out[..., 0] += share * (cos * jx - sin * jy)
            out[..., 1] += share * (sin * jx + cos * jy)
        return out

    def undo(self, texture: Points, t: float) -> NDArray[np.float64]:
        """The plane points y with y + d(y, t) = ``texture`` (..., 2), to `TOLERANCE`."""
        u = np.asarray(texture, np.float64)
        y = u
        # each round shrinks the error at least by STEEPEST; bounds are loose, so it mostly ends far sooner
        for _ in range(200):
            error = u - y - self(y, t)
            y = y + error
            if np.abs(error).max(initial=0.0) < TOLERANCE:
                break
        return y


def apply(matrix: NDArray[np.floating[Any]], points: Points) -> Points:
    """(..., 2) points through a (3, 3) homography, in the points' type of float."""
    if points.size == 0:
        return points
    return np.asarray(cv2.perspectiveTransform(points.reshape(-1, 1, 2), matrix), points.dtype).reshape(points.shape)

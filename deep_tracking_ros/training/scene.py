"""Layered scenes: one description from which pictures, boxes, masks, flow and point tracks all follow.

A scene is a stack of textured surfaces, the background (layer 0, an endless plane) at the bottom, seen by one camera.
A layer *covers* a point of the picture where its alpha, interpolated linearly, is at least one half; the top layer
that covers a point is the surface seen there. Boxes, masks, visibility, flow and tracks all go by this one rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.training.motion import Deformation, Motion, Points, Spline, apply

# both coordinates are in the first map of cv2.remap; its stubs do not know that the second may then be None
NO_MAP: Any = None


@dataclass(frozen=True, eq=False)
class Layer:
    """One textured surface. The background's texture is opaque and goes on beyond its edges as in a mirror."""

    texture: NDArray[np.uint8]  # (h, w, 4) BGRA, colour already multiplied by alpha
    motion: Motion
    deformation: Deformation | None = None
    label: str = ""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture of ``width`` x ``height`` px in which layers (back to front) move before a moving camera.

    The camera maps the picture plane onto itself and moves all layers with it.
    """

    width: int
    height: int
    layers: tuple[Layer, ...]
    camera: Motion

    def to_picture(self, layer: int, t: float) -> NDArray[np.float64]:
        """(3, 3) homography from the layer's plane to the picture."""
        return self.camera.matrix(t) @ self.layers[layer].motion.matrix(t)

    def texture_points(self, layer: int, points: Points, t: float) -> Points:
        """Texture coordinates (..., 2) of the layer at points (..., 2) of the picture."""
        flat = apply(np.linalg.inv(self.to_picture(layer, t)), points)
        deformation = self.layers[layer].deformation
        return flat if deformation is None else flat + deformation(flat, t)

    def picture_points(self, layer: int, texture: Points, t: float) -> NDArray[np.float64]:
        """Where points (..., 2) of the layer's texture lie in the picture."""
        flat = np.asarray(texture, np.float64)
        deformation = self.layers[layer].deformation
        if deformation is not None:
            flat = deformation.undo(flat, t)
        return np.asarray(apply(self.to_picture(layer, t), flat), np.float64)

    def colours(self, layer: int, points: Points, t: float) -> NDArray[np.uint8]:
        """(N, M, 4) premultiplied BGRA of the layer at (N, M, 2) points of the picture."""
        u = self.texture_points(layer, points, t).astype(np.float32)
        border = cv2.BORDER_REFLECT_101 if layer == 0 else cv2.BORDER_CONSTANT
        out = cv2.remap(self.layers[layer].texture, u, NO_MAP, cv2.INTER_LINEAR, borderMode=border)
        return np.asarray(out, np.uint8)

    def covers(self, layer: int, points: Points, t: float) -> NDArray[np.bool_]:
        """(N,) whether the layer covers each of the (N, 2) points of the picture."""
        if layer == 0:
            return np.ones(len(points), np.bool_)
        u = self.texture_points(layer, np.asarray(points, np.float32), t).reshape(-1, 1, 2)
        alpha = cv2.extractChannel(self.layers[layer].texture, 3)
        covered = np.empty(len(points), np.bool_)
        for i in range(0, len(points), 30000):  # remap takes at most 32767 rows
            covered[i : i + 30000] = cv2.remap(alpha, u[i : i + 30000], NO_MAP, cv2.INTER_LINEAR)[:, 0] >= 128
        return covered

    def top_layer(self, points: Points, t: float) -> NDArray[np.intp]:
        """(N,) number of the layer that is seen at each of the (N, 2) points of the picture plane."""
        top = np.zeros(len(points), np.intp)
        for layer in range(1, len(self.layers)):
            top[self.covers(layer, points, t)] = layer
        return top

    def contains(self, points: Points) -> NDArray[np.bool_]:
        """(...) whether points (..., 2) lie on the picture, outer edges of its pixels included."""
        limits = np.array([self.width, self.height]) - 0.5
        return np.asarray(((points >= -0.5) & (points <= limits)).all(-1))


def premultiplied(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 4) texture of a BGR (then opaque) or BGRA picture."""
    if picture.shape[2] == 3:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA), np.uint8)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGBA2mRGBA), np.uint8)


def still(pivot: Points, place: Points | None = None) -> Motion:
    """The motion that does not move: the pivot lies at ``place`` (itself where None), nothing turned or scaled."""
    value: NDArray[Any] = np.zeros(8)
    value[:2] = pivot if place is None else place
    return Motion(np.asarray(pivot, np.float64), Spline.constant(value))

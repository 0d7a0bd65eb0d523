"""What a scene shows: pictures with boxes, masks and visibility; dense flow; point tracks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes import clip
from deep_tracking_ros.training.motion import Points, apply
from deep_tracking_ros.training.scene import Scene
from deep_tracking_ros.types import FloatArray, Mask


@dataclass(frozen=True, eq=False)
class Rendering:
    """A scene at one time. Row k of every array is layer k; row 0 is the background, which is everywhere.

    Boxes and masks are *amodal*: they hold the whole of a layer, parts that are hidden or outside of the picture
    included (up to one picture size beyond its edges). Boxes are tight: they end at the outer edges of the mask's
    outermost pixels. A layer that covers no pixel has a box of nan.
    """

    image: NDArray[np.uint8]  # (H, W, 3) BGR
    index: NDArray[np.uint8]  # (H, W) layer that is seen at each pixel
    boxes: FloatArray  # (L, 4) xyxy px
    masks: tuple[Mask, ...]
    visibility: FloatArray  # (L,) seen share of the layer's pixels, 0 to 1

    def visible(self, layer: int) -> NDArray[np.uint8]:
        """(H, W) uint8, 255 where the layer is seen."""
        return np.where(self.index == layer, np.uint8(255), np.uint8(0))

    def box_on_picture(self, layer: int) -> FloatArray:
        """(4,) the part of the layer's box that lies on the picture."""
        height, width = self.index.shape
        return clip(self.boxes[layer], width, height)


def render(scene: Scene, t: float, exposure: float = 0.0, exposures: int = 5) -> Rendering:
    """Draw a scene at a time.

    Args:
        scene: what to draw.
        t: time, in the unit of the scene's splines.
        exposure: how long the shutter is open around t: the image is the mean of ``exposures`` moments, and all that
            moves is blurred. Boxes and masks are those of t.
        exposures: moments to average.
    """
    rendering = _draw(scene, t)
    if exposure <= 0:
        return rendering
    moments = t + exposure * ((np.arange(exposures) + 0.5) / exposures - 0.5)
    images = [_draw(scene, float(moment)).image for moment in moments]
    return replace(rendering, image=np.asarray(np.round(np.mean(images, 0)), np.uint8))


def _draw(scene: Scene, t: float) -> Rendering:
    width, height = scene.width, scene.height
    image = scene.colours(0, _grid(0, 0, width, height), t)
    index = np.zeros((height, width), np.uint8)
    boxes = np.array([[-0.5, -0.5, width - 0.5, height - 0.5]] + [[np.nan] * 4] * (len(scene.layers) - 1), np.float32)
    masks = [Mask(0, 0, np.full((height, width), 255, np.uint8))]
    for layer in range(1, len(scene.layers)):
        x0, y0, x1, y1 = _extent(scene, layer, t)
        if x1 <= x0 or y1 <= y0:
            masks.append(Mask(x0, y0, np.zeros((0, 0), np.uint8)))
            continue
        colours = scene.colours(layer, _grid(x0, y0, x1, y1), t)
        alpha = cv2.extractChannel(colours, 3)
        mask = np.asarray(cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY)[1], np.uint8)
        mx, my, mw, mh = cv2.boundingRect(mask)
        masks.append(Mask(x0 + mx, y0 + my, mask[my : my + mh, mx : mx + mw]))
        if mw:
            boxes[layer] = np.array([mx, my, mx + mw, my + mh]) + np.array([x0, y0, x0, y0]) - 0.5
        # the part that lies on the picture
        ix0, iy0, ix1, iy1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if ix1 > ix0 and iy1 > iy0:
            inside = np.s_[iy0 - y0 : iy1 - y0, ix0 - x0 : ix1 - x0]
            below = image[iy0:iy1, ix0:ix1]
            rest = cv2.bitwise_not(alpha[inside])
            below[:] = cv2.add(colours[inside], cv2.multiply(below, cv2.merge([rest] * 4), scale=1 / 255))
            index[iy0:iy1, ix0:ix1][mask[inside] > 0] = layer
    seen = np.bincount(index.ravel(), minlength=len(scene.layers))
    whole = np.array([cv2.countNonZero(mask.data) if mask.data.size else 0 for mask in masks])
    picture = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2BGR), np.uint8)
    return Rendering(picture, index, boxes, tuple(masks), (seen / np.maximum(whole, 1)).astype(np.float32))


def flow(scene: Scene, t0: float, t1: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Motion of the surface seen at each pixel at t0 until t1.

    Returns:
        flow (H, W, 2) float32, x and y px; occlusion (H, W), True where that surface point is not seen at t1, be it
        hidden by another layer or outside of the picture.
    """
    grid = _grid(0, 0, scene.width, scene.height).astype(np.float64)
    index = _draw(scene, t0).index
    ends = np.empty_like(grid)
    for layer in np.unique(index):
        here = index == layer
        ends[here] = scene.picture_points(int(layer), scene.texture_points(int(layer), grid[here], t0), t1)
    flat = ends.reshape(-1, 2)
    seen = (scene.top_layer(flat, t1).reshape(index.shape) == index) & scene.contains(ends)
    return (ends - grid).astype(np.float32), ~seen


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points fixed on the textures of a scene."""

    layer: NDArray[np.intp]  # (N,)
    texture: NDArray[np.float64]  # (N, 2)


def attach(scene: Scene, points: Points, t: float) -> SurfacePoints:
    """The surface points that are seen at (N, 2) points of the picture at a time."""
    where = np.asarray(points, np.float64)
    layer = scene.top_layer(where, t)
    texture = np.empty_like(where)
    for number in np.unique(layer):
        texture[layer == number] = scene.texture_points(int(number), where[layer == number], t)
    return SurfacePoints(layer, texture)


def seeds(scene: Scene, t: float, number: int, rng: np.random.Generator, near_edges: float = 0.5) -> Points:
    """(N, 2) random pixels of the picture at t; a share of them (``near_edges``) within 4 px of a layer's edge."""
    index = _draw(scene, t).index
    edges = cv2.morphologyEx(index, cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8)) > 0
    rows, columns = np.nonzero(edges)
    close = round(number * near_edges) if rows.size else 0
    pick = rng.integers(0, max(rows.size, 1), close)
    far = np.stack([rng.integers(0, scene.width, number - close), rng.integers(0, scene.height, number - close)], 1)
    return np.concatenate([np.stack([columns[pick], rows[pick]], 1), far]).astype(np.float64)


def tracks(
    scene: Scene, points: SurfacePoints, times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Follow surface points.

    Returns:
        positions (N, T, 2) px, also where a point is hidden or outside; visible (N, T).
    """
    positions = np.empty((len(points.layer), len(times), 2))
    visible = np.empty((len(points.layer), len(times)), np.bool_)
    for i, t in enumerate(times):
        for layer in np.unique(points.layer):
            mine = points.layer == layer
            positions[mine, i] = scene.picture_points(int(layer), points.texture[mine], float(t))
        visible[:, i] = (scene.top_layer(positions[:, i], float(t)) == points.layer) & scene.contains(positions[:, i])
    return positions, visible


def _grid(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.float32]:
    """(y1 - y0, x1 - x0, 2) pixel centres."""
    grid = np.empty((y1 - y0, x1 - x0, 2), np.float32)
    grid[..., 0] = np.arange(x0, x1, dtype=np.float32)
    grid[..., 1] = np.arange(y0, y1, dtype=np.float32)[:, None]
    return grid


def _extent(scene: Scene, layer: int, t: float) -> tuple[int, int, int, int]:
    """Pixels x0, y0, x1, y1 (ends excluded) outside of which the layer covers nothing, cut to a picture size around."""
    height, width = scene.layers[layer].texture.shape[:2]
    deformation = scene.layers[layer].deformation
    margin = 1 + (deformation.largest(t) if deformation is not None else 0.0)
    left, top, right, bottom = -margin, -margin, width - 1 + margin, height - 1 + margin
    corners = apply(
        scene.to_picture(layer, t), np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    )
    size = np.array([scene.width, scene.height])
    low = np.clip(np.floor(corners.min(0)), -size, 2 * size).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, -size, 2 * size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])

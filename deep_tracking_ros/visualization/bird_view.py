"""A sweep and the objects in it, seen from above: ``draw_from_above(points, height, boxes, ...)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.types import State, TrackedBox3D

Image = NDArray[np.uint8]
Array = NDArray[np.float64]
Colour = tuple[int, int, int]  # BGR

BACKGROUND: Colour = (24, 20, 18)
GRID: Colour = (58, 50, 46)
TRUTH: Colour = (150, 150, 150)
# after the palette of Okabe and Ito, which colour-blind people can tell apart
CLASSES: Mapping[str, Colour] = {
    "car": (233, 180, 86),
    "truck": (0, 159, 230),
    "pedestrian": (66, 228, 240),
    "cyclist": (115, 200, 0),
}
OTHER: Colour = (200, 200, 200)
FONT = cv2.FONT_HERSHEY_SIMPLEX
ARROW = 1.0
"""The arrow of the velocity ends where the object will be after this time, s."""
SLOW = 0.5
"""Slower objects count as standing, m/s."""
FINE = 4
"""Sub-pixel bits of what OpenCV draws."""


@dataclass(frozen=True)
class View:
    """What of the ground is on the picture, in the frame of the sensor: x to the right, y up."""

    x: tuple[float, float] = (-30.0, 61.0)  # m
    y: tuple[float, float] = (-25.0, 25.0)  # m
    scale: float = 14.0  # px/m

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return round((self.x[1] - self.x[0]) * self.scale), round((self.y[1] - self.y[0]) * self.scale)

    def pixels(self, points: ArrayLike) -> Array:
        """(..., 2) pixels of places (..., 2 or more) in m."""
        p = np.asarray(points, np.float64)
        return np.stack([(p[..., 0] - self.x[0]) * self.scale, (self.y[1] - p[..., 1]) * self.scale], -1)


def draw_from_above(
    points: NDArray[np.floating],
    height: Array,
    boxes: Sequence[TrackedBox3D],
    *,
    trails: Mapping[int, Array] | None = None,
    truth: Array | None = None,
    text: Sequence[str] = (),
    view: View | None = None,
) -> Image:
    """A picture (H, W, 3) uint8 BGR.

    Args:
        points: (N, 3) m in the frame of the sensor, which stands at 0.
        height: (N,) of each point above the ground, m.
        boxes: objects in the same frame; z is up.
        trails: (n, 2) places at which an object was, by id.
        truth: (M, 7) true boxes, drawn thin.
        text: lines in the upper left corner.
        view: what to show.
    """
    v = view or View()
    canvas = np.full((v.size[1], v.size[0], 3), BACKGROUND, np.uint8)
    _rings(canvas, v)
    _points(canvas, points, height, v)
    for box in truth if truth is not None else ():
        _polygon(canvas, v.pixels(_outline(box[:2], box[3], box[4], box[6])), TRUTH, 1)
    for id_, trail in (trails or {}).items():
        colour = next((colour_of(box) for box in boxes if box.id == id_), None)
        if colour is not None and len(trail) > 1:
            line = _fine(v.pixels(trail))
            cv2.polylines(canvas, [line], False, _mix(colour, 0.6), 1, cv2.LINE_AA, FINE)
    _fill(canvas, boxes, v)
    for box in boxes:
        _body(canvas, box, v)
    _sensor(canvas, v)
    taken: list[tuple[int, int, int, int]] = []
    for box in boxes:  # above all bodies, so that no text is hidden
        if box.state is State.CONFIRMED:
            _caption(canvas, box, v, taken)
    _corner(canvas, text, boxes)
    return canvas


def colour_of(box: TrackedBox3D) -> Colour:
    """The colour of its class."""
    return CLASSES.get(box.label, OTHER)


def moves(box: TrackedBox3D) -> bool:
    """Whether a confirmed object is faster than `SLOW`, and than twice the standard deviation of its velocity."""
    speed = float(np.hypot(*box.velocity[:2]))
    doubt = 0.0 if box.velocity_covariance is None else float(np.sqrt(np.trace(box.velocity_covariance[:2, :2])))
    return box.state is State.CONFIRMED and speed > max(SLOW, 2 * doubt)


def _rings(canvas: Image, v: View) -> None:
    centre = _point(v.pixels([0.0, 0.0]))
    for radius in range(10, 100, 10):
        cv2.circle(canvas, centre, round(radius * v.scale), GRID, 1, cv2.LINE_AA)
        place = v.pixels([0.0, -radius])
        cv2.putText(
            canvas, f"{radius} m", _point(place + np.array([4.0, -4.0])), FONT, 0.35, _mix(GRID, 1.6), 1, cv2.LINE_AA
        )


def _points(canvas: Image, points: NDArray[np.floating], height: Array, v: View) -> None:
    """Ground is dim; what stands on it goes from blue (low) to yellow (high), and covers what lies below."""
    order = np.argsort(height)
    pixels = np.floor(v.pixels(points[order])).astype(np.int64)
    level = height[order]
    inside = (pixels >= 0).all(1) & (pixels[:, 0] < canvas.shape[1] - 1) & (pixels[:, 1] < canvas.shape[0] - 1)
    (x, y), level = pixels[inside].T, level[inside]
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0]
    colour = table[np.clip(60 + level * 60, 60, 255).astype(np.uint8)]
    low = level < 0.2
    canvas[y[low], x[low]] = (96, 84, 78)
    for dx in (0, 1):  # two pixels wide: objects must not drown in the ground
        canvas[y[~low], x[~low] + dx] = colour[~low]


def _fill(canvas: Image, boxes: Sequence[TrackedBox3D], v: View) -> None:
    layer = canvas.copy()
    for box in boxes:
        if box.state is State.CONFIRMED:
            cv2.fillPoly(layer, [_fine(_corners(box, v))], colour_of(box), cv2.LINE_AA, FINE)
    canvas[:] = cv2.addWeighted(layer, 0.3, canvas, 0.7, 0)


def _body(canvas: Image, box: TrackedBox3D, v: View) -> None:
    colour = colour_of(box)
    corners = _corners(box, v)
    if box.state is not State.CONFIRMED:
        _polygon(canvas, corners, _mix(colour, 0.5), 1)
        return
    _polygon(canvas, corners, colour, 2)
    if moves(box):
        place = box.pose[:2, 3]
        start, end = v.pixels(place), v.pixels(place + ARROW * box.velocity[:2])
        tip = float(np.clip(8 / max(np.hypot(*(end - start)), 1), 0.08, 0.5))
        cv2.arrowedLine(canvas, _point(start), _point(end), (255, 255, 255), 2, cv2.LINE_AA, tipLength=tip)


def _caption(canvas: Image, box: TrackedBox3D, v: View, taken: list[tuple[int, int, int, int]]) -> None:
    """Id and speed beside the box, where no other text is."""
    text = f"{box.id}" + (f"  {np.hypot(*box.velocity[:2]):.0f} m/s" if moves(box) else "")
    (width, height), _ = cv2.getTextSize(text, FONT, 0.4, 1)
    corners = _corners(box, v)
    (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
    middle = (left + right - width) / 2
    places = [(middle, top - 5), (middle, bottom + height + 5), (right + 4, (top + bottom + height) / 2)]
    x, y = next((p for p in places if not any(_touch(p, width, height, other) for other in taken)), places[0])
    taken.append((round(x), round(y - height), round(x + width), round(y)))
    for colour, thickness in ((BACKGROUND, 3), (colour_of(box), 1)):
        cv2.putText(canvas, text, (round(x), round(y)), FONT, 0.4, colour, thickness, cv2.LINE_AA)


def _touch(place: tuple[float, float], width: int, height: int, other: tuple[int, int, int, int]) -> bool:
    x, y = place
    return bool(x < other[2] and other[0] < x + width and y - height < other[3] and other[1] < y)


def _corner(canvas: Image, text: Sequence[str], boxes: Sequence[TrackedBox3D]) -> None:
    lines = len(text) + len(CLASSES)
    plate = canvas[: 20 * lines + 26, :290]
    plate[:] = cv2.addWeighted(plate, 0.25, np.full_like(plate, BACKGROUND), 0.75, 0)
    y = 24
    for line in text:
        cv2.putText(canvas, line, (14, y), FONT, 0.5, (225, 225, 225), 1, cv2.LINE_AA)
        y += 20
    y += 4
    for label, colour in CLASSES.items():
        count = sum(box.label == label and box.state is State.CONFIRMED for box in boxes)
        cv2.rectangle(canvas, (14, y - 10), (26, y), colour, cv2.FILLED)
        cv2.putText(canvas, f"{label} {count}", (34, y), FONT, 0.45, (225, 225, 225), 1, cv2.LINE_AA)
        y += 19


def _sensor(canvas: Image, v: View) -> None:
    arrow = v.pixels(np.array([[1.6, 0.0], [-1.0, 0.9], [-0.5, 0.0], [-1.0, -0.9]]))
    cv2.fillPoly(canvas, [_fine(arrow)], (240, 240, 240), cv2.LINE_AA, FINE)


def _corners(box: TrackedBox3D, v: View) -> Array:
    yaw = float(np.arctan2(box.pose[1, 0], box.pose[0, 0]))
    return v.pixels(_outline(box.pose[:2, 3], float(box.size[0]), float(box.size[1]), yaw))


def _outline(centre: Array, length: float, width: float, yaw: float) -> Array:
    along = np.array([np.cos(yaw), np.sin(yaw)]) * length / 2
    across = np.array([-np.sin(yaw), np.cos(yaw)]) * width / 2
    return np.array(
        [centre + along + across, centre - along + across, centre - along - across, centre + along - across]
    )


def _polygon(canvas: Image, pixels: Array, colour: Colour, width: int) -> None:
    cv2.polylines(canvas, [_fine(pixels)], True, colour, width, cv2.LINE_AA, FINE)


def _fine(pixels: Array) -> NDArray[np.int32]:
    return np.asarray(np.rint(np.clip(pixels, -1e4, 1e4) * 2**FINE), np.int32)


def _point(pixel: Array) -> tuple[int, int]:
    x, y = np.clip(np.rint(pixel), -10000, 10000)
    return int(x), int(y)


def _mix(colour: Colour, share: float) -> Colour:
    b, g, r = (min(255, round(value * share)) for value in colour)
    return b, g, r

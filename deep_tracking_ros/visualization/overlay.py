"""Results drawn onto their images: ``draw(image, item)`` for every type of result that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.types import Detections, FloatArray, State, TrackedBox, TrackedBoxes

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]  # BGR
TextPlate = tuple[int, int, int, int]  # x0, y0, x1, y1, px

# after the palette of Okabe and Ito, which colour-blind people can tell apart, brighter for small text
COLOURS: dict[State, Colour] = {
    State.UNKNOWN: (200, 200, 200),
    State.TRACKED: (120, 205, 0),
    State.UNCERTAIN: (0, 190, 250),
    State.LOST: (80, 80, 255),
    State.TENTATIVE: (233, 180, 86),
    State.CONFIRMED: (120, 205, 0),
    State.OCCLUDED: (0, 190, 250),
}
FONT = cv2.FONT_HERSHEY_SIMPLEX
ARROW = 0.5
"""The arrow of the velocity ends where the centre will be after this time, s."""


def draw(image: Image, item: Any) -> Image:
    """A copy of an image (H, W, 3) uint8 BGR with a result drawn on it. Raises `TypeError` for an unknown type."""
    canvas = image.copy()
    draw_on(item, canvas)
    return canvas


@singledispatch
def draw_on(item: Any, canvas: Image) -> None:
    """Draw a result into an image; a new type of result registers its function here."""
    raise TypeError(f"{type(item).__name__} cannot be drawn")


@draw_on.register
def _(item: TrackedBoxes, canvas: Image) -> None:
    for box in item.boxes:
        _body(canvas, box)
    plates: list[TextPlate] = []
    for box in item.boxes:  # above all bodies, so that no text is hidden
        plates.append(_caption(canvas, box, plates))


@draw_on.register
def _(item: Detections, canvas: Image) -> None:
    found = [TrackedBox(0, d.box, State.UNKNOWN, d.score, d.label) for d in item.detections]
    draw_on(TrackedBoxes(item.stamp, item.frame_id, 0, item.stamp, 0, 0, "", tuple(found)), canvas)


def unit(image: Image) -> int:
    """Width of a line, px: two for images up to 1000 px wide, and more for larger ones."""
    return max(2, round(int(image.shape[1]) / 480))


def _body(canvas: Image, box: TrackedBox) -> None:
    colour, width = COLOURS[box.state], unit(canvas)
    if box.mask is not None:
        _blend_mask(canvas, box, colour)
    if box.contour is not None and len(box.contour):
        points = _pixels(box.contour)[:, None]
        cv2.polylines(canvas, [points], True, (0, 0, 0), width + 2, cv2.LINE_AA)
        cv2.polylines(canvas, [points], True, colour, width, cv2.LINE_AA)
    corners = _pixels(box.box.reshape(2, 2))
    if box.state is State.LOST:
        _dashed(canvas, corners, colour, width)
    else:
        cv2.rectangle(canvas, _point(corners[0]), _point(corners[1]), (0, 0, 0), width + 2)
        cv2.rectangle(canvas, _point(corners[0]), _point(corners[1]), colour, width)
    centre = (box.box[:2] + box.box[2:]) / 2
    shift = box.velocity[:2] * ARROW
    length = float(np.hypot(*shift))
    if length > 4 * width:  # shorter ones are no more than noise
        start, end = (_point(p) for p in (centre, centre + shift))
        tip = float(np.clip(6 * width / length, 0.1, 0.5))
        cv2.arrowedLine(canvas, start, end, (0, 0, 0), width + 2, cv2.LINE_AA, tipLength=tip)
        cv2.arrowedLine(canvas, start, end, colour, width, cv2.LINE_AA, tipLength=tip)


def caption(box: TrackedBox) -> str:
    """What is written beside a box, such as ``3 car 92%`` or ``3 car lost 1.2 s``."""
    words = [str(box.id or ""), box.label]  # detections have no id
    if box.state is State.LOST:
        words.append(f"lost {box.unseen:.1f} s")
    elif box.score >= 0:
        words.append(f"{box.score:.0%}")
    if box.state in (State.UNCERTAIN, State.TENTATIVE, State.OCCLUDED):
        words.append(box.state.name.lower())
    return " ".join(word for word in words if word)


def _caption(canvas: Image, box: TrackedBox, taken: Sequence[TextPlate]) -> TextPlate:
    """Dark text on a plate in the colour of the state: above the box, else below, else in it, where nothing is yet."""
    text, gap = caption(box), unit(canvas)
    scale, pad = float(np.clip(canvas.shape[1] / 1600, 0.4, 1.5)), 1 + gap
    thickness = 1 if scale < 0.7 else 2
    (text_width, ascent), descent = cv2.getTextSize(text, FONT, scale, thickness)
    width, height = text_width + 2 * pad, ascent + descent + 2 * pad
    rows, columns = canvas.shape[:2]
    left, top, _, bottom = _pixels(box.box).tolist()
    x = max(0, min(left - gap, columns - width))
    places = [(x, max(0, min(y, rows - height))) for y in (top - gap - height, bottom + gap, top + gap)]
    free = [(x, y) for x, y in places if not any(_overlap((x, y, x + width, y + height), t) for t in taken)]
    # a place that had to be moved onto the image covers the box: better another
    x, y = next((p for p in free if p[1] + height <= top or p[1] >= bottom), (free or places)[0])
    cv2.rectangle(canvas, (x, y), (x + width - 1, y + height - 1), COLOURS[box.state], cv2.FILLED)
    cv2.putText(canvas, text, (x + pad, y + pad + ascent), FONT, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    return x, y, x + width, y + height


def _overlap(a: TextPlate, b: TextPlate) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _blend_mask(canvas: Image, box: TrackedBox, colour: Colour) -> None:
    assert box.mask is not None
    height, width = canvas.shape[:2]
    mask = box.mask
    x0, y0 = max(mask.x, 0), max(mask.y, 0)
    x1, y1 = min(mask.x + mask.data.shape[1], width), min(mask.y + mask.data.shape[0], height)
    if x1 <= x0 or y1 <= y0:
        return
    inside = mask.data[y0 - mask.y : y1 - mask.y, x0 - mask.x : x1 - mask.x] > 127
    area = canvas[y0:y1, x0:x1]
    area[inside] = (0.6 * area[inside] + 0.4 * np.array(colour)).astype(np.uint8)


def _dashed(canvas: Image, corners: NDArray[np.int32], colour: Colour, width: int) -> None:
    (x0, y0), (x1, y1) = corners.astype(float)
    path = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    for start, end in pairwise(path):
        dashes = int(np.clip(np.hypot(*(end - start)) // (6 * width), 3, 200)) | 1  # odd: corners are drawn
        at = np.linspace(start, end, dashes + 1)
        for first, second in zip(at[:-1:2], at[1::2], strict=True):
            cv2.line(canvas, _point(first), _point(second), (0, 0, 0), width + 2)
            cv2.line(canvas, _point(first), _point(second), colour, width)


def _pixels(points: FloatArray) -> NDArray[np.int32]:
    """Nearest pixels, within what OpenCV can draw."""
    return np.asarray(np.rint(np.clip(points, -30000, 30000)), np.int32)


def _point(point: NDArray[Any]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))

"""Frames of several sequences in rows, with the boxes of several trackers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.types import FloatArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]  # BGR

# after the palette of Okabe and Ito, which colour-blind people can tell apart, brighter
PALETTE: tuple[Colour, ...] = (
    (0, 159, 255), (255, 180, 60), (90, 220, 0), (0, 80, 240), (200, 120, 255), (0, 230, 250), (255, 90, 90),
    (170, 170, 170),
)  # fmt: skip
TRUTH: Colour = (255, 255, 255)
BAR, GAP = 26, 4  # px: height of the legend, space between pictures
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, eq=False)
class Cell:
    """One frame and what trackers say of it."""

    image: Image  # (H, W, 3) BGR
    boxes: Mapping[str, FloatArray]  # (4,) xyxy px, by the tracker's name
    truth: FloatArray | None = None  # (4,) xyxy px; nan = not in view
    caption: str = ""


def contact_sheet(rows: Sequence[Sequence[Cell]], width: int = 320) -> Image:
    """One picture of all frames, with a legend above; every name has one colour throughout, the truth is white.

    Args:
        rows: frames; those of a row get the height of its first one.
        width: of a frame, px.
    """
    names = list(dict.fromkeys(name for row in rows for cell in row for name in cell.boxes))
    colours = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}
    columns = max(map(len, rows))
    across = columns * width + (columns - 1) * GAP
    parts = [_legend(colours, across)]
    for row in rows:
        height = round(width * row[0].image.shape[0] / row[0].image.shape[1])
        line = np.zeros((height + GAP, across, 3), np.uint8)
        for column, cell in enumerate(row):
            x = column * (width + GAP)
            line[GAP:, x : x + width] = _draw(cell, width, height, colours)
        parts.append(line)
    return np.vstack(parts)


def _draw(cell: Cell, width: int, height: int, colours: Mapping[str, Colour]) -> Image:
    scale = np.array([width, height]) / (cell.image.shape[1], cell.image.shape[0])
    how = cv2.INTER_AREA if scale[0] < 1 else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(cell.image, (width, height), interpolation=how), np.uint8)
    if cell.truth is not None and np.isfinite(cell.truth).all():
        _rectangle(image, cell.truth, scale, TRUTH, 4)
    for name, box in cell.boxes.items():
        _rectangle(image, box, scale, colours[name], 2)
    if cell.caption:
        (text, ascent), descent = cv2.getTextSize(cell.caption, FONT, 0.4, 1)
        cv2.rectangle(image, (0, height - ascent - descent - 4), (text + 8, height), (30, 30, 30), cv2.FILLED)
        cv2.putText(image, cell.caption, (4, height - descent - 2), FONT, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return image


def _rectangle(image: Image, box: FloatArray, scale: NDArray[np.float64], colour: Colour, thickness: int) -> None:
    corners = (np.asarray(box, np.float64).reshape(2, 2) + 0.5) * scale - 0.5
    (x0, y0), (x1, y1) = np.clip(np.rint(corners), -30000, 30000).astype(int).tolist()  # within what OpenCV draws
    cv2.rectangle(image, (x0, y0), (x1, y1), colour, thickness)


def _legend(colours: Mapping[str, Colour], across: int) -> Image:
    bar = np.full((BAR, across, 3), 30, np.uint8)
    x = 8
    for name, colour in {"truth": TRUTH, **colours}.items():
        (text, _), _ = cv2.getTextSize(name, FONT, 0.45, 1)
        cv2.rectangle(bar, (x, 7), (x + 18, 19), colour, 2)
        cv2.putText(bar, name, (x + 24, 18), FONT, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        x += 24 + text + 18
    return bar

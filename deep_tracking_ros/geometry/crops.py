"""Crops around targets, all of one square output size: what a tracking network sees.

A crop is described by its centre and side (or width and height) in image pixels. Training and tracking cut
through the same functions, so both see the same pixels.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.types import FloatArray

LARGEST_CUT = 4
"""Windows of whole pixels up to this many times their crop are cut by resizing; larger ones would copy too much."""


def context_side(boxes: ArrayLike, context: float = 0.5) -> FloatArray:
    """Side of the exemplar's square crop, px: sqrt((w + p)(h + p)) with p = context * (w + h).

    SiamFC (Bertinetto et al., 2016), section 2.4.

    Args:
        boxes: (..., 4) xyxy.
        context: share of (w + h) added to each side.
    """
    b = np.asarray(boxes, np.float32)
    size = b[..., 2:] - b[..., :2]
    padded: FloatArray = size + context * size.sum(-1, keepdims=True)
    return np.asarray(np.sqrt(padded[..., 0] * padded[..., 1]), np.float32)


def whole_windows(centres: ArrayLike, sides: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The nearest windows that are made of whole pixels; `crop` cuts these four times as fast.

    Args:
        centres: (N, 2) x, y in image px.
        sides: (N, 2) width and height in image px.

    Returns:
        Centres (N, 2) and sides (N, 2), at least 1 px.
    """
    c, s = np.asarray(centres, np.float64), np.asarray(sides, np.float64)
    size = np.maximum(np.rint(s), 1)
    edge = np.rint(c - size / 2 + 0.5)
    return (edge - 0.5 + size / 2).astype(np.float32), size.astype(np.float32)


def crop(
    image: NDArray[np.uint8],
    centres: ArrayLike,
    sides: ArrayLike,
    output: int,
    out: NDArray[np.uint8] | None = None,
    border: ArrayLike | None = None,
) -> NDArray[np.uint8]:
    """Cut windows out of an image and resize them.

    The outer edges of the window fall on the outer edges of the crop's pixels.

    Args:
        image: (H, W, C) uint8.
        centres: (N, 2) x, y in image px.
        sides: (N,) side, or (N, 2) width and height, in image px.
        output: side of the result in px.
        out: (N, output, output, C) to write into.
        border: (C,) colour outside of the image, or (N, C) one for each window; None = the image's mean colour.

    Returns:
        (N, output, output, C) uint8.
    """
    c = np.asarray(centres, np.float64).reshape(-1, 2)
    s = np.asarray(sides, np.float64)
    s = np.broadcast_to(s.reshape(len(c), -1), (len(c), 2))
    height, width, channels = image.shape
    if out is None:
        out = np.empty((len(c), output, output, channels), np.uint8)
    colours = None if border is None else np.broadcast_to(np.asarray(border, np.float64), (len(c), channels)).tolist()
    # numbers of Python from here on: they are faster than arrays for the few windows of a call
    for i, ((x, y), (w, h)) in enumerate(zip(c.tolist(), s.tolist(), strict=True)):
        # pixels lie around whole numbers, their edges between
        edges = (x - w / 2 + 0.5, y - h / 2 + 0.5, x + w / 2 + 0.5, y + h / 2 + 0.5)
        left, top, right, bottom = (round(edge) for edge in edges)
        whole = max(w, h) <= LARGEST_CUT * output and right > 0 and bottom > 0 and left < width and top < height
        whole = whole and max(abs(e - n) for e, n in zip(edges, (left, top, right, bottom), strict=True)) < 1e-3
        # other windows are interpolated between pixel centres, outside of which the border begins
        rim = 0 if whole else 1
        beyond = left < rim or top < rim or right > width - rim or bottom > height - rim
        if beyond and colours is None:
            colours = [list(cv2.mean(image)[:channels])] * len(c)
        colour = colours[i] if beyond and colours is not None else (0.0,) * channels
        if whole:
            window: NDArray[Any] = image[max(top, 0) : bottom, max(left, 0) : right]
            if beyond:
                above, below = max(-top, 0), max(bottom - height, 0)
                before, behind = max(-left, 0), max(right - width, 0)
                window = cv2.copyMakeBorder(window, above, below, before, behind, cv2.BORDER_CONSTANT, value=colour)
            cv2.resize(window, (output, output), dst=out[i])
            continue
        # image = scale * (crop + 0.5) - 0.5 + (centre - side / 2 + 0.5), for both axes
        across, down = w / output, h / output
        matrix = np.array([[across, 0, x - w / 2 + across / 2], [0, down, y - h / 2 + down / 2]])
        cv2.warpAffine(
            image, matrix, (output, output), dst=out[i], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT, borderValue=colour,
        )  # fmt: skip
    return out


def image_to_crop(boxes: ArrayLike, centres: ArrayLike, sides: ArrayLike, output: int) -> FloatArray:
    """Boxes or points (..., 2k) from image px to crop px; centres (..., 2), sides (...) or (..., 2)."""
    pairs, shift, size = _pairs(boxes, centres, sides)
    return _joined((pairs - shift) * (output / size) + (output - 1) / 2)


def crop_to_image(boxes: ArrayLike, centres: ArrayLike, sides: ArrayLike, output: int) -> FloatArray:
    """Boxes or points (..., 2k) from crop px to image px; centres (..., 2), sides (...) or (..., 2)."""
    pairs, shift, size = _pairs(boxes, centres, sides)
    return _joined((pairs - (output - 1) / 2) * (size / output) + shift)


def _pairs(boxes: ArrayLike, centres: ArrayLike, sides: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Boxes as x, y pairs (..., k, 2), and centres and sides that can be computed with them."""
    b, size = np.asarray(boxes, np.float64), np.asarray(sides, np.float64)
    if size.ndim == 0 or size.shape == b.shape[:-1]:  # one side per box, for both axes
        size = size[..., None]
    return b.reshape(*b.shape[:-1], -1, 2), np.asarray(centres, np.float64)[..., None, :], size[..., None, :]


def _joined(pairs: NDArray[np.float64]) -> FloatArray:
    """Pairs (..., k, 2) as (..., 2k)."""
    return pairs.reshape(*pairs.shape[:-2], -1).astype(np.float32)

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
    image: NDArray[np.uint8], centres: ArrayLike, sides: ArrayLike, output: int, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Cut windows out of an image and resize them; outside of the image is the image's mean colour.

    The outer edges of the window fall on the outer edges of the crop's pixels.

    Args:
        image: (H, W, C) uint8.
        centres: (N, 2) x, y in image px.
        sides: (N,) side, or (N, 2) width and height, in image px.
        output: side of the result in px.
        out: (N, output, output, C) to write into.

    Returns:
        (N, output, output, C) uint8.
    """
    c = np.asarray(centres, np.float64).reshape(-1, 2)
    s = np.asarray(sides, np.float64)
    s = np.broadcast_to(s.reshape(len(c), -1), (len(c), 2))
    if out is None:
        out = np.empty((len(c), output, output, image.shape[2]), np.uint8)
    height, width = image.shape[:2]
    edges = np.concatenate([c - s / 2, c + s / 2], 1) + 0.5  # pixels lie around whole numbers, their edges between
    left, top, right, bottom = np.rint(edges).astype(int).T
    inside = (left >= 0) & (top >= 0) & (right <= width) & (bottom <= height)
    border = (0.0,) * image.shape[2] if inside.all() else cv2.mean(image)[: image.shape[2]]
    whole = (np.abs(edges - np.rint(edges)).max(1) < 1e-3) & (s.max(1) <= LARGEST_CUT * output)
    whole &= (right > 0) & (bottom > 0) & (left < width) & (top < height)
    for i in range(len(c)):
        if whole[i]:
            window: NDArray[Any] = image[max(top[i], 0) : bottom[i], max(left[i], 0) : right[i]]
            if not inside[i]:
                above, below = max(int(-top[i]), 0), max(int(bottom[i]) - height, 0)
                before, behind = max(int(-left[i]), 0), max(int(right[i]) - width, 0)
                window = cv2.copyMakeBorder(window, above, below, before, behind, cv2.BORDER_CONSTANT, value=border)
            cv2.resize(window, (output, output), dst=out[i])
            continue
        scale = s[i] / output
        # image = scale * (crop + 0.5) - 0.5 + (centre - side / 2 + 0.5), for both axes
        offset = c[i] - s[i] / 2 + scale / 2
        matrix = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]])
        cv2.warpAffine(
            image, matrix, (output, output), dst=out[i], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT, borderValue=border,
        )  # fmt: skip
    return out


def image_to_crop(boxes: ArrayLike, centres: ArrayLike, sides: ArrayLike, output: int) -> FloatArray:
    """Boxes or points (..., 2k) from image px to crop px; centres (..., 2), sides (...) or (..., 2)."""
    b = np.asarray(boxes, np.float64)
    shift, size = _per_axis(centres, sides, b)
    return ((b - shift) * (output / size) + (output - 1) / 2).astype(np.float32)


def crop_to_image(boxes: ArrayLike, centres: ArrayLike, sides: ArrayLike, output: int) -> FloatArray:
    """Boxes or points (..., 2k) from crop px to image px; centres (..., 2), sides (...) or (..., 2)."""
    b = np.asarray(boxes, np.float64)
    shift, size = _per_axis(centres, sides, b)
    return ((b - (output - 1) / 2) * (size / output) + shift).astype(np.float32)


def _per_axis(centres: ArrayLike, sides: ArrayLike, boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Centres and sides repeated for each x, y pair of the boxes."""
    pairs = boxes.shape[-1] // 2
    size = np.asarray(sides, np.float64)
    if size.ndim == 0 or size.shape == boxes.shape[:-1]:  # one side per box, for both axes
        size = np.stack([size, size], -1)
    return np.tile(np.asarray(centres, np.float64), pairs), np.tile(size, pairs)

"""Boxes: ``(..., 4)`` arrays in pixels, pixel centres at integers; xyxy unless a name says otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import InvalidBoxError, OutsideImageError
from deep_tracking_ros.types import FloatArray


def xywh_to_xyxy(boxes: ArrayLike) -> FloatArray:
    """Left-top corner and size to corners."""
    b = np.asarray(boxes, np.float32)
    return np.concatenate([b[..., :2], b[..., :2] + b[..., 2:]], -1)


def xyxy_to_xywh(boxes: ArrayLike) -> FloatArray:
    """Corners to left-top corner and size."""
    b = np.asarray(boxes, np.float32)
    return np.concatenate([b[..., :2], b[..., 2:] - b[..., :2]], -1)


def cxcywh_to_xyxy(boxes: ArrayLike) -> FloatArray:
    """Centre and size to corners."""
    b = np.asarray(boxes, np.float32)
    half = b[..., 2:] / 2
    return np.concatenate([b[..., :2] - half, b[..., :2] + half], -1)


def xyxy_to_cxcywh(boxes: ArrayLike) -> FloatArray:
    """Corners to centre and size."""
    b = np.asarray(boxes, np.float32)
    return np.concatenate([(b[..., :2] + b[..., 2:]) / 2, b[..., 2:] - b[..., :2]], -1)


def area(boxes: ArrayLike) -> FloatArray:
    """Area, px^2; 0 where a side is negative."""
    b = np.asarray(boxes, np.float32)
    size: FloatArray = np.maximum(b[..., 2:] - b[..., :2], 0)
    return np.asarray(size[..., 0] * size[..., 1], np.float32)


def intersection(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Area of overlap, px^2, broadcasting over leading axes."""
    a, b = np.asarray(first, np.float32), np.asarray(second, np.float32)
    size: FloatArray = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0)
    return np.asarray(size[..., 0] * size[..., 1], np.float32)


def iou(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Intersection over union, 0 to 1, broadcasting over leading axes; 0 for two empty boxes."""
    both = intersection(first, second)
    union = area(first) + area(second) - both
    return np.asarray(np.divide(both, union, out=np.zeros_like(both), where=union > 0), np.float32)


def iou_matrix(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """(N, M) intersection over union of (N, 4) and (M, 4)."""
    a, b = np.asarray(first, np.float32).reshape(-1, 1, 4), np.asarray(second, np.float32).reshape(1, -1, 4)
    return iou(a, b)


def clip(boxes: ArrayLike, width: int, height: int) -> FloatArray:
    """The part of each box that lies on an image of this size."""
    limits = np.array([width, height, width, height], np.float32) - 0.5
    return np.clip(np.asarray(boxes, np.float32), -0.5, limits)


def check_box(box: ArrayLike, width: int, height: int, smallest: float = 2.0) -> FloatArray:
    """The box as (4,) float32, cut to the image; raises where it is of no use as a target.

    Raises `InvalidBoxError` for numbers that are not finite or a side below ``smallest`` px, and
    `OutsideImageError` for a box of which less than that lies on the image.
    """
    array: NDArray[Any] = np.asarray(box, np.float64)
    if array.shape != (4,):
        raise InvalidBoxError(f"a box has 4 numbers, this one has shape {array.shape}")
    text = "x={:g} y={:g} w={:g} h={:g}".format(*array[:2], *(array[2:] - array[:2]))
    if not np.isfinite(array).all():
        raise InvalidBoxError(f"the box {text} is not finite; give centre and size in pixels")
    if (array[2:] - array[:2] < smallest).any():
        raise InvalidBoxError(f"the box {text} is too small: each side must be at least {smallest:g} px")
    inside = clip(array, width, height)
    if (inside[2:] - inside[:2] < smallest).any():
        raise OutsideImageError(
            f"the box {text} lies outside of the image ({width}x{height} px); at least {smallest:g} px must be on it"
        )
    return inside

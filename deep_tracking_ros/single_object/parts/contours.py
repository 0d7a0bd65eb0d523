"""Contours of objects from sets of points, and points from masks.

Z. Yang, Y. Xu, H. Xue, Z. Zhang, R. Urtasun, L. Wang, S. Lin, H. Hu, "Dense RepPoints: Representing Visual Objects
with Dense Point Sets", ECCV 2020: points along the border describe the shape. Points are x, y.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from deep_tracking_ros.types import FloatArray, Mask


def hull(points: ArrayLike) -> FloatArray:
    """Convex hull (k, 2) of points (n, 2) x, y, clockwise on the screen, without points on its edges."""
    return np.asarray(cv2.convexHull(np.asarray(points, np.float32)).reshape(-1, 2), np.float32)


def by_angle(points: ArrayLike) -> FloatArray:
    """Points (n, 2) x, y of a border as a closed contour: in the order of their angle around their middle.

    Right for shapes all of whose border is seen from the middle; the contour of others, and of points inside, zigzags.
    The middle is that of the convex hull's area, which points that crowd on one side do not pull towards them.
    Clockwise on the screen, from the left.
    """
    array = np.asarray(points, np.float32)
    away = array - _area_centre(hull(array))
    order = np.lexsort((np.hypot(away[:, 0], away[:, 1]), np.arctan2(away[:, 1], away[:, 0])))
    return array[order]


def sample_border(mask: Mask, count: int) -> FloatArray:
    """Points at equal distances along the border of a mask: the targets of `set_distance`.

    Args:
        mask: of the object; its largest connected part is taken.
        count: points asked for.

    Returns:
        (count, 2) x, y px of the mask's image, on the outermost pixels' centres and the lines between them; none,
        (0, 2), for an empty mask.
    """
    borders = cv2.findContours(mask.data, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    if not borders:
        return np.zeros((0, 2), np.float32)
    border = max(borders, key=lambda part: (cv2.contourArea(part), len(part))).reshape(-1, 2).astype(np.float64)
    closed = np.concatenate([border, border[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    places = np.arange(count) * (along[-1] / count)
    sampled = [np.interp(places, along, closed[:, axis]) + start for axis, start in ((0, mask.x), (1, mask.y))]
    return np.stack(sampled, 1).astype(np.float32)


def _area_centre(polygon: FloatArray) -> FloatArray:
    """Centre of a convex polygon's area, or the mean of its corners where it has none."""
    first = polygon[0]
    a, b = polygon[1:-1] - first, polygon[2:] - first
    areas = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]  # of the triangles from the first corner, doubled
    if areas.sum() == 0:
        return np.asarray(polygon.mean(0), np.float32)
    return np.asarray(first + ((a + b) * areas[:, None]).sum(0) / (3 * areas.sum()), np.float32)

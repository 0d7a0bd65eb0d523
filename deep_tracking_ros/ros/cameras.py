"""Cameras of ``sensor_msgs/CameraInfo`` and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.types import Camera

DISTORTIONS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
"""Models of lenses by the names of REP 104's ``sensor_msgs``, and how many numbers each may have."""


def read_camera(message: Any) -> Camera:
    """`Camera` of a message. Raises `DataError` for one that was never calibrated, and for a lens of no known model."""
    matrix = np.asarray(message.k, np.float64).reshape(3, 3)
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise DataError(
            f"the camera's K has the focal lengths {matrix[0, 0]:g} and {matrix[1, 1]:g} px, they must be above 0: "
            "calibrate it, or give its driver the calibration"
        )
    width, height = int(message.width), int(message.height)
    if not (width and height):
        raise DataError(f"the camera's images are {width}x{height}, their size must be above 0: see to its driver")
    distortion, model = np.asarray(message.d, np.float64), str(message.distortion_model)
    if distortion.any() and (len(distortion) not in DISTORTIONS.get(model, ()) or not np.isfinite(distortion).all()):
        known = "; ".join(f"{name} with {' or '.join(map(str, counts))}" for name, counts in DISTORTIONS.items())
        raise DataError(
            f"the camera's distortion is {model!r} with {distortion.tolist()}, it must be a finite one of {known} "
            "numbers: calibrate it with one of them, or rectify the images"
        )
    return Camera(
        width=width,
        height=height,
        matrix=matrix,
        distortion=distortion,
        distortion_model=model,
        frame_id=str(message.header.frame_id),
    )


def write_camera(item: Camera, new: Any) -> Any:
    """``CameraInfo`` with stamp 0, since a camera has no time."""
    message = new("sensor_msgs/msg/CameraInfo")
    message.header.frame_id = item.frame_id
    message.width, message.height = item.width, item.height
    message.distortion_model = item.distortion_model
    matrix = np.asarray(item.matrix, np.float64)
    message.d, message.k = np.asarray(item.distortion, np.float64), matrix.reshape(9)
    message.r = np.eye(3).reshape(9)
    message.p = np.concatenate([matrix, np.zeros((3, 1))], 1).reshape(12)
    return message

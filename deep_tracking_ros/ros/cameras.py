"""Cameras of ``sensor_msgs/CameraInfo`` and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.types import Camera


def read_camera(message: Any) -> Camera:
    """`Camera` of a message. Raises `DataError` for one that was never calibrated."""
    matrix = np.asarray(message.k, np.float64).reshape(3, 3)
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise DataError(
            f"the camera's K has the focal lengths {matrix[0, 0]:g} and {matrix[1, 1]:g} px, they must be above 0: "
            "calibrate it, or give its driver the calibration"
        )
    return Camera(
        width=int(message.width),
        height=int(message.height),
        matrix=matrix,
        distortion=np.asarray(message.d, np.float64),
        distortion_model=str(message.distortion_model),
    )


def write_camera(item: Camera, new: Any) -> Any:
    """``CameraInfo`` with an empty header, since a camera has no time."""
    message = new("sensor_msgs/msg/CameraInfo")
    message.width, message.height = item.width, item.height
    message.distortion_model = item.distortion_model
    matrix = np.asarray(item.matrix, np.float64)
    message.d, message.k = np.asarray(item.distortion, np.float64), matrix.reshape(9)
    message.r = np.eye(3).reshape(9)
    message.p = np.concatenate([matrix, np.zeros((3, 1))], 1).reshape(12)
    return message

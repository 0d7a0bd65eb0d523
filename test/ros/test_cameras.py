from types import SimpleNamespace

import numpy as np
import pytest

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.ros import interfaces, messages
from deep_tracking_ros.types import Camera

CAMERA = Camera(640, 480, np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]]), np.array([0.1, -0.2, 0, 0, 0.3]))


def rclpy_maker():
    pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
    return messages.new_message


@pytest.mark.parametrize("maker", [lambda: interfaces.make, pytest.param(rclpy_maker, marks=pytest.mark.ros)])
def test_a_camera_comes_back_from_its_message(maker):
    message = messages.to_message(CAMERA, maker())
    assert np.asarray(message.p).reshape(3, 4)[0].tolist() == [500, 0, 320, 0]
    back = messages.from_message(Camera, message)
    assert (back.width, back.height, back.distortion_model) == (640, 480, "plumb_bob")
    np.testing.assert_array_equal(back.matrix, CAMERA.matrix)
    np.testing.assert_array_equal(back.distortion, CAMERA.distortion)


def test_a_camera_that_was_never_calibrated():
    message = SimpleNamespace(k=[0.0] * 9, d=[], width=640, height=480, distortion_model="")
    with pytest.raises(DataError, match=r"focal lengths 0 and 0 px, they must be above 0: calibrate it"):
        messages.from_message(Camera, message)

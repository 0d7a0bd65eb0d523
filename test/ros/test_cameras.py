from types import SimpleNamespace

import numpy as np
import pytest

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.ros import interfaces, messages
from deep_tracking_ros.types import Camera

CAMERA = Camera(
    640,
    480,
    np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]]),
    np.array([0.1, -0.2, 0, 0, 0.3]),
    frame_id="optical",
)


def rclpy_maker():
    pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
    return messages.new_message


@pytest.mark.parametrize("maker", [lambda: interfaces.make, pytest.param(rclpy_maker, marks=pytest.mark.ros)])
def test_a_camera_comes_back_from_its_message(maker):
    message = messages.to_message(CAMERA, maker())
    assert np.asarray(message.p).reshape(3, 4)[0].tolist() == [500, 0, 320, 0]
    back = messages.from_message(Camera, message)
    assert (back.width, back.height, back.distortion_model) == (640, 480, "plumb_bob")
    assert back.frame_id == "optical"
    np.testing.assert_array_equal(back.matrix, CAMERA.matrix)
    np.testing.assert_array_equal(back.distortion, CAMERA.distortion)


def told(**values):
    header = SimpleNamespace(frame_id="optical")
    usual = {"k": CAMERA.matrix.ravel(), "d": [], "width": 640, "height": 480, "distortion_model": ""}
    return SimpleNamespace(**{"header": header, **usual, **values})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"k": [0.0] * 9}, "focal lengths 0 and 0 px, they must be above 0: calibrate it"),
        ({"width": 0}, "images are 0x480, their size must be above 0"),
        ({"d": [0.1] * 6, "distortion_model": "plumb_bob"}, r"distortion is 'plumb_bob' with \[0\.1, .* 4 or 5; rati"),
        ({"d": [0.1] * 4, "distortion_model": "pillow"}, "distortion is 'pillow' .* rectify the images"),
        ({"d": [np.nan] * 4, "distortion_model": "equidistant"}, "must be a finite one"),
    ],
)
def test_a_camera_that_cannot_be_used_says_why(values, why):
    with pytest.raises(DataError, match=why):
        messages.from_message(Camera, told(**values))


def test_a_lens_without_distortion_needs_no_model():
    for d in ([], [0.0] * 5):
        assert not messages.from_message(Camera, told(d=d)).distortion.any()

import cv2
import numpy as np
import pytest

from deep_tracking_ros.multi_object.parts.camera_motion import CameraMotion

NONE = np.zeros((0, 4))


@pytest.fixture(scope="module")
def picture():
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    return cv2.resize(noise, (960, 720), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("true", [[[1, 0, 9], [0, 1, -4]], [[1.01, -0.02, 5.0], [0.02, 1.01, 3.0]]])
def test_the_motion_that_was_made_is_found(picture, true):
    true = np.array(true, np.float64)
    camera = CameraMotion()
    assert camera.step(picture, NONE) is None
    found = camera.step(cv2.warpAffine(picture, true, (960, 720), borderMode=cv2.BORDER_REFLECT), NONE)
    corners = np.array([[100, 100, 1], [860, 100, 1], [480, 600, 1]], np.float64)
    assert corners @ found.T == pytest.approx(corners @ true.T, abs=0.5)  # px


def test_objects_that_move_do_not_count(picture):
    camera, box = CameraMotion(), np.array([[200.0, 100.0, 800.0, 600.0]])
    camera.step(picture, box)
    moved = picture.copy()
    moved[100:600, 210:800] = picture[100:600, 200:790]
    assert camera.step(moved, box) == pytest.approx(np.eye(3)[:2], abs=1)  # they moved by 10 px


def test_an_empty_picture_tells_nothing(picture):
    camera = CameraMotion()
    blank = np.zeros_like(picture)
    assert camera.step(blank, NONE) is None
    assert camera.step(picture, NONE) is None
    assert camera.step(picture, NONE) == pytest.approx(np.eye(3)[:2], abs=0.01)
    camera.reset()
    assert camera.step(picture, NONE) is None


def test_boxes_that_are_no_boxes_do_no_harm(picture):
    camera = CameraMotion()
    strange = np.array([[np.nan, 0, np.inf, 5], [500, 500, 100, 100], [-1e30, 0, 1e30, 10]])
    camera.step(picture, strange)
    assert camera.step(picture, strange) == pytest.approx(np.eye(3)[:2], abs=0.01)

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


def test_objects_that_move_do_not_count_though_they_fill_most_of_the_image(picture):
    box = np.array([[80.0, 60.0, 880.0, 660.0]])
    moved = picture.copy()
    moved[60:660, 90:880] = picture[60:660, 80:870]
    for objects, seen in ((box, 0.0), (NONE, 10.0)):
        camera = CameraMotion()
        camera.step(picture, objects)
        expected = np.array([[1, 0, seen], [0, 1, 0]])
        assert camera.step(moved, objects) == pytest.approx(expected, abs=0.5)  # px


def test_pixel_centres_are_at_integers_in_the_small_image_too(monkeypatch):
    """What turns about the middle of the small image turns about the middle of the large one."""
    camera, square = CameraMotion(), np.zeros((1920, 1920, 3), np.uint8)
    middle = (480 - 1) / 2
    quarter = np.array([[0.0, -1.0, 2 * middle], [1.0, 0.0, 0.0]])
    assert quarter @ [middle, middle, 1] == pytest.approx([middle, middle])
    monkeypatch.setattr(camera, "_fit", lambda grey: quarter)
    assert camera.step(square, NONE) @ [959.5, 959.5, 1] == pytest.approx([959.5, 959.5])


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

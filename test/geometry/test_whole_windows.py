import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.geometry.crops import crop, crop_to_image, image_to_crop, whole_windows

COARSE = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
IMAGE = cv2.resize(COARSE, (320, 240), interpolation=cv2.INTER_CUBIC)


@given(st.floats(-50, 400), st.floats(-50, 400), st.floats(0.1, 500), st.floats(0.1, 500))
def test_edges_lie_between_pixels_and_move_by_less_than_a_pixel(x, y, w, h):
    centres, sides = whole_windows([[x, y]], [[w, h]])
    edges = np.concatenate([centres - sides / 2, centres + sides / 2]) + 0.5
    np.testing.assert_allclose(edges, np.rint(edges), atol=1e-3)
    assert (sides >= 1).all()
    assert np.abs(centres - [[x, y]]).max() <= 0.5 + 1e-3
    assert np.abs(sides - np.maximum([[w, h]], 1)).max() <= 0.5 + 1e-3


@given(st.integers(-25, 280), st.integers(-25, 200), st.integers(30, 120), st.integers(30, 100), st.integers(20, 140))
@settings(max_examples=40, deadline=None)
def test_the_fast_way_gives_the_same_crop(left, top, width, height, output):
    centres = np.array([[left + (width - 1) / 2, top + (height - 1) / 2]])
    sides = np.array([[width, height]])
    fast = crop(IMAGE, centres, sides, output)
    slow = crop(IMAGE, centres + 2e-3, sides, output)  # too far from whole pixels for the fast way
    inner = np.s_[:, 4:-4, 4:-4]  # at the rim the fast way sees nothing of the outside
    assert np.abs(fast[inner].astype(int) - slow[inner]).max() <= 3


def test_a_window_over_the_border_is_filled_with_the_mean_colour():
    (cut,) = crop(IMAGE, [[-0.5, 100.5]], [[80, 80]], 80)
    np.testing.assert_allclose(cut[:, :39].reshape(-1, 3).mean(0), cv2.mean(IMAGE)[:3], atol=1)
    np.testing.assert_array_equal(cut[:, 40:], IMAGE[61:141, :40])


def test_boxes_are_mapped_by_the_window_that_was_cut():
    box = np.array([[100.2, 60.7, 140.9, 99.1]])
    windows = whole_windows([[120.6, 79.9]], [[90.4, 90.4]])
    np.testing.assert_allclose(crop_to_image(image_to_crop(box, *windows, 255), *windows, 255), box, atol=1e-3)


def test_each_window_has_its_own_colour_outside_of_the_image():
    image = np.full((40, 60, 3), 200, np.uint8)
    centres, sides = np.array([[0, 20], [59, 20], [0.3, 20], [30, 20]]), np.array([20, 20, 20.4, 20])
    colours = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]])
    found = crop(image, centres, sides, 40, border=colours)
    outside = [found[0, 20, 0], found[1, 20, -1], found[2, 20, 0]]
    np.testing.assert_array_equal(outside, colours[:3])
    assert (found[3] == 200).all()  # wholly inside
    np.testing.assert_array_equal(crop(image, centres[:1], sides[:1], 40)[0, 20, 0], [200, 200, 200])

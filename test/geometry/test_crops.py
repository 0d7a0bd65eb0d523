import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.geometry.crops import context_side, crop, crop_to_image, image_to_crop

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


def test_a_crop_of_its_own_size_is_the_image():
    np.testing.assert_array_equal(crop(IMAGE, [[39.5, 29.5]], [20], 20)[0], IMAGE[20:40, 30:50])


def test_outside_is_the_mean_colour():
    outside = crop(IMAGE, [[-100, -100]], [20], 8)[0]
    assert np.abs(outside.astype(float) - IMAGE.mean((0, 1))).max() <= 1


def test_width_and_height_may_differ():
    stretched = crop(IMAGE, [[39.5, 29.5]], [[40, 20]], 20)[0]
    halved = IMAGE[20:40, 20:60].reshape(20, 20, 2, 3).mean(2)
    assert np.abs(stretched - halved).max() <= 1  # linear interpolation half-way between two columns


def test_crops_can_be_written_into_a_given_array():
    out = np.zeros((2, 16, 16, 3), np.uint8)
    result = crop(IMAGE, [[20, 20], [50, 30]], [16, 32], 16, out=out)
    assert result is out
    assert out[0].any()
    assert out[1].any()


def test_context_of_a_square_box_doubles_its_side():
    assert context_side([[10, 10, 50, 50]]).tolist() == pytest.approx([80])
    assert context_side([0, 0, 100, 50], 0) == pytest.approx(np.sqrt(5000))


@given(
    st.tuples(*[st.floats(-200, 200, width=32)] * 2),
    st.floats(8, 400, width=32),
    st.tuples(*[st.floats(-200, 200, width=32)] * 4),
)
def test_coordinates_go_there_and_back(centre, side, box):
    there = image_to_crop([box], [centre], [side], 127)
    np.testing.assert_allclose(crop_to_image(there, [centre], [side], 127), [box], atol=2e-2)
    np.testing.assert_allclose(image_to_crop(centre, centre, side, 127), [63, 63], atol=1e-3)


def test_a_pixel_lands_where_its_coordinates_say():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:44, 60:64] = 255
    view = crop(image, [[55.5, 45.5]], [50], 100)[0][..., 0]
    rows, columns = np.nonzero(view > 127)
    box = image_to_crop([59.5, 39.5, 63.5, 43.5], [55.5, 45.5], 50, 100)
    np.testing.assert_allclose(
        [columns.min(), rows.min(), columns.max(), rows.max()], box + np.array([0.5, 0.5, -0.5, -0.5]), atol=0.6
    )

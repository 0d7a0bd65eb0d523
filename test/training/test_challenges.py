import cv2
import numpy as np
import pytest

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.geometry.boxes import xyxy_to_cxcywh
from deep_tracking_ros.training.challenges import draw_crossing, draw_jump, masked_pictures
from deep_tracking_ros.training.pictures import MarkedObject, Picture, PictureSet
from deep_tracking_ros.training.procedural import procedural_pictures


@pytest.fixture(scope="module")
def pictures():
    return PictureSet(procedural_pictures(number=4))


def offsets(crossing):
    """(T, 2) from the target to the look-alike, in sizes of the target."""
    target, other = xyxy_to_cxcywh(crossing.target), xyxy_to_cxcywh(crossing.look_alike)
    return (other[:, :2] - target[:, :2]) / np.sqrt(target[:, 2:].prod(1, keepdims=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_look_alike_crosses_from_one_side_to_the_other(pictures, seed):
    offset = offsets(draw_crossing(pictures, pictures, np.random.default_rng(seed), frames=16))
    distance = np.linalg.norm(offset, axis=1)
    assert 1.2 < distance[0] < 3
    assert 1.2 < distance[-1] < 3
    assert distance[6:10].min() < 0.6
    assert offset[0] @ offset[-1] < -0.8 * distance[0] * distance[-1]  # opposite directions


def test_what_passes_in_front_hides_the_target():
    # a red disc before grey; re-coloured, red becomes another hue
    image = np.full((120, 120, 3), 128, np.uint8)
    cv2.circle(image, (60, 60), 40, (0, 0, 255), -1)
    outline = np.array([[60 + 38 * np.cos(a), 60 + 38 * np.sin(a)] for a in np.linspace(0, 6.2, 40)], np.float32)
    disc = MarkedObject(np.array([20, 20, 100, 100], np.float32), "disc", outline)
    discs, grey = PictureSet([Picture(image, (120, 120), (disc,))]), PictureSet([Picture(np.full_like(image, 128))])
    seen = set()
    for seed in range(6):
        crossing = draw_crossing(discs, grey, np.random.default_rng(seed), "recoloured", 9)
        own, its = xyxy_to_cxcywh(crossing.target[4])[:2], xyxy_to_cxcywh(crossing.look_alike[4])[:2]
        x, y = np.round((own + its) / 2).astype(int)  # between their middles both cover the picture
        blue, green, red = crossing.images[4][y, x].astype(int)
        assert (red > 200 and max(blue, green) < 50) != crossing.before
        seen.add(crossing.before)
    assert seen == {True, False}


def test_scenes_follow_from_the_seed(pictures):
    first, again, other = (draw_crossing(pictures, pictures, np.random.default_rng(s), "twin", 4) for s in (7, 7, 8))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.target, again.target)
    assert (first.images[0] != other.images[0]).any()


@pytest.mark.parametrize("displacement", [0.0, 0.7, 3.0])
def test_a_jump_is_as_long_as_asked_and_moves_nothing_else(pictures, displacement):
    for seed in range(3):
        jump = draw_jump(pictures, pictures, np.random.default_rng(seed), displacement)
        states = xyxy_to_cxcywh(jump.boxes)
        size = float(np.sqrt(states[0, 2:].prod()))
        assert np.linalg.norm(states[1, :2] - states[0, :2]) == pytest.approx(displacement * size, abs=1)
        np.testing.assert_array_equal(
            states[0, 2:], states[1, 2:]
        )  # whole pixels: the picture of the target is the same
        changed = (jump.images[0] != jump.images[1]).any(2)
        for x0, y0, x1, y1 in np.round(jump.boxes).astype(int):
            assert min(x0, y0) >= 0
            assert x1 < changed.shape[1]
            assert y1 < changed.shape[0]
            changed[y0 - 1 : y1 + 2, x0 - 1 : x1 + 2] = False
        assert not changed.any()


def test_a_jump_out_of_the_picture_is_refused(pictures):
    with pytest.raises(DataError, match="a jump by 12 target sizes does not fit"):
        draw_jump(pictures, pictures, np.random.default_rng(0), 12.0)


def test_masks_give_objects_to_cut_out(tmp_path):
    image = np.full((100, 120, 3), 30, np.uint8)
    mask = np.zeros((100, 120), bool)
    mask[20:60, 30:90] = True
    image[mask] = (0, 0, 255)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    empty = np.zeros_like(mask)
    found = masked_pictures([("red", tmp_path / "a.png", mask), ("none", tmp_path / "a.png", empty)])
    assert [cutout.label for cutout in found.cutouts] == ["red"]
    thing = found.cutout(0)
    assert abs(thing.shape[0] - 40) <= 2
    assert abs(thing.shape[1] - 60) <= 2
    assert thing[20, 30].tolist() == [0, 0, 255, 255]

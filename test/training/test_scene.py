"""What scenes promise: boxes, masks, visibility, flow and tracks all follow from one description, exactly."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from deep_tracking_ros.training.composites import SceneSettings, draw_pair, draw_scene
from deep_tracking_ros.training.motion import Motion, Spline
from deep_tracking_ros.training.pictures import PictureSet
from deep_tracking_ros.training.procedural import procedural_pictures
from deep_tracking_ros.training.render import attach, flow, render, seeds, tracks
from deep_tracking_ros.training.scene import Layer, Scene, premultiplied, still

W, H = 96, 80
SETTINGS = SceneSettings(width=W, height=H, smallest=16, largest=30)


@pytest.fixture(scope="module")
def pictures():
    return PictureSet(procedural_pictures(seed=1, number=6))


@pytest.fixture(scope="module")
def scenes(pictures):
    return [draw_scene(pictures, np.random.default_rng(seed), SETTINGS).scene for seed in range(8)]


def plain(width, height, colour=(0, 0, 0)):
    return premultiplied(np.full((height, width, 3), colour, np.uint8))


def moving(width, height, start, end) -> Motion:
    """The middle of a texture going straight from start to end during the time 0 to 1, passing both exactly."""
    step = (np.asarray(end, float) - start) / 3
    knots = np.zeros((6, 8))
    knots[:, :2] = np.asarray(start, float) + np.arange(-1, 5)[:, None] * step
    return Motion(np.array([width - 1, height - 1]) / 2, Spline(knots))


def two_squares(shift=(12.0, 0.0)) -> Scene:
    """A red square of 20 px at (30, 40) that moves, a green one of 10 px at rest at (46, 40) before it."""
    background = Layer(plain(W, H, (90, 90, 90)), still(np.array([W - 1, H - 1]) / 2))
    red = Layer(plain(20, 20, (0, 0, 255)), moving(20, 20, (30.5, 40.5), np.add((30.5, 40.5), shift)))
    green = Layer(plain(10, 10, (0, 255, 0)), moving(10, 10, (46.5, 40.5), (46.5, 40.5)))
    return Scene(W, H, (background, red, green), still(np.array([W - 1, H - 1]) / 2))


def test_known_squares():
    scene = two_squares()
    start, end = render(scene, 0), render(scene, 1)
    np.testing.assert_array_equal(start.boxes[1], [20.5, 30.5, 40.5, 50.5])
    np.testing.assert_array_equal(end.boxes[1], [32.5, 30.5, 52.5, 50.5])
    np.testing.assert_array_equal(end.boxes[2], [41.5, 35.5, 51.5, 45.5])
    assert start.visibility[1] == 1
    assert end.visibility[1] == pytest.approx(1 - 100 / 400)
    assert (end.index == 2).sum() == 100
    np.testing.assert_array_equal(end.image[40, 46], [0, 255, 0])
    np.testing.assert_array_equal(end.image[40, 35], [0, 0, 255])
    np.testing.assert_array_equal(end.image[5, 5], [90, 90, 90])


def test_flow_and_occlusion_of_known_squares():
    scene = two_squares((12, 3))
    forward, hidden = flow(scene, 0, 1)
    red = render(scene, 0).index == 1
    np.testing.assert_allclose(forward[red], np.tile([12, 3], (400, 1)), atol=1e-4)
    np.testing.assert_allclose(forward[~red], 0, atol=1e-4)
    rows, columns = np.nonzero(red & hidden)
    # red pixels that arrive under the green square (x 42 to 51, y 36 to 45)
    expected = [(y, x) for y in range(31, 51) for x in range(21, 41) if 42 <= x + 12 <= 51 and 36 <= y + 3 <= 45]
    assert list(zip(rows, columns, strict=True)) == expected


def test_what_leaves_the_picture_is_occluded_and_counts_as_hidden():
    scene = two_squares((60, 0))
    end = render(scene, 1)
    np.testing.assert_array_equal(end.boxes[1], [80.5, 30.5, 100.5, 50.5])
    np.testing.assert_array_equal(end.box_on_picture(1), [80.5, 30.5, 95.5, 50.5])
    assert end.visibility[1] == pytest.approx(15 / 20)
    _, hidden = flow(scene, 0, 1)
    assert hidden[40, 36:41].all()
    assert not hidden[40, 21:36].any()


def test_a_layer_without_a_pixel_has_no_box():
    scene = two_squares((400, 0))
    assert np.isnan(render(scene, 1).boxes[1]).all()
    assert render(scene, 1).visibility[1] == 0


def test_soft_edges_mix_the_colours():
    scene = two_squares()
    half = scene.layers[1].texture.copy()
    half[...] = (0, 0, 128, 128)
    scene = replace(scene, layers=(scene.layers[0], replace(scene.layers[1], texture=half)))
    np.testing.assert_allclose(render(scene, 0).image[40, 30], [45, 45, 128 + 45], atol=1)


def test_boxes_are_tight_around_masks_and_visibility_counts_pixels(scenes):
    for scene in scenes:
        shown = render(scene, 0.6)
        for layer in range(1, len(scene.layers)):
            mask = shown.masks[layer]
            rows, columns = np.nonzero(mask.data)
            box = [columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5]
            np.testing.assert_array_equal(shown.boxes[layer], np.add(box, [mask.x, mask.y] * 2))
            seen = np.count_nonzero(shown.visible(layer))
            assert shown.visibility[layer] == pytest.approx(seen / rows.size)
            # what is seen lies within the whole
            y, x = np.nonzero(shown.visible(layer))
            assert mask.data[y - mask.y, x - mask.x].all()


def test_a_mask_is_where_the_texture_is_opaque(scenes):
    """The mask drawn pixel by pixel equals the coverage asked point by point."""
    for scene in scenes:
        shown = render(scene, 0.4)
        grid = np.stack(np.meshgrid(np.arange(W), np.arange(H)), -1).reshape(-1, 2).astype(np.float64)
        differing = scene.top_layer(grid, 0.4).reshape(H, W) != shown.index
        assert differing.mean() < 1e-3  # rounding at edges


def test_surface_points_go_to_the_picture_and_back(scenes):
    rng = np.random.default_rng(0)
    for scene in scenes:
        for layer, thing in enumerate(scene.layers):
            texture = rng.uniform(0, 1, (50, 2)) * (np.array(thing.texture.shape[1::-1]) - 1)
            back = scene.texture_points(layer, scene.picture_points(layer, texture, 0.7), 0.7)
            np.testing.assert_allclose(back, texture, atol=1e-4)


def test_flow_is_the_difference_of_the_surface_maps(scenes):
    for scene in scenes:
        forward, _ = flow(scene, 0.2, 0.9)
        index = render(scene, 0.2).index
        for y, x in [(5, 7), (40, 48), (44, 30), (70, 90)]:
            layer, here = int(index[y, x]), np.array([[x, y]], np.float64)
            there = scene.picture_points(layer, scene.texture_points(layer, here, 0.2), 0.9)
            np.testing.assert_allclose(forward[y, x], (there - here)[0], atol=1e-3)


def test_flow_to_the_same_time_is_zero(scenes):
    forward, hidden = flow(scenes[0], 0.5, 0.5)
    np.testing.assert_allclose(forward, 0, atol=1e-4)
    assert hidden.mean() < 2e-3


def test_pictures_agree_along_the_flow(scenes):
    """The second picture fetched along the flow is the first one, wherever nothing is hidden."""
    for scene in scenes:
        first, second = render(scene, 0.1), render(scene, 0.5)
        forward, hidden = flow(scene, 0.1, 0.5)
        grid = np.stack(np.meshgrid(np.arange(W), np.arange(H)), -1)
        fetched = cv2.remap(second.image, (grid + forward).astype(np.float32), None, cv2.INTER_LINEAR)
        # edges mix two layers; strong texture loses contrast by interpolating twice
        inner = cv2.erode((~hidden).astype(np.uint8), np.ones((5, 5))) > 0
        inner &= cv2.morphologyEx(first.index, cv2.MORPH_GRADIENT, np.ones((5, 5))) == 0
        smooth = [cv2.GaussianBlur(image, (5, 5), 0).astype(float) for image in (first.image, fetched)]
        aligned = np.abs(smooth[0] - smooth[1])[inner].mean()
        apart = np.abs(smooth[0] - cv2.GaussianBlur(second.image, (5, 5), 0))[inner].mean()
        assert aligned < 2.5
        assert aligned < 0.4 * apart


def test_tracks_agree_with_flow_and_occlusion(scenes):
    rng = np.random.default_rng(3)
    for scene in scenes:
        start = seeds(scene, 0.1, 80, rng)
        points = attach(scene, start, 0.1)
        positions, visible = tracks(scene, points, np.array([0.1, 0.45, 0.9]))
        np.testing.assert_allclose(positions[:, 0], start, atol=1e-3)
        assert visible[:, 0].mean() > 0.97  # a seed exactly on an edge may be rounded to the other side
        x, y = start.astype(int).T
        same = render(scene, 0.1).index[y, x] == points.layer
        for i, t in ((1, 0.45), (2, 0.9)):
            forward, hidden = flow(scene, 0.1, t)
            np.testing.assert_allclose((positions[:, i] - start)[same], forward[y, x][same], atol=2e-3)
            assert (visible[:, i] != hidden[y, x])[same].mean() > 0.97


def test_seeds_gather_at_edges(scenes):
    start = seeds(scenes[0], 0.0, 400, np.random.default_rng(0), near_edges=1.0).astype(int)
    index = render(scenes[0], 0.0).index
    edge = cv2.morphologyEx(index, cv2.MORPH_GRADIENT, np.ones((9, 9))) > 0
    assert edge[start[:, 1], start[:, 0]].all()
    assert edge.mean() < 0.7


def test_an_open_shutter_blurs_what_moves_and_nothing_else():
    scene = two_squares((12, 0))
    sharp, blurred = render(scene, 0.5), render(scene, 0.5, exposure=0.5, exposures=7)
    np.testing.assert_array_equal(sharp.boxes, blurred.boxes)
    np.testing.assert_array_equal(blurred.image[40, 60:], sharp.image[40, 60:])
    ramp = blurred.image[33, :, 2].astype(int)
    assert np.count_nonzero((ramp > 95) & (ramp < 250)) >= 8  # 6 px of motion at each side of the square
    assert np.count_nonzero((sharp.image[33, :, 2] > 95) & (sharp.image[33, :, 2] < 250)) == 0


def test_the_camera_moves_all_layers_alike():
    scene = two_squares((0, 0))
    camera = moving(W, H, ((W - 1) / 2, (H - 1) / 2), ((W - 1) / 2 + 9, (H - 1) / 2 - 6))
    forward, hidden = flow(replace(scene, camera=camera), 0, 1)
    np.testing.assert_allclose(forward, np.tile([9, -6], (H, W, 1)), atol=1e-3)
    np.testing.assert_array_equal(hidden, (np.arange(W) + 9 > W - 0.5) | (np.arange(H)[:, None] - 6 < -0.5))


def test_composed_pairs_show_their_target(pictures):
    kinds = []
    for seed in range(60):
        pair = draw_pair(pictures, np.random.default_rng(seed), negative=seed % 6 == 0)
        kinds.append(pair.search.visibility)
        assert pair.template.visibility >= 0.7
        for view in (pair.template, pair.search):
            assert (view.box[2:] - view.box[:2] >= 8).all()
            if view.mask is not None:
                ys, xs = np.nonzero(view.mask)
                assert xs.min() >= view.box[0]
                assert ys.min() >= view.box[1]
                assert xs.max() <= view.box[2]
                assert ys.max() <= view.box[3]
        assert pair.positive == (seed % 6 != 0)
        assert pair.search.visibility == 0 if seed % 6 == 0 else pair.search.visibility >= 0.25
    assert np.mean(np.array(kinds) > 0.999) < 0.9  # occlusion happens


def test_the_target_is_gone_from_negative_pairs(pictures):
    """The positive and the negative pair of one seed differ where the target was, and almost nowhere else."""
    calm = replace(SETTINGS, distractors=0, occluded=0, other_background=0, exposure=0)
    for seed in range(5):
        there = draw_pair(pictures, np.random.default_rng(seed), False, calm)
        gone = draw_pair(pictures, np.random.default_rng(seed), True, calm)
        np.testing.assert_array_equal(there.template.image, gone.template.image)
        np.testing.assert_array_equal(there.search.box, gone.search.box)
        differ = (there.search.image != gone.search.image).any(-1)
        assert differ[there.search.mask > 0].mean() > 0.8
        assert not differ[cv2.dilate(there.search.mask, np.ones((9, 9))) == 0].any()

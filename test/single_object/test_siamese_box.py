import dataclasses

import cv2
import numpy as np
import pytest
from small_siamese import save_pair
from test_siamese_trackers import check_that_boxes_are_its_own

from deep_tracking_ros.errors import InvalidBoxError, ModelError, OutsideImageError
from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, iou
from deep_tracking_ros.inference.onnx_backend import OnnxEngine
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.golden import check_golden
from deep_tracking_ros.single_object.importing import import_public
from deep_tracking_ros.single_object.parts.batches import BATCH
from deep_tracking_ros.single_object.registry import make_tracker, networks
from deep_tracking_ros.single_object.siamese_box import SiameseBoxParameters, SiameseBoxTracker

SIZE = 32
GREY, COLOURS = (110, 120, 100), ((20, 30, 230), (230, 60, 20), (30, 220, 40))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return import_public("nanotrack_v2", *save_pair(folder), folder / "models", "tiny")


@pytest.fixture(scope="module")
def tracker(model):
    return make_tracker(model, backend="onnxruntime", threads=1)


def scene(centres, width=320, height=240):
    image = np.empty((height, width, 3), np.uint8)
    image[:] = GREY
    for (x, y), colour in zip(centres, COLOURS, strict=False):
        half = SIZE // 2
        cv2.rectangle(image, (x - half, y - half), (x + half - 1, y + half - 1), colour, -1)
    return image


def truth(centres):
    return cxcywh_to_xyxy(np.array([[x - 0.5, y - 0.5, SIZE, SIZE] for x, y in centres], np.float32))


def test_follows_moving_squares_in_one_batch(tracker):
    centres = np.array([[80, 60], [220, 80], [150, 180]])
    targets = tracker.start(scene(centres), truth(centres))
    for step in range(1, 9):
        moved = centres + step * np.array([[6, 3], [-5, 4], [2, -6]])
        estimates = tracker.track(scene(moved), targets)
        overlap = iou([estimate.box for estimate in estimates], truth(moved))
        # cells are 8 px of the image apart, so a square of 32 px is never hit better than by 4 px on each axis
        assert (overlap > 0.4).all(), f"step {step}: {overlap}"
        assert all(0 <= estimate.score <= 1 for estimate in estimates)
    # the targets hold what was found
    assert [target.box.tolist() for target in targets] == [estimate.box.tolist() for estimate in estimates]


def test_a_target_that_is_gone_scores_lower(tracker):
    centre = [[160, 120]]
    targets = tracker.start(scene(centre), truth(centre))
    (there,) = tracker.track(scene(centre), targets)
    (gone,) = tracker.track(scene([]), targets)
    assert gone.score < there.score


def test_a_batch_gives_what_each_target_gives_alone(tracker):
    rng = np.random.default_rng(0)
    count = BATCH[-1] + 3  # more than one call takes
    image = cv2.resize(rng.integers(0, 256, (15, 20, 3)).astype(np.uint8), (320, 240))
    following = np.roll(image, (4, -3), (0, 1))
    size = rng.uniform(12, 80, (count, 2))
    boxes = cxcywh_to_xyxy(np.concatenate([rng.uniform(60, 180, (count, 2)), size], 1))
    together = tracker.track(following, tracker.start(image, boxes))
    assert len(together) == count
    for box, estimate in zip(boxes, together, strict=True):
        (alone,) = tracker.track(following, tracker.start(image, box[None]))
        np.testing.assert_allclose(estimate.box, alone.box, atol=1e-2)
        assert estimate.score == pytest.approx(alone.score, abs=1e-4)


def test_who_writes_into_boxes_does_not_disturb_the_target(tracker):
    centres = np.array([[80, 60]])
    images = [scene(centres + np.array([4, 2]) * i) for i in range(5)]
    check_that_boxes_are_its_own(tracker, images, truth(centres))


def test_nothing_in_nothing_out(tracker):
    image = scene([])
    assert tracker.start(image, np.empty((0, 4))) == []
    assert tracker.track(image, []) == []


def test_boxes_of_no_use_are_refused(tracker):
    image = scene([])
    with pytest.raises(InvalidBoxError):
        tracker.start(image, [[10, 10, 12, 40]])
    with pytest.raises(InvalidBoxError):
        tracker.start(image, [[10, 10, np.nan, 40]])
    with pytest.raises(OutsideImageError):
        tracker.start(image, [[400, 10, 440, 40]])


def test_boxes_stay_by_the_image(tracker):
    """Whatever the network says of noise, centres stay on the image and sides between the smallest and its size."""
    rng = np.random.default_rng(1)
    targets = tracker.start(scene([[12, 12], [300, 230]]), [[0, 0, 30, 30], [280, 215, 319, 239]])
    for _ in range(12):
        for estimate in tracker.track(rng.integers(0, 256, (240, 320, 3)).astype(np.uint8), targets):
            assert np.isfinite(estimate.box).all()
            x, y = (estimate.box[:2] + estimate.box[2:]) / 2
            w, h = estimate.box[2:] - estimate.box[:2]
            assert -0.5 <= x <= 319.5
            assert -0.5 <= y <= 239.5
            assert tracker.smallest - 1e-3 <= w <= 320
            assert tracker.smallest - 1e-3 <= h <= 240


def test_square_and_stretched_crops(model, tracker):
    state = np.array([[100, 100, 40, 20]], np.float32)
    # SiamFC's context: sqrt((40 + 30) (20 + 30)) on both axes
    assert tracker._template_sides(state)[0] == pytest.approx([np.sqrt(70 * 50)] * 2)
    stretched = {**model.card.parameters, "stretched": True, "context": 0.4}
    other = make_tracker(Model(model.folder, dataclasses.replace(model.card, parameters=stretched)), "onnxruntime")
    assert other._template_sides(state)[0] == pytest.approx([56, 28])


def test_networks_have_the_names_of_the_architecture_and_a_golden_sample(model):
    assert [network.name for network in networks(model)] == ["siamese_box/template", "siamese_box/search"]
    assert check_golden(model, "onnxruntime") < 1e-5


def test_parameters_of_a_card_are_checked(model):
    assert SiameseBoxParameters.of(model).feature == (48, 8, 8)
    changes = (
        {"stride": "wide"}, {"colour": 1}, {"feature": [48]}, {"feature": [48, 8, 0]}, {"feature": [48, 8.0, 8]},
        {"cells": -3}, {"stride": float("nan")}, {"stretched": "false"}, {"template_size": 127.9}, {"channels": 48},
        {"search_scale": 0},
    )  # fmt: skip
    for change in changes:
        card = dataclasses.replace(model.card, parameters={**model.card.parameters, **change})
        with pytest.raises(ModelError, match=f"^parameters in the card of model 'tiny': .*{next(iter(change))}"):
            make_tracker(Model(model.folder, card), "onnxruntime")
    with pytest.raises(ModelError, match="feature is None"):
        SiameseBoxParameters.of(Model(model.folder, dataclasses.replace(model.card, parameters={"stride": 16.0})))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("output", ["logits", "distances"])
def test_one_output_that_is_not_finite_costs_one_frame(model, output, value):
    """The target keeps its box with score 0 and is found again on the next image; its neighbour does not notice."""
    spoil = []

    class Spoilt(OnnxEngine):
        def run(self, arrays):
            outputs = super().run(arrays)
            if spoil and output in outputs:
                outputs[output][0] = value
            return outputs

    tracker = SiameseBoxTracker(model, lambda network: Spoilt(network, threads=1))
    centres = np.array([[80, 60], [220, 80]])
    targets = tracker.start(scene(centres), truth(centres))
    tracker.track(scene(centres), targets)
    box = targets[0].box.copy()
    spoil.append(True)
    bad, good = tracker.track(scene(centres), targets)
    np.testing.assert_array_equal(bad.box, box)
    np.testing.assert_array_equal(targets[0].box, box)
    assert bad.score == 0
    assert good.score > 0
    assert iou(good.box, truth(centres)[1]) > 0.4
    spoil.clear()
    again = tracker.track(scene(centres), targets)[0]
    assert again.score > 0
    assert iou(again.box, truth(centres)[0]) > 0.4

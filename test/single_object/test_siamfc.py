import dataclasses

import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidBoxError, ModelError, OutsideImageError
from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.inference.onnx_backend import OnnxEngine
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.golden import check_golden
from deep_tracking_ros.single_object.parts.batches import BATCH
from deep_tracking_ros.single_object.registry import make_tracker, networks
from deep_tracking_ros.single_object.siamfc import SiamFCTracker
from deep_tracking_ros.single_object.tracker import SingleObjectTracker


def path(frames):
    """Centre and scale of the square in each frame: a loop that also comes nearer."""
    t = np.linspace(0, 2 * np.pi, frames)
    return zip(160 + 70 * np.sin(t), 120 + 40 * np.cos(t), 1 + 0.25 * np.sin(t / 2), strict=True)


@pytest.mark.filterwarnings("error")
def test_presence_may_be_as_low_as_it_likes(tracker):
    cells = tracker.parameters.cells
    presence = np.full((1, cells, cells), -120, np.float32)
    shift, _, raw = tracker.peak(np.zeros((1, 9, cells, cells), np.float32), presence)
    np.testing.assert_allclose(shift, 0, atol=1e-4)  # the window alone is left: the middle
    assert raw == -120


def test_a_moving_square_is_followed(tracker, scene):
    overlaps, scores = [], []
    for number, (x, y, scale) in enumerate(path(30)):
        image, truth = scene(x, y, scale)
        if number == 0:
            (target,) = tracker.start(image, truth[None])
            continue
        (estimate,) = tracker.track(image, [target])
        overlaps.append(float(iou(estimate.box, truth)))
        scores.append(estimate.score)
    assert min(overlaps) > 0.6
    assert np.mean(overlaps) > 0.75
    assert min(scores) > 0.5


@pytest.mark.parametrize(("scale", "stretch"), [(1.7, 1.0), (0.6, 1.0), (1.0, 1.6), (1.3, 0.6)])
def test_changes_of_scale_and_aspect_are_followed(tracker, scene, scale, stretch):
    """Over 24 frames to the given scale and aspect, and 6 more in which nothing changes: sizes must not run away."""
    image, truth = scene(160, 120)
    (target,) = tracker.start(image, truth[None])
    for step in range(1, 31):
        share = min(step / 24, 1)
        image, truth = scene(160, 120, scale**share, stretch**share)
        (estimate,) = tracker.track(image, [target])
    assert iou(estimate.box, truth) > 0.7


def test_score_falls_when_the_target_is_gone(tracker, scene):
    image, truth = scene(150, 120)
    (target,) = tracker.start(image, truth[None])
    (there,) = tracker.track(image, [target])
    empty, _ = scene(-400, -400)
    (gone,) = tracker.track(empty, [target])
    assert there.score >= tracker.card.thresholds["tracked"]
    assert gone.score < tracker.card.thresholds["tracked"]
    assert gone.score < there.score - 0.2


def test_a_still_picture_keeps_the_box(tracker, scene):
    image, truth = scene(150, 120)
    (target,) = tracker.start(image, truth[None])
    for _ in range(5):
        (estimate,) = tracker.track(image, [target])
    assert iou(estimate.box, truth) > 0.85


@pytest.mark.parametrize(("dx", "dy"), [(16, 0), (-8, 24)])
def test_moving_picture_and_box_moves_the_result(tracker, scene, dx, dy):
    def follow(offset_x, offset_y):
        first, truth = scene(150, 110)
        second, _ = scene(158, 104)
        shift = np.array([offset_x, offset_y])
        first, second = (np.roll(image, (offset_y, offset_x), (0, 1)) for image in (first, second))
        (target,) = tracker.start(first, (truth + np.tile(shift, 2))[None])
        return tracker.track(second, [target])[0].box

    # the only difference is the mean colour outside of the picture, which these crops do not reach
    np.testing.assert_allclose(follow(dx, dy), follow(0, 0) + np.array([dx, dy, dx, dy]), atol=0.3)


def test_a_batch_gives_what_single_runs_give(tracker, scene):
    image, truth = scene(150, 120)
    later, _ = scene(156, 124)
    boxes = np.stack([truth, truth + 20, truth * 0.5 + 10, truth - 5])
    together = tracker.track(later, tracker.start(image, boxes))
    for box, estimate in zip(boxes, together, strict=True):
        (single,) = tracker.track(later, tracker.start(image, box[None]))
        np.testing.assert_allclose(estimate.box, single.box, atol=1e-2)
        assert estimate.score == pytest.approx(single.score, abs=1e-3)


def test_more_targets_than_one_call_takes(tracker, scene):
    image, truth = scene(150, 120)
    count = BATCH[-1] + 1
    targets = tracker.start(image, np.repeat(truth[None], count, 0))
    estimates = tracker.track(image, targets)
    assert len(targets) == len(estimates) == count
    np.testing.assert_allclose(estimates[-1].box, estimates[0].box, atol=1e-2)


def test_the_same_input_gives_the_same_bits(tracker, scene):
    def run():
        image, truth = scene(150, 120)
        targets = tracker.start(image, truth[None])
        return [tracker.track(scene(150 + 3 * i, 120 + i)[0], targets)[0] for i in range(4)]

    for first, second in zip(run(), run(), strict=True):
        assert first.box.tobytes() == second.box.tobytes()
        assert first.score == second.score


def test_targets_do_not_disturb_each_other(tracker, scene):
    """One added and one dropped in between leave the others as they are."""
    image, truth = scene(150, 120)
    kept = tracker.start(image, truth[None])
    alone = tracker.start(image, truth[None])
    for step in range(4):
        picture, _ = scene(150 + 4 * step, 120)
        others = tracker.start(picture, truth[None] + 15) if step % 2 else []
        (estimate,) = tracker.track(picture, alone)
        together = tracker.track(picture, [*others, *kept])
        np.testing.assert_allclose(together[-1].box, estimate.box, atol=1e-2)


@pytest.mark.parametrize("box", [(-30, -20, 30, 25), (290, 200, 360, 280), (-40, 90, 360, 130), (0, 0, 319, 239)])
def test_start_on_the_border(tracker, scene, box):
    image, _ = scene(150, 120)
    (target,) = tracker.start(image, np.array([box], np.float32))
    for _ in range(3):
        (estimate,) = tracker.track(image, [target])
    assert np.isfinite(estimate.box).all()
    assert iou(estimate.box, np.clip(box, -0.5, [319.5, 239.5, 319.5, 239.5])) > 0.5


def test_a_target_at_the_corner_stays_finite(tracker, scene):
    """A box that is driven off the picture keeps its centre on it and a side that can be searched."""
    image, _ = scene(150, 120)
    (target,) = tracker.start(image, np.array([[0, 0, 8, 8]], np.float32))
    noise = np.random.default_rng(0)
    for _ in range(20):
        (estimate,) = tracker.track(noise.integers(0, 256, image.shape).astype(np.uint8), [target])
        assert np.isfinite(estimate.box).all()
        centre = (estimate.box[:2] + estimate.box[2:]) / 2
        assert (centre >= -0.5).all()
        assert (centre <= [319.5, 239.5]).all()
        assert 0 <= estimate.score <= 1


def test_a_picture_of_one_colour(tracker):
    image = np.full((120, 160, 3), 90, np.uint8)
    (target,) = tracker.start(image, np.array([[40, 40, 80, 80]], np.float32))
    (estimate,) = tracker.track(image, [target])
    assert np.isfinite(estimate.box).all()


def test_nothing_to_follow(tracker, scene):
    image, _ = scene(150, 120)
    assert tracker.start(image, np.zeros((0, 4))) == []
    assert tracker.track(image, []) == []


@pytest.mark.parametrize(
    ("box", "error"),
    [
        ((10, 10, 12, 60), InvalidBoxError),
        ((np.nan, 10, 40, 60), InvalidBoxError),
        ((60, 10, 40, 60), InvalidBoxError),
        ((500, 10, 560, 60), OutsideImageError),
    ],
)
def test_boxes_that_cannot_be_started(tracker, scene, box, error):
    with pytest.raises(error):
        tracker.start(scene(150, 120)[0], np.array([box]))


def test_contract(tracker):
    assert isinstance(tracker, SingleObjectTracker)
    assert isinstance(tracker, SiamFCTracker)
    assert [engine.network.name for engine in tracker.engines] == ["siamfc/exemplar", "siamfc/search"]
    assert 0 < tracker.card.thresholds["lost"] < tracker.card.thresholds["tracked"] < 1


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_backends_give_the_golden_output(model, backend):
    assert check_golden(model, backend=backend) < 1e-3


def test_golden_notices_other_weights(model):
    class Wrong:
        def __init__(self, network):
            self.network = network

        def __call__(self, **inputs):
            shapes = [(1, *spec.shape[1:]) for spec in self.network.outputs]
            return {s.name: np.ones(shape) for s, shape in zip(self.network.outputs, shapes, strict=True)}

    assert check_golden(model, make=Wrong) > 0.1


def test_torch_and_onnxruntime_agree(model, tracker, scene):
    other = make_tracker(model, backend="torch")
    image, truth = scene(150, 120)
    ours, theirs = tracker.start(image, truth[None]), other.start(image, truth[None])
    for step in range(1, 5):
        picture, _ = scene(150 + 5 * step, 120 - 3 * step, 1 + 0.02 * step)
        np.testing.assert_allclose(tracker.track(picture, ours)[0].box, other.track(picture, theirs)[0].box, atol=0.05)


def test_a_peak_between_cells_is_found_between_them(model):
    """Equal responses in two neighbouring cells and two neighbouring scales give the place and scale in the middle."""
    tracker = make_tracker(dataclasses.replace(model, card=free(model.card)), backend="torch")
    cells = tracker.window.shape[0]
    middle = cells // 2
    response = np.full((9, cells, cells), -50.0, np.float32)
    response[[4, 7], middle, middle + 1 : middle + 3] = 20.0  # members 4: (1, 1), 7: (e^step, 1)
    presence = np.full((cells, cells), -9.0, np.float32)
    presence[middle, middle + 1] = 6.0
    shift, scale, raw = tracker.peak(response[None], presence[None])
    np.testing.assert_allclose(shift, [[12, 0]], atol=1e-3)
    np.testing.assert_allclose(scale, [[tracker.parameters.step / 2, 0]], atol=1e-4)
    assert raw == pytest.approx([6.0])


def test_peaks_of_a_batch_are_those_of_each_alone(tracker):
    """Also where the window of cells around the peak is cut by the edge of the map."""
    cells, rng = tracker.window.shape[0], np.random.default_rng(3)
    responses = rng.normal(0, 3, (40, 9, cells, cells)).astype(np.float32)
    presence = rng.normal(0, 1, (40, cells, cells)).astype(np.float32)
    corners = [(0, 0), (0, cells - 1), (cells - 1, 0), (cells - 1, cells - 1), (0, cells // 2)]
    for number, (row, column) in enumerate(corners):
        presence[number] = -9
        presence[number, row, column] = 60
    together = tracker.peak(responses, presence)
    assert [part.shape for part in together] == [(40, 2), (40, 2), (40,)]
    for number in range(40):
        for batch, alone in zip(together, tracker.peak(responses[[number]], presence[[number]]), strict=True):
            np.testing.assert_allclose(batch[number], alone[0], rtol=1e-6)
    x, y = together[0][:5].T / 8 + (cells - 1) / 2  # the mean of cells of which none lies outside
    for number, (row, column) in enumerate(corners):
        assert max(row - 1, 0) <= y[number] <= min(row + 1, cells - 1)
        assert max(column - 1, 0) <= x[number] <= min(column + 1, cells - 1)
    np.testing.assert_array_equal(together[2][:5], 60)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("output", ["responses", "presence"])
def test_one_output_that_is_not_finite_costs_one_frame(model, scene, output, value):
    """The target keeps its box with score 0 and is found again on the next image; its neighbour does not notice."""
    spoil = []

    class Spoilt(OnnxEngine):
        def run(self, arrays):
            outputs = super().run(arrays)
            if spoil and output in outputs:
                outputs[output][0] = value
            return outputs

    tracker = SiamFCTracker(model, lambda network: Spoilt(network, threads=1))
    image, truth = scene(150, 120)
    targets = tracker.start(image, np.stack([truth, truth]))
    tracker.track(image, targets)
    box = targets[0].box.copy()
    spoil.append(True)
    bad, good = tracker.track(image, targets)
    np.testing.assert_array_equal(bad.box, box)
    np.testing.assert_array_equal(targets[0].box, box)
    assert bad.score == 0
    assert good.score > 0.5
    assert iou(good.box, truth) > 0.8
    spoil.clear()
    again = tracker.track(image, targets)[0]
    assert again.score > 0.5
    assert iou(again.box, truth) > 0.8


def free(card):
    """Settings that pull towards nothing."""
    return dataclasses.replace(card, tracking={**card.tracking, "window": 0.0, "scale_penalty": 0.0, "reach": 1})


SOUND = {"channels": 96, "kernel": 10, "exemplar": 112, "search": 208, "step": 0.15}


def with_card(model, **changes):
    return Model(model.folder, dataclasses.replace(model.card, **changes))


def test_weights_that_do_not_fit_are_refused_by_key(model):
    narrow = with_card(model, parameters={**model.card.parameters, "channels": 64})
    with pytest.raises(ModelError, match=r"siamfc.*embedding\.lateral\.weight|attention\.weight is"):
        networks(narrow)[0].module()


@pytest.mark.parametrize(
    "changes",
    [
        {"tracking": {"windw": 0.3}},
        {"tracking": {"window": "a"}},
        {"tracking": {"window": 7.0}},
        {"tracking": {"reach": -1}},
        {"tracking": {"reach": 1.0}},
        {"tracking": {"scale_rate": float("nan")}},
        {"calibration": {"raw": [1.0, 0.0], "probability": [0.0, 1.0]}},
        {"calibration": {}},
        {"parameters": {"channels": 96}},
        {"parameters": {**SOUND, "exemplar": 113}},
        {"parameters": {**SOUND, "exemplar": "big"}},
        {"parameters": {**SOUND, "search": 104}},
        {"parameters": {**SOUND, "kernel": 15}},
        {"parameters": {**SOUND, "step": float("inf")}},
        {"parameters": {**SOUND, "channels": 0}},
    ],
)
def test_cards_that_make_no_sense_are_refused(model, changes):
    with pytest.raises(ModelError, match=r"^(parameters in|tracking in|calibration of) the (model )?card"):
        make_tracker(with_card(model, **changes), backend="torch")


def test_unknown_names_list_the_known(model):
    with pytest.raises(ModelError, match="siamfc"):
        make_tracker("siamfcc")
    with pytest.raises(ModelError, match=r"known are: .*siamfc"):
        make_tracker(with_card(model, architecture="siamxyz"))

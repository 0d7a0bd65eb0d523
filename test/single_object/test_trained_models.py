"""Every model of the package follows what it was trained for: a drawn scene, and real sequences where they are."""

import cv2
import numpy as np
import pytest
from conftest import texture

from deep_tracking_ros.evaluation import sot
from deep_tracking_ros.evaluation.datasets import find_sequences
from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.models.store import find_model, list_models
from deep_tracking_ros.single_object.golden import check_golden
from deep_tracking_ros.single_object.registry import make_tracker
from deep_tracking_ros.training.composites import SceneSettings, draw_scene
from deep_tracking_ros.training.pictures import load_pictures
from deep_tracking_ros.training.render import render

MODELS = [model.card.name for model in list_models("single_object")]
MASKS = [model.card.name for model in list_models("single_object") if model.card.architecture == "siammask"]
REAL = ("boat1", "Crossing", "wakeboard7")
"""Short reference sequences."""
AUC = {
    "atom": 0.762,
    "goturn": 0.444,
    "mdnet": 0.629,
    "rpt": 0.775,
    "siamfc": 0.763,
    "siammask": 0.787,
    "siamrpn": 0.725,
    "transt": 0.697,
}
"""Mean success AUC of each model on them, measured with the code that this test came with (ONNX Runtime, one pass)."""
FRAMES = 20


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Images of one object that moves, bends and is seen all the time, and its boxes."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), texture(number, 400, 320, (9, 40, 6, 28)[number]))
    settings = SceneSettings(distractors=0, occluded=0, shapes=1.0, smallest=44.0, camera=0.04, rotation=0.15)
    scene = draw_scene(load_pictures([folder]), np.random.default_rng(2), settings)
    views = [render(scene.scene, t) for t in np.linspace(0, 1, FRAMES)]
    truth = np.stack([view.box_on_picture(scene.target) for view in views])
    assert all(view.visibility[scene.target] > 0.95 for view in views)
    assert iou(truth[0], truth[-1]) < 0.3  # it really goes somewhere
    return [view.image for view in views], truth


@pytest.mark.parametrize("name", [*MODELS, *(f"siamfc+{name}" for name in MASKS)])
def test_a_drawn_object_is_followed(drawn, name):
    images, truth = drawn
    tracker = make_tracker(name, "onnxruntime", threads=1)
    targets = tracker.start(images[0], truth[:1])
    estimates = [tracker.track(image, targets)[0] for image in images[1:]]
    overlaps = iou(np.stack([estimate.box for estimate in estimates]), truth[1:])
    assert overlaps.mean() > 0.5, overlaps.round(2).tolist()
    assert overlaps[-1] > 0.3
    assert all(0 <= estimate.score <= 1 for estimate in estimates)


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_a_drawn_object(drawn, name):
    images, truth = drawn
    tracker = make_tracker(name, "onnxruntime", threads=1)
    targets = tracker.start(images[0], truth[:1])
    estimates = [tracker.track(image, targets)[0] for image in images[1:]]
    seen = [estimate.mask for estimate in estimates if estimate.mask is not None]
    assert len(seen) > len(estimates) / 2
    assert all((mask.data > 0).any() for mask in seen)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_backends_give_the_golden_numbers(name, backend):
    assert check_golden(find_model(name), backend) < 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_cards_say_what_a_user_asks(name):
    card = find_model(name).card
    assert card.licence
    assert card.origin
    assert card.training["command"]
    assert card.results["calibration"]["calibration_error"] < 0.1
    assert 0 < card.thresholds["lost"] < card.thresholds["tracked"] < 1


@pytest.mark.parametrize("name", MODELS)
def test_real_sequences_are_followed_as_well_as_they_were(reference, name):
    if name not in AUC:
        pytest.skip(f"what {name} reaches on {', '.join(REAL)} was not measured")
    tracker = sot.competitor(make_tracker(name, "onnxruntime", threads=1))
    runs = [sot.run(tracker, sequence) for sequence in find_sequences(reference("data/sot"), REAL)]
    assert sot.summarise(runs).auc > AUC[name] - 0.02


WITH_NEAR = [model.card.name for model in list_models("single_object") if model.card.parameters.get("near")]


@pytest.mark.parametrize("name", WITH_NEAR)
def test_of_many_targets_those_that_stay_are_sought_near_and_others_far(drawn, name, monkeypatch):
    """Near crops are for targets that are where they were; a copy that looks elsewhere sees as far as one alone."""
    images, truth = drawn
    tracker = make_tracker(name, "onnxruntime", threads=1)
    sides = []
    search = tracker.search
    monkeypatch.setattr(tracker, "search", lambda t, c: (sides.append((c.shape[1], len(t))), search(t, c))[1])
    far, near = tracker.parameters.sides

    def tracked(targets):
        sides.clear()
        estimates = tracker.track(images[0], targets)
        return estimates, dict(sides)

    targets = tracker.start(images[0], truth[[0, 0, 0, 0, 0]])
    size = np.sqrt(np.prod(truth[0, 2:] - truth[0, :2]))
    _, used = tracked(targets)
    assert used == {far: 5}  # whether they move is not known yet
    box = targets[0].box.copy()
    apart = box + np.array([0.6, 0, 0.6, 0], np.float32) * size
    copies = [*targets[:4], targets[4].at(apart)]
    estimates, used = tracked(copies)
    assert used == {far: 1, near: 4}
    alone = tracker.track(images[0], [targets[4].at(apart)])[0]
    np.testing.assert_allclose(estimates[4].box, alone.box, atol=1e-2)
    assert iou(estimates[4].box, truth[0]) > 0.5  # beyond what a near crop shows whole
    _, used = tracked(copies)
    assert used == {far: 1, near: 4}  # it has moved much
    _, used = tracked(copies[:3])
    assert used == {far: 3}  # few


def test_on_a_gpu_all_targets_of_an_image_are_one_call(drawn, monkeypatch):
    """Two sides of crops would be two calls: a GPU takes one batch in less time."""
    from deep_tracking_ros.inference.factory import make_engine
    from deep_tracking_ros.single_object.rpt import RPTTracker

    def make(network):
        engine = make_engine(network, "onnxruntime", threads=1)
        engine.device = "cuda"
        return engine

    images, truth = drawn
    tracker = RPTTracker(find_model("rpt"), make)
    for engine in tracker.engines:
        engine.device = "cpu"  # where it really runs
    sides = []
    search = tracker.search
    monkeypatch.setattr(tracker, "search", lambda t, c: (sides.append((c.shape[1], len(t))), search(t, c))[1])
    targets = tracker.start(images[0], truth[[0] * 5])
    for _ in range(3):
        tracker.track(images[0], targets)
    assert sides == [(tracker.parameters.search, 5)] * 3


@pytest.mark.parametrize(
    ("name", "threads", "expected"), [("atom", 0, 1), ("mdnet", 0, 1), ("atom", 2, 2), ("rpt", 0, 3)]
)
def test_what_learns_online_keeps_torch_to_its_threads(name, threads, expected):
    """On a busy machine more threads than these wait for each other, ten times as long as they compute."""
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        make_tracker(name, "onnxruntime", threads=threads)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)

"""All heads of the siamese trackers are trained together, and become models that track."""

import dataclasses
import json
import re

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DeepTrackingError, InvalidRequestError, ModelError
from deep_tracking_ros.models.store import find_model
from deep_tracking_ros.single_object.registry import make_tracker
from deep_tracking_ros.training.heads import HEADS
from deep_tracking_ros.training.heads.losses import overlaps, places, presence_loss
from deep_tracking_ros.training.heads.mdnet import draw, ridge
from deep_tracking_ros.training.heads.rpt import outline_distance
from deep_tracking_ros.training.siamese import CONTOUR, SiameseTask, outline


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Smooth random pictures: backgrounds and textures for composed scenes."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(6):
        coarse = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC))
    return folder


def test_all_heads_learn_and_become_models(tmp_path, photographs):
    """Ten steps lower the loss of each head; every model starts and follows a target."""
    out = tmp_path / "run"
    command = ["train", "sot", "--heads", ",".join(HEADS), "--images", str(photographs), "--out", str(out)]
    result = CliRunner().invoke(app, [*command, "--steps", "10", "--batch", "4", "--workers", "0"])
    assert result.exit_code != 0  # the mask needs features that are not cached
    assert "siammask" in str(result.exception)
    names = [name for name in HEADS if name != "siammask"]
    command[3] = ",".join(names)
    result = CliRunner().invoke(app, [*command, "--steps", "12", "--batch", "4", "--workers", "0"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 12
    image = np.random.default_rng(1).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    for name in names:
        model = find_model(str(out / "models" / name))
        assert model.card.architecture == HEADS[name].module
        assert model.card.training["heads"] == names
        tracker = make_tracker(model)
        targets = tracker.start(image, [[60, 40, 100, 80]])
        (estimate,) = tracker.track(image, targets)
        assert np.isfinite(estimate.box).all()


@pytest.mark.parametrize("name", HEADS)
def test_a_head_learns_a_batch_by_heart(name, photographs):
    """Eight steps on one batch take at least a fifth off the head's loss."""
    torch.manual_seed(0)
    task = SiameseTask((name,), (str(photographs),), (), cache_features=False)
    make = task.producer(0, 0)
    samples = [make() for _ in range(4)]
    batch = {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in samples[0]}
    network = task.network()
    network.backbone.requires_grad_(False)
    optimizer = torch.optim.AdamW(network.heads.parameters(), 1e-3)
    losses = []
    for _ in range(9):
        torch.manual_seed(1)  # the same random boxes
        loss = task.loss(network, batch)["loss"]
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_unknown_heads_are_named(photographs):
    with pytest.raises(InvalidRequestError, match="no such heads: yolo"):
        SiameseTask(("rpt", "yolo"), (str(photographs),), ())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--heads siamfc --backbone rpt --continued --zoomed 0.5", "without --backbone, --continued, --zoomed"),
        ("--heads siamfc --continued", "siamfc is trained without --continued"),
        ("--heads siamrpn --continued", "give its model as --backbone"),
        ("--heads siamrpn --holdout parkour", "--holdout names videos"),
        ("--heads siamrpn --backbone siamfc", r"model 'siamfc' do not fit .*backbone\.early\.\S+ is missing"),
        ("--heads siamrpn --backbone nosuch", "there is no model 'nosuch'"),
    ],
)
def test_options_that_would_do_nothing_are_refused(photographs, tmp_path, options, words):
    command = ["train", "sot", *options.split(), "--images", str(photographs), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, "--steps", "1", "--batch", "2", "--workers", "0"])
    assert isinstance(result.exception, DeepTrackingError), result.output
    assert re.search(words, str(result.exception))
    assert not (tmp_path / "log.jsonl").exists()


def test_heads_that_do_not_fit_are_refused_by_key(photographs, monkeypatch):
    monkeypatch.setitem(HEADS, "siamrpn", dataclasses.replace(HEADS["siamrpn"], parameters={"channels": 32}))
    task = SiameseTask(("siamrpn",), (str(photographs),), (), backbone="rpt", continued=True, cache_features=False)
    with pytest.raises(ModelError, match=r"model 'siamrpn' do not fit .*head\.\S+ is \["):
        task.network()


def test_samples_without_a_target_have_an_empty_mask_and_no_outline(photographs):
    task = SiameseTask(("rpt",), (str(photographs),), (), cache_features=False)
    make = task.producer(0, 0)
    samples = [make() for _ in range(40)]
    negative = [sample for sample in samples if not sample["positive"] and (sample["mask"] == 0).all()]
    positive = [sample for sample in samples if sample["positive"]]
    assert negative
    assert all(not np.isfinite(sample["contour"]).any() for sample in negative)
    shown = [sample for sample in positive if np.isfinite(sample["contour"]).all()]
    assert len(shown) == len(positive)
    for sample in shown:  # what is seen of the target lies in its box, which is drawn up to a tenth looser or tighter
        low, high = sample["target"][:2], sample["target"][2:]
        slack = 0.12 * (high - low) + 2
        assert ((sample["contour"] >= low - slack) & (sample["contour"] <= high + slack)).all()


def test_places_of_a_target():
    """A box of 96 x 64 px around (127.5, 127.5): the ellipse has radii of 24 and 16 px, cells lie 16 px apart."""
    target = torch.tensor([[79.5, 95.5, 175.5, 159.5]])
    on, unasked = places(target, torch.ones(1), 16)
    assert (
        int(on.sum()) == 4
    )  # the four cells at 8 px from the centre in x and y: (8/24)^2 + (8/16)^2 < 1, (24/24)^2 + ... > 1
    assert int((on | unasked).sum()) == 6 * 4
    assert not (on & unasked).any()
    on, unasked = places(target, torch.zeros(1), 16)
    assert not on.any()
    assert not unasked.any()


def test_presence_loss_falls_with_better_logits():
    on = torch.zeros(1, 100, dtype=torch.bool)
    on[0, 7] = True
    unasked = torch.zeros_like(on)
    good, bad = torch.full((1, 100), -6.0), torch.full((1, 100), -6.0)
    good[0, 7], bad[0, 30] = 6.0, 6.0
    assert presence_loss(good, on, unasked) < 0.01 < presence_loss(bad, on, unasked)
    unasked[0, 30] = True  # a place that is not asked does not count
    bad[0, 7] = 6.0
    assert presence_loss(bad, on, unasked) < 0.01


def test_overlaps_of_known_boxes():
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    second = torch.tensor([[1.0, 0, 3, 2], [2, 0, 3, 1]])
    iou, giou = overlaps(first, second)
    assert iou.tolist() == pytest.approx([2 / 6, 0])
    assert giou.tolist() == pytest.approx([2 / 6, -1 / 3])


def test_outline_distance_is_zero_on_the_outline_only():
    square = torch.tensor([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    contour = square.repeat(CONTOUR // 4, 1)[None]
    points = square.flip(1).reshape(1, 8, 1, 1).clone()  # y before x
    on = torch.ones(1, 1, 1, dtype=torch.bool)
    target = torch.tensor([[0.0, 0, 10, 10]])
    assert float(outline_distance(points, contour, target, on)) == pytest.approx(0, abs=1e-5)
    assert float(outline_distance(points + 1, contour, target, on)) == pytest.approx(0.1 * 2**0.5, rel=1e-4)
    assert float(outline_distance(points, torch.full_like(contour, float("nan")), target, on)) == 0


def test_outline_of_a_mask():
    mask = np.zeros((50, 60), np.uint8)
    mask[10:30, 20:50] = 255
    points = outline(mask, 16)
    assert points.shape == (16, 2)
    assert points.min(0).tolist() == [20, 10]
    assert points.max(0).tolist() == pytest.approx([49, 29], abs=7)
    mask[:] = 0
    cv2.fillConvexPoly(mask, np.array([[5, 5], [45, 45], [5, 45]]), 255)
    triangle = outline(mask, 40)
    steps = np.linalg.norm(np.roll(triangle, -1, 0) - triangle, axis=1)
    assert steps.max() < 1.15 * np.median(steps)  # as far from each other along the slope as along straight sides
    assert np.isnan(outline(np.zeros((5, 5), np.uint8), 4)).all()


def test_drawn_boxes_overlap_as_they_are_labelled():
    torch.manual_seed(0)
    target = torch.tensor([[40.0, 50, 90, 90], [10, 10, 60, 110]]).repeat(200, 1)
    boxes, label = draw(target, 128)
    iou, _ = overlaps(boxes, target[:, None])
    assert (iou[label > 0] > 0.6).all()
    assert (iou[label > 0] > 0.7).float().mean() > 0.95
    assert (iou[label == 0] < 0.5).float().mean() > 0.999  # but where there are too few


def test_ridge_regression_separates():
    torch.manual_seed(0)
    label = torch.cat([torch.ones(16), -torch.ones(48)])[None]
    described = torch.randn(1, 64, 5) * 0.1 + label[..., None]
    weights = ridge(described, label)
    said = torch.matmul(torch.cat([described, torch.ones(1, 64, 1)], 2), weights)[..., 0]
    assert (said.sign() == label).all()

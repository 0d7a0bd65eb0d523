import dataclasses
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import find_model
from deep_tracking_ros.single_object.golden import check_golden
from deep_tracking_ros.single_object.tracker import Estimate, Target
from deep_tracking_ros.training.clips import Clip, ClipSet, split
from deep_tracking_ros.training.finish import finish
from deep_tracking_ros.training.siamfc import hats, losses
from deep_tracking_ros.training.validation import Passes, calibrate, passes


def clip(folder: Path, name: str, shade: int, frames: int = 20):
    """A grey clip whose target moves one px a frame, and which is not seen in frame 3."""
    (folder / name).mkdir()
    files = []
    for i in range(frames):
        files.append(folder / name / f"{i:04}.png")
        cv2.imwrite(str(files[-1]), np.full((60, 80, 3), shade, np.uint8))
    boxes = np.array([[10 + i, 10, 30 + i, 30] for i in range(frames)], np.float32)
    boxes[3] = np.nan
    return Clip(name, name, tuple(files), boxes)


@dataclass(eq=False)
class Mover(Target):
    shade: int = 0


class OnePixelRight:
    """Moves its box one px to the right a frame; sure where the picture has the shade of the first one."""

    def start(self, image, boxes):
        return [Mover(np.array(box, np.float32), int(image[0, 0, 0])) for box in boxes]

    def track(self, image, targets):
        for target in targets:
            target.box = target.box + np.array([1, 0, 1, 0], np.float32)
        return [Estimate(t.box, 0.9 if image[0, 0, 0] == t.shade else 0.1) for t in targets]


@pytest.fixture
def clips(tmp_path):
    return ClipSet([clip(tmp_path, "dark", 40), clip(tmp_path, "light", 200)])


def test_passes_forwards_and_backwards(clips):
    result = passes(OnePixelRight(), clips, every=100, absent=False)
    assert result.names == ("dark", "dark", "light", "light")
    # 19 frames after the first, one of them without a known box
    assert [(result.number == n).sum() for n in range(4)] == [18, 18, 18, 18]
    assert (result.overlap[result.number == 0] == 1).all()
    # backwards the box moves the wrong way: overlaps of boxes 2, 4, 6 ... px apart
    np.testing.assert_allclose(result.overlap[result.number == 1][:3], [18 / 22, 16 / 24, 14 / 26], atol=1e-5)
    forwards = 20 / 21  # IoU 1 is above all thresholds but the last
    backwards = np.mean(result.overlap[result.number == 1][:, None] > np.linspace(0, 1, 21))
    assert result.auc() == pytest.approx((forwards + backwards) / 2, abs=1e-6)


def test_laps_turn_round_at_the_ends_of_a_clip(clips):
    result = passes(OnePixelRight(), clips, every=100, absent=False, laps=2)
    # there, back and there again: 3 x 19 frames, one of each way without a known box
    assert [(result.number == n).sum() for n in range(4)] == [54, 54, 54, 54]
    once = passes(OnePixelRight(), clips, every=100, absent=False)
    for number in range(4):
        np.testing.assert_array_equal(result.overlap[result.number == number][:18], once.overlap[once.number == number])
    # on the way back the target comes towards a box that went on: in the middle of lap 1 they are 20 px apart
    assert result.overlap[result.number == 0][18:36].max() < 1
    strided = passes(OnePixelRight(), clips, every=100, absent=False, strides=(4,), laps=1)
    assert (strided.number == 0).sum() == 4 + 4  # 4 8 12 16 and 12 8 4 0


def test_targets_that_are_gone_count_as_bad(clips):
    result = passes(OnePixelRight(), clips, every=100)
    assert (~result.present).sum() == 4 * 6
    assert (result.overlap[~result.present] == 0).all()
    assert (result.score[~result.present] < 0.5).all()
    assert result.auc() == passes(OnePixelRight(), clips, every=100, absent=False).auc()


def test_calibration_separates_good_from_bad():
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 3, 2000).astype(np.float32)
    good = rng.random(2000) < 1 / (1 + np.exp(-raw))
    result = Passes(
        ("a", "b"), np.arange(2000) % 2, np.where(good, 0.8, 0.1).astype(np.float32), raw, np.ones(2000, bool)
    )
    trust = calibrate(raw, result)
    assert trust.error < 0.06
    assert trust.lost < trust.tracked
    score = trust.curve(raw)
    assert trust.false_alarms == pytest.approx((score[~good] >= trust.tracked).mean())
    assert trust.false_alarms <= 0.1
    assert trust.missed < 0.1


def test_videos_are_split_never_clips_of_one_video(tmp_path):
    clips = ClipSet(
        [Clip(f"{video}_{i}", video, clip(tmp_path, f"{video}{i}", 90, 4).frames, np.ones((4, 4), np.float32))
         for video in ("a", "b", "c", "d") for i in range(2)]
    )  # fmt: skip
    kept, held = split(clips, ("b",))
    assert {c.video for c in held} == {"b"}
    assert {c.video for c in kept} == {"a", "c", "d"}
    kept, held = split(clips, ())
    assert {c.video for c in held} == {"c"}


def test_hats_interpolate():
    import torch

    weights = hats(torch.tensor([2.25, 0.0]), 4)
    torch.testing.assert_close(weights, torch.tensor([[0, 0, 0.75, 0.25], [1.0, 0, 0, 0]]))


def volume(cell, member, height):
    """Responses with one peak, and the presence that goes with them."""
    import torch

    responses = torch.zeros(1, 9, 19, 19)
    responses[0, member, cell[1], cell[0]] = height
    return responses, torch.logsumexp(responses, 1) - 8


def test_loss_is_least_at_the_truth():
    import torch

    size, crop, step = torch.tensor([[40.0, 60.0]]), 224, 0.15
    # 2 cells to the right and 1 up of the middle, wider by a whole step
    target = torch.tensor([[111.5 + 16, 111.5 - 8, 40 * np.exp(step), 60.0]], dtype=torch.float32)
    positive = torch.ones(1)

    def loss(cell, member):
        return losses(*volume(cell, member, 16.0), size, target, positive, crop, step)

    best = loss((11, 8), 7)  # member 7: wider, as high
    assert best["place"] < 0.01
    assert best["hit"] == 1
    assert best["scale_error"] < 0.01
    for cell, member in (((10, 8), 7), ((11, 9), 7), ((11, 8), 4), ((11, 8), 5)):
        assert loss(cell, member)["place"] > best["place"] + 1
    assert loss((3, 3), 7)["presence"] > best["presence"] + 0.1


def test_negative_pairs_teach_presence_only():
    import torch

    responses, presence = volume((9, 9), 4, 16.0)
    size, target = torch.tensor([[40.0, 60.0]]), torch.tensor([[111.5, 111.5, 40.0, 60.0]])
    there = losses(responses, presence, size, target, torch.ones(1), 224, 0.15)
    gone = losses(responses, presence, size, target, torch.zeros(1), 224, 0.15)
    assert gone["place"] == 0
    assert gone["hit"] == 0
    assert gone["presence"] > 0.005
    assert there["place"] < 0.01


def test_a_model_is_finished_where_an_earlier_one_lies(tmp_path, clips):
    """Trackers are tried on the golden sample of their folder: that of the earlier model must not be asked."""
    model, folder = find_model("siamfc"), tmp_path / "model"
    folder.mkdir()
    other = {key: array * 2 if array.dtype.kind == "f" else array for key, array in model.golden().items()}
    np.savez_compressed(folder / "golden.npz", **other)
    weights = {key: torch.from_numpy(value) for key, value in model.state().items()}
    card = dataclasses.replace(model.card, name="again", tracking={}, calibration={}, thresholds={}, results={})
    made = finish(card, weights, folder, clips, {"window": (0.3, 0.2)}, lambda text: None)
    assert check_golden(made, "torch") < 1e-3
    assert ModelCard.load(folder / "card.yaml") == made.card
    assert 0 <= made.card.results["calibration"]["calibration_error"] <= 1
    assert "&id" not in (folder / "card.yaml").read_text()

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import find_model
from deep_tracking_ros.single_object.golden import check_golden
from deep_tracking_ros.single_object.parts.calibration import Calibration
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


def seen(raw, good, number=None, videos=("a", "b")):
    """Passes with these confidences, each of a clip and a video of its own."""
    number = np.arange(len(raw)) % 2 if number is None else number
    names, overlap = tuple(f"clip{n}" for n in range(len(videos))), np.where(good, 0.8, 0.1).astype(np.float32)
    return Passes(names, videos, number, overlap, np.asarray(raw, np.float32), np.ones(len(raw), bool))


def test_calibration_separates_good_from_bad():
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 3, 2000).astype(np.float32)
    good = rng.random(2000) < 1 / (1 + np.exp(-raw))
    trust = calibrate(raw, seen(raw, good))
    assert trust.error < 0.06
    assert trust.lost < trust.tracked
    # good and bad overlap here: that a target which is followed well counts as tracked comes first
    assert (trust.curve(raw)[good] >= trust.tracked).mean() > 0.89
    assert (trust.curve(raw)[~good] >= trust.tracked).mean() < 0.3
    told_apart = rng.random(2000) < 1 / (1 + np.exp(-5 * raw))
    clear = calibrate(raw, seen(raw, told_apart))
    assert (clear.curve(raw)[~told_apart] >= clear.tracked).mean() <= 0.1
    assert (clear.curve(raw)[told_apart] >= clear.tracked).mean() > 0.89
    assert trust.false_alarms < 0.25
    assert trust.missed < 0.1


def test_what_a_curve_is_worth_is_measured_on_videos_that_it_was_not_fitted_to():
    """In video a high confidence is right, in video b it is wrong: a curve of the one misleads about the other."""
    raw = np.tile(np.linspace(-5, 5, 100, dtype=np.float32), 4)
    number = np.repeat(np.arange(4), 100)
    good = (raw > 0) == (number < 2)
    trust = calibrate(raw, seen(raw, good, number, ("a", "a", "b", "b")))
    assert trust.false_alarms > 0.4
    assert trust.missed > 0.4
    assert trust.error > 0.4
    # clips that are videos of their own say what the other clip of the video said
    of_clips = calibrate(raw, seen(raw, good, number, ("a", "b", "c", "d")))
    assert of_clips.error < trust.error - 0.1
    assert of_clips.missed < 0.1


def test_at_most_a_tenth_of_the_bad_frames_are_tracked_however_high_their_scores():
    """Where 15 of 1000 frames with a high confidence are bad, nearly all of the bad ones."""
    raw = np.concatenate([np.full(400, 8.0), np.linspace(2, 8, 600), np.linspace(-5, 0, 5)]).astype(np.float32)
    good = np.concatenate([np.arange(1000) % 60 > 0, np.zeros(5, bool)])
    trust = calibrate(raw, seen(raw, good))
    highest = trust.curve(raw).max()
    assert 0.9 < trust.tracked <= highest  # or no target would ever be tracked
    assert round(trust.tracked, 3) <= highest


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (np.zeros(0), r"^0 frames .* too few .* 50 are needed"),
        (np.linspace(-1, 1, 49), r"^49 frames .* too few"),
        (np.full(100, 20.0), r"^the confidence is 20 to 20 in all 100 frames"),
    ],
)
def test_too_little_to_calibrate_on_is_an_error(raw, words):
    with pytest.raises(DataError, match=words):
        calibrate(raw.astype(np.float32), seen(raw, np.arange(len(raw)) % 2 == 0))


def test_knots_stay_apart_in_a_card():
    raw = np.linspace(0, 0.02, 100)
    curve = Calibration.fit(raw, np.arange(100) > 50)
    card = {"raw": [round(float(v), 3) for v in curve.raw], "probability": curve.probability.tolist()}
    assert len(Calibration.from_card(card).raw) > 2


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
    two = ClipSet([c for c in clips.clips if c.video in "ab"])
    assert [{c.video for c in part} for part in split(two, ())] == [{"a"}, {"b"}]
    one = ClipSet([c for c in clips.clips if c.video == "a"])
    assert [{c.video for c in part} for part in split(one, ())] == [{"a"}, set()]
    with pytest.raises(DataError, match="no videos e, f to hold out; there are a, b, c, d"):
        split(clips, ("f", "a", "e"))


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


def test_a_model_is_finished_where_an_earlier_one_lies(tmp_path):
    """Trackers are tried on the golden sample of their folder: that of the earlier model must not be asked."""
    clips = ClipSet([clip(tmp_path, "dark", 40, 8), clip(tmp_path, "light", 200, 8)])
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


def test_a_training_is_not_lost_where_the_held_out_clips_are_too_short(tmp_path):
    model, short = find_model("siamfc"), ClipSet([clip(tmp_path, "dark", 40, 4)])
    weights = {key: torch.from_numpy(value) for key, value in model.state().items()}
    card = dataclasses.replace(model.card, name="short", tracking={}, calibration={}, thresholds={}, results={})
    said = []
    made = finish(card, weights, tmp_path / "model", short, {}, said.append)
    assert "frames with a known box are too few" in made.card.results["calibration"]
    assert "the score is not calibrated" in said[-1]
    Calibration.from_card(made.card.calibration)

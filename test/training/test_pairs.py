"""Clips, pairs of pictures, and the crops that a network sees of them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.training.clips import ClipSet, load_clips
from deep_tracking_ros.training.pairs import PairSampler, PairSettings, turned
from deep_tracking_ros.training.photometric import PhotometricSettings, photometric
from deep_tracking_ros.training.pictures import PictureSet, load_pictures
from deep_tracking_ros.training.procedural import procedural_pictures, texture
from deep_tracking_ros.training.samples import CutSettings, contact_sheet, cut
from deep_tracking_ros.training.views import Pair, TargetView

PLAIN = PhotometricSettings(0, 0, 0, 0, 0, 0, 0, 0)


def write_clip(folder, frames=30, seed=0, hidden=()):
    """A bright square of 20 px that moves 2 px a frame."""
    (folder / "img").mkdir(parents=True)
    (folder / "mask").mkdir()
    background = texture(np.random.default_rng(seed), 160, 120) // 2
    lines = []
    for i in range(frames):
        image, mask = background.copy(), np.zeros((120, 160), np.uint8)
        image[40:60, 10 + 2 * i : 30 + 2 * i] = (40, 240, 240)
        mask[40:60, 10 + 2 * i : 30 + 2 * i] = 255
        cv2.imwrite(str(folder / "img" / f"{i + 1:04}.png"), image)
        cv2.imwrite(str(folder / "mask" / f"{i + 1:04}.png"), mask)
        lines.append("nan,nan,nan,nan" if i in hidden else f"{10 + 2 * i},40,20,20")
    (folder / "boxes.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    write_clip(root / "one", hidden=(0, 3))
    write_clip(root / "two", seed=1)
    write_clip(root / "other", seed=2)
    (root / "index.csv").write_text("name,video\none,street\ntwo,street\nother,park\n")
    return load_clips([root])


@pytest.fixture(scope="module")
def pictures():
    return PictureSet(procedural_pictures(seed=1, number=6))


def same(first: Pair, second: Pair) -> bool:
    return all(
        np.array_equal(a.image, b.image) and np.array_equal(a.box, b.box)
        for a, b in ((first.template, second.template), (first.search, second.search))
    )


def test_clips_are_read_with_their_boxes_and_videos(clips):
    one = next(c for c in clips.clips if c.name == "one")
    assert one.video == "street"
    assert len(one.frames) == 30
    np.testing.assert_array_equal(one.seen()[:3], [1, 2, 4])
    view = clips.view(one, 5)
    np.testing.assert_array_equal(view.box, [19.5, 39.5, 39.5, 59.5])
    ys, xs = np.nonzero(view.mask)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (20, 39, 40, 59)


@pytest.mark.parametrize(
    ("boxes", "message"), [("1,2,3,4", "30 images, 1 boxes"), ("1,2,3\nx", "one x,y,w,h line"), (None, "no clip in")]
)
def test_a_clip_that_does_not_fit_is_named(tmp_path, boxes, message):
    write_clip(tmp_path / "one")
    if boxes is None:
        (tmp_path / "one" / "boxes.txt").unlink()
    else:
        (tmp_path / "one" / "boxes.txt").write_text(boxes)
    with pytest.raises(DataError, match=message):
        load_clips([tmp_path])


def test_pairs_of_clips_keep_to_one_video_and_the_gap(clips):
    sampler = PairSampler(PictureSet(procedural_pictures(number=1)), clips, PairSettings(1, 0, 0, 0.3, max_gap=5), 0)
    negatives = 0
    for _ in range(200):
        pair = sampler.sample()
        assert pair.kind == "clip"
        moved = abs(pair.search.box[0] - pair.template.box[0]) / 2
        negatives += not pair.positive
        if pair.positive:
            assert 1 <= moved <= 5
    assert 30 < negatives < 90


def test_the_mix_is_as_asked(pictures, clips):
    sampler = PairSampler(pictures, clips, PairSettings(clip=0.5, still=0.3, composite=0.2, negative=0.12), 0)
    pairs = [sampler.sample() for _ in range(300)]
    share = {kind: np.mean([p.kind == kind for p in pairs]) for kind in ("clip", "still", "composite")}
    assert share == pytest.approx({"clip": 0.5, "still": 0.3, "composite": 0.2}, abs=0.1)
    assert np.mean([not p.positive for p in pairs]) == pytest.approx(0.12, abs=0.06)


def test_a_seed_and_a_number_decide_a_pair(pictures, clips):
    first = PairSampler(pictures, clips, PairSettings(), 5)
    pairs = [first.sample() for _ in range(8)]
    again = PairSampler(pictures, clips, PairSettings(), 5)
    again.index = 4
    assert all(same(again.sample(), pair) for pair in pairs[4:])
    assert not same(PairSampler(pictures, clips, PairSettings(), 6).sample(), pairs[0])
    crops = [cut(pairs[0], np.random.default_rng(1)) for _ in range(2)]
    np.testing.assert_array_equal(crops[0].search, crops[1].search)


def test_kinds_without_a_source_are_left_out():
    sampler = PairSampler(PictureSet(procedural_pictures(number=3)), ClipSet(), PairSettings(), 0)
    assert {sampler.sample().kind for _ in range(40)} == {"still", "composite"}
    with pytest.raises(InvalidRequestError, match="no pair can be drawn"):
        PairSampler(PictureSet(procedural_pictures(number=1)), ClipSet(), PairSettings(still=0, composite=0), 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(8, 60), st.floats(8, 60))
def test_the_box_in_the_crop_is_where_the_object_is(seed, width, height):
    """An object of one colour on black: its pixels in the crop end where the box says."""
    x0, y0 = 70 - int(width / 2), 60 - int(height / 2)
    x1, y1 = x0 + int(width), y0 + int(height)
    image = np.zeros((120, 140, 3), np.uint8)
    image[y0:y1, x0:x1] = 255
    view = TargetView(image, np.array([x0, y0, x1, y1], np.float32) - np.float32(0.5), image[..., 0])
    exact = CutSettings(photometric=PLAIN, box_noise=0)
    sample = cut(Pair(view, view, True, "still"), np.random.default_rng(seed), exact)
    assert sample.template.shape == (127, 127, 3)
    assert sample.search.shape == (255, 255, 3)
    scale = (sample.box[2] - sample.box[0]) / (x1 - x0)
    # outside of the picture is its mean, which is darker than half of white here
    ys, xs = np.nonzero(sample.search[..., 0] > 140)
    found = [xs.min() - 0.5, ys.min() - 0.5, xs.max() + 0.5, ys.max() + 0.5]
    np.testing.assert_allclose(found, np.clip(sample.box, -0.5, 254.5), atol=0.6 + 0.3 * scale)
    np.testing.assert_array_equal(sample.mask > 0, sample.search[..., 0] >= 128)
    centre = (sample.box[:2] + sample.box[2:]) / 2
    assert np.abs(centre - 127).max() <= exact.far_shift + 0.01
    ys, xs = np.nonzero(sample.template[..., 0] > 140)
    np.testing.assert_allclose([xs.mean(), ys.mean()], 63, atol=0.6)


def test_shifts_and_scales_are_spread_as_the_settings_say(clips):
    rng, view = np.random.default_rng(0), clips.view(clips.clips[0], 5)
    wanted = CutSettings(photometric=PLAIN)
    boxes = np.array([cut(Pair(view, view, True, "clip"), rng, wanted).box for _ in range(600)])
    shift = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - 127)
    assert 80 < shift.max() <= 90.01
    assert (shift.max(1) > 64).mean() == pytest.approx(0.2 * (1 - (64 / 90) ** 2), abs=0.05)
    # a square of side a in a template whose side is 2a: 127 / 2 px of the search crop when not scaled
    log_scale = np.log((boxes[:, 2] - boxes[:, 0]) / (127 / 2))
    assert np.abs(log_scale).max() == pytest.approx(0.3, abs=0.02)
    assert log_scale.mean() == pytest.approx(0, abs=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_turned_picture_keeps_box_and_mask_together(seed):
    mask = np.zeros((100, 120), np.uint8)
    cv2.ellipse(mask, (60, 50), (25, 12), 0, 0, 360, 255, -1)
    view = TargetView(np.dstack([mask] * 3), np.array([34.5, 37.5, 85.5, 62.5], np.float32), mask)
    with_mask = turned(view, np.random.default_rng(seed), 15, 0.15)
    ys, xs = np.nonzero(with_mask.image[..., 0] > 127)
    tight = [xs.min() - 0.5, ys.min() - 0.5, xs.max() + 0.5, ys.max() + 0.5]
    np.testing.assert_allclose(with_mask.box, tight, atol=1)
    # without the mask the box is that of an ellipse, which this object is
    without = turned(TargetView(view.image, view.box), np.random.default_rng(seed), 15, 0.15)
    np.testing.assert_allclose(without.box, tight, atol=1.6)


def test_photometric_changes_leave_the_original_and_can_be_switched_off():
    image = texture(np.random.default_rng(0), 127, 127)
    before = image.copy()
    rng = np.random.default_rng(1)
    changed = [photometric(image, rng) for _ in range(50)]
    np.testing.assert_array_equal(image, before)
    assert all(c.shape == image.shape and c.dtype == np.uint8 for c in changed)
    assert np.mean([not np.array_equal(c, image) for c in changed]) > 0.8
    np.testing.assert_array_equal(photometric(image, rng, PLAIN), image)


@pytest.mark.parametrize(
    "name", ["light", "colour", "grey", "motion_blur", "defocus", "down_sampling", "jpeg", "noise"]
)
def test_each_photometric_change_does_what_its_name_says(name):
    image = texture(np.random.default_rng(4), 127, 127)
    off = {**PLAIN.__dict__, name: 1.0}
    changed = photometric(image, np.random.default_rng(2), PhotometricSettings(**off)).astype(int)
    detail = np.abs(np.diff(image.astype(int), axis=0)).mean()
    detail_after = np.abs(np.diff(changed, axis=0)).mean()
    assert not np.array_equal(changed, image)
    if name == "grey":
        assert (np.ptp(changed, 2) == 0).all()
    if name in ("motion_blur", "defocus", "down_sampling"):
        assert detail_after < detail
        np.testing.assert_allclose(changed.mean((0, 1)), image.mean((0, 1)), atol=2)
    if name == "noise":
        assert detail_after > detail


def test_a_contact_sheet_shows_every_sample(pictures, clips):
    sampler = PairSampler(pictures, clips, PairSettings(), 0)
    rng = np.random.default_rng(0)
    samples = [cut(sampler.sample(), rng) for _ in range(5)]
    sheet = contact_sheet(samples, columns=3)
    assert sheet.shape == (2 * 259, 3 * (255 + 127 + 6), 3)
    assert (sheet[259:, -388:] == 255).all()
    np.testing.assert_array_equal(sheet[2:129, 2:129], samples[0].template)


def test_pairs_of_the_reference_data(reference):
    pictures = load_pictures([reference("training/photos")])
    clips = load_clips([reference("training/video")])
    assert len(clips.clips) == 47
    assert len({clip.video for clip in clips.clips}) == 31
    assert sum(len(clip.seen()) for clip in clips.clips) == 1972 - 35  # images less the lines without a box
    sampler, rng = PairSampler(pictures, clips, PairSettings(), 0), np.random.default_rng(0)
    samples = [cut(sampler.sample(), rng) for _ in range(120)]
    boxes = np.array([sample.box for sample in samples])
    assert np.isfinite(boxes).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    assert 35 < np.median(sides) < 110
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.abs(centres - 127).max() <= 90.5
    # crops show something: they are not one colour
    assert np.median([sample.search.std() for sample in samples]) > 20
    assert {sample.kind for sample in samples} == {"clip", "still", "composite"}

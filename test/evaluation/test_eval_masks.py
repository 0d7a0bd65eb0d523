import json
import math

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.datasets import Sequence, find_sequences
from deep_tracking_ros.evaluation.masks import (
    FILLED,
    GRABCUT,
    OWN,
    contour,
    contour_accuracy,
    evaluate,
    fill,
    grabcut,
    region_similarity,
    run,
    whole,
)
from deep_tracking_ros.single_object.tracker import Estimate, Target
from deep_tracking_ros.types import Mask


def square(x, y, side, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_region_similarity_by_hand():
    # 100 and 100 pixels, 50 in common
    assert region_similarity(square(10, 10, 10), square(15, 10, 10)) == pytest.approx(50 / 150)
    assert region_similarity(square(10, 10, 10), square(40, 10, 10)) == 0
    nothing = np.zeros((60, 80), bool)
    assert region_similarity(nothing, nothing) == 1
    assert region_similarity(nothing, square(10, 10, 10)) == 0


def test_a_contour_is_the_outermost_pixels():
    np.testing.assert_array_equal(contour(square(10, 10, 4)), square(10, 10, 4) & ~square(11, 11, 2))
    # the image's edge is no contour: only the inner side of a corner square is
    corner = contour(square(0, 0, 4))
    assert corner.sum() == 7
    assert corner[3, :4].all()
    assert corner[:4, 3].all()


def test_contour_accuracy_by_hand():
    # 60 x 80: the diagonal is 100 px, so the tolerance of 0.008 is one pixel
    truth = square(20, 20, 10)  # 36 contour pixels
    assert contour_accuracy(truth, truth) == 1
    assert contour_accuracy(square(21, 20, 10), truth) == 1  # one pixel off everywhere
    # A square of 6 px in the middle of the one of 10: its contour is 2 px off, no pixel matches.
    assert contour_accuracy(square(22, 22, 6), truth) == 0
    # Two pixels to the right: of its upper side 8 pixels lie on the true one and a ninth beside that, as of its lower
    # side; its left side is inside of the true square and touches the upper and the lower side there: 2 more; its
    # right side is 2 px off. 20 of 36, and by symmetry the same the other way round.
    assert contour_accuracy(square(22, 20, 10), truth) == pytest.approx(20 / 36)
    # With a second square that is not there all true pixels are found (recall 1), half of the found ones are false.
    assert contour_accuracy(truth | square(50, 20, 10), truth) == pytest.approx(2 * 0.5 / 1.5)
    # at twice the tolerance, two pixels, the shifted and the smaller squares match
    assert contour_accuracy(square(22, 20, 10), truth, 0.02) == 1
    nothing = np.zeros((60, 80), bool)
    assert contour_accuracy(nothing, nothing) == 1
    assert contour_accuracy(nothing, truth) == contour_accuracy(truth, nothing) == 0


def test_the_tolerance_is_a_distance_and_rounded_up():
    # one dot each, three pixels right and three down of the other: 4.24 px apart
    first, second = square(5, 30, 1, (99, 20)), square(8, 33, 1, (99, 20))
    diagonal = math.hypot(99, 20)
    assert contour_accuracy(first, second, 3.9 / diagonal) == 0
    assert contour_accuracy(first, second, 4.1 / diagonal) == 1


def test_a_box_fills_the_pixels_whose_centres_it_holds():
    np.testing.assert_array_equal(fill([9.5, 19.5, 14.5, 24.5], 60, 80), square(10, 20, 5))
    assert fill([-10.5, -10.5, 4.5, 4.5], 60, 80).sum() == 25
    assert not fill([100, 100, 120, 120], 60, 80).any()


def test_cropped_masks_may_reach_out_of_the_image():
    data = np.full((10, 10), 255, np.uint8)
    data[0] = 127
    np.testing.assert_array_equal(whole(Mask(20, 30, data), 60, 80), square(20, 30, 10) & ~square(20, 20, 11))
    assert whole(Mask(-4, 55, data), 60, 80).sum() == 6 * 4
    assert not whole(Mask(80, 0, data), 60, 80).any()


def disc_on_noise():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60, (60, 80, 3), np.uint8)
    disc = np.hypot(*(np.mgrid[:60, :80] - np.array([30, 40])[:, None, None])) <= 10
    image[disc] = rng.integers(180, 255, (int(disc.sum()), 3), np.uint8)
    return image, disc


def test_grabcut_cuts_a_disc_out_of_its_box():
    image, disc = disc_on_noise()
    box = [29.5, 19.5, 50.5, 40.5]
    assert region_similarity(grabcut(image, box), disc) > 0.95
    assert region_similarity(fill(box, 60, 80), disc) < 0.8
    # without background to compare with, the box is what is known
    np.testing.assert_array_equal(grabcut(image, [-0.5, -0.5, 79.5, 59.5]), np.ones((60, 80), bool))


class Constant:
    """Always the true box; the mask of the truth in every second frame, none in between."""

    card = type("Card", (), {"name": "constant"})

    def __init__(self, box, mask):
        self.box, self.mask, self.calls = np.asarray(box, np.float32), mask, 0

    def start(self, image, boxes):
        return [Target(boxes[0])]

    def track(self, image, targets):
        self.calls += 1
        return [Estimate(self.box, 1.0, mask=self.mask if self.calls % 2 == 0 else None)]


@pytest.fixture
def sequence(tmp_path):
    """Four frames with a disc; the third has no annotation."""
    image, disc = disc_on_noise()
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "disc" / folder).mkdir(parents=True)
    for t in range(4):
        cv2.imwrite(str(tmp_path / f"disc/JPEGImages/{t:05d}.png"), image)
        if t != 2:
            cv2.imwrite(str(tmp_path / f"disc/Annotations/{t:05d}.png"), disc.astype(np.uint8) * 255)
    (found,) = find_sequences(tmp_path)
    return found


def test_masks_of_a_tracker_beside_those_of_its_box(sequence):
    _, disc = disc_on_noise()
    mask = Mask(0, 0, disc.astype(np.uint8) * 255)
    result = run(Constant(sequence.boxes[0], mask), sequence)
    np.testing.assert_array_equal(result[OWN].region, [0, 0])  # frames 1 and 3 came without a mask, 2 without a truth
    assert result[OWN].given == 1
    assert len(result[OWN].seconds) == 3
    assert len(result[GRABCUT].seconds) == 2
    assert result[FILLED].region == pytest.approx([disc.sum() / 21**2] * 2)
    assert (result[GRABCUT].region > 0.95).all()
    assert result[GRABCUT].seconds.mean() > result[FILLED].seconds.mean()
    third = run(Constant(sequence.boxes[0], mask), sequence, every=3)
    assert len(third[FILLED].region) == 1
    assert len(third[FILLED].seconds) == 3

    measured = evaluate(Constant(sequence.boxes[0], mask), [sequence])  # the first frame is for warming up
    assert measured.ways[OWN].region == 1
    assert measured.ways[OWN].contours == 1
    assert list(measured.per_sequence["disc"]) == [OWN, FILLED, GRABCUT]
    assert list(evaluate(Constant(sequence.boxes[0], None), [sequence]).ways) == [FILLED, GRABCUT]


def test_sequences_without_masks_are_refused(sequence):
    with pytest.raises(DataError, match="has no masks; give data in the layout of DAVIS"):
        run(Constant(sequence.boxes[0], None), Sequence("toy", sequence.frames, sequence.boxes))


def test_eval_masks_writes_table_and_json(reference, tmp_path):
    source = reference("data/davis") / "car-shadow"
    for part in ("JPEGImages", "Annotations"):
        (tmp_path / "car" / part).mkdir(parents=True)
        for file in sorted((source / part).iterdir())[:4]:
            (tmp_path / "car" / part / file.name).symlink_to(file)
    report = tmp_path / "masks.json"
    command = ["eval", "masks", "--data", str(tmp_path), "--model", "siamfc", "--every", "3", "--json", str(report)]
    result = CliRunner().invoke(app, [*command, "--format", "markdown"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "| siamfc: GrabCut |" in result.output
    (model,) = json.loads(report.read_text())["models"]
    # a car fills about two thirds of its box
    assert 0.4 < model["ways"][FILLED]["J"] < 0.8
    assert model["ways"][GRABCUT]["fps"] < model["ways"][FILLED]["fps"]

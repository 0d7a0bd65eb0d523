import cv2
import numpy as np
import pytest

from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.evaluation.distractors import (
    Departure,
    departed,
    departures,
    follow,
    outcome,
    shares,
)
from deep_tracking_ros.evaluation.sot import Competitor


def boxes(x, count=8):
    return np.array([[x, 0, x + 10, 10]] * count, np.float32)


def test_outcomes_by_hand():
    target, other = boxes(0), boxes(40)
    assert outcome(boxes(3), target, other) == "held"
    assert outcome(boxes(37), target, other) == "jumped"
    assert outcome(boxes(20), target, other) == "lost"
    assert outcome(boxes(8), target, other) == "lost"  # IoU 20 / 180
    late = boxes(40)
    late[-3:] = boxes(0, 3)  # came back for most of the last five frames
    assert outcome(late, target, other) == "held"
    late[-3] = late[0]
    assert outcome(late, target, other) == "jumped"
    # where both overlap, the nearer one counts
    assert outcome(boxes(4), boxes(0), boxes(6)) == "jumped"


def test_shares_and_their_standard_error():
    values = shares(["held", "jumped", "lost", "held"])
    assert (values["held"], values["jumped"], values["lost"], values["runs"]) == (0.5, 0.25, 0.25, 4)
    assert values["jumped_error"] == pytest.approx(np.sqrt(0.25 * 0.75 / 4))


def test_departed_by_hand():
    found = [Departure("a", 0, True, True), Departure("a", 20, True, False), *[Departure("b", 0, False, False)] * 2]
    assert departed(found)["left"] == 0.5
    assert departed(found)["sure"] == 0.25


def test_following_begins_with_the_given_box():
    def start(image, box):
        return lambda image: (box + image[0, 0, 0], 1.0)

    images = [np.full((4, 4, 3), t, np.uint8) for t in range(3)]
    result = follow(Competitor("shift", "none", "fp32", start), images, [1, 2, 3, 4])
    np.testing.assert_array_equal(result[:, 0], [1, 2, 3])


@pytest.fixture
def sequence(tmp_path):
    """40 frames, each with its number as grey level, a box that stands; out of view in frames 10 to 14."""
    frames = []
    for t in range(40):
        frames.append(tmp_path / f"{t}.png")
        cv2.imwrite(str(frames[-1]), np.full((20, 200, 3), t, np.uint8))
    truth = boxes(0, 40)
    truth[10:15] = np.nan
    return Sequence("toy", tuple(frames), truth)


def leaving(at, back=None, score=0.9):
    """Off the target from one frame to another."""

    def start(image, box):
        def step(image):
            number = int(image[0, 0, 0])
            off = at <= number and (back is None or number < back)
            return (box + (100 if off else 0) * np.array([1, 0, 1, 0]), score if off else 0.4)

        return step

    return Competitor("leaving", "none", "fp32", start)


@pytest.mark.parametrize(
    ("tracker", "left", "sure"),
    [
        (leaving(99), False, False),
        (leaving(20), True, True),
        (leaving(20, 24), False, False),  # four frames in a row are not for good
        (leaving(20, 25), True, True),
        (leaving(20, score=0.5), True, False),
        (leaving(20, score=np.nan), True, False),
        (leaving(9, 18), False, False),  # of these only 9 and 15 to 17 have a target in view
        (leaving(9, 19), True, True),
    ],
)
def test_departures_of_a_run(sequence, tracker, left, sure):
    (one,) = departures(tracker, sequence, every=40, length=40)
    assert (one.start, one.left, one.sure) == (0, left, sure)


def test_runs_start_where_there_is_a_target_and_enough_is_left(sequence):
    calls = []
    found = departures(leaving(99), sequence, every=6, length=30, progress=lambda: calls.append(1))
    assert [one.start for one in found] == [0, 6, 18, 24]  # not 12, which has no box, and 30 leaves too little
    assert len(calls) == 4

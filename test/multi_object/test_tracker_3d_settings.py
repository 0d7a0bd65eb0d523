"""What each setting of `Tracker3D` does, by scenes in which it decides."""

import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.geometry.boxes3d import transform
from deep_tracking_ros.geometry.poses import pose_of_angles
from deep_tracking_ros.multi_object.tracker_3d import Boxes3D, Tracker3D, Tracker3DParameters, log_odds, probability
from deep_tracking_ros.types import State

MS = 1_000_000
CAR = np.array([[10.0, 0, 0.8, 4.2, 1.8, 1.5, 0.3]])


def make(**parameters):
    return Tracker3D(Tracker3DParameters(**parameters))


def found(boxes=(), score=0.9):
    boxes = np.reshape(np.asarray(boxes, float), (-1, 7))
    return Boxes3D(boxes, np.full(len(boxes), score), ["car"] * len(boxes))


def beside(boxes, metres):
    return boxes + np.array([0, metres, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(("cost", "most"), [("giou", 2), ("iou", 1)])
def test_a_limit_that_excludes_no_pair_is_refused(cost, most):
    with pytest.raises(
        InvalidRequestError, match=f"limit is 2.5, with cost {cost} it must not be above {most}: no pair"
    ):
        make(cost=cost, limit=2.5)
    tracker = make(cost=cost, limit=float(most))
    for k in range(3):
        tracker.step(found(CAR), k * 100 * MS)
    far = 2.0 if cost == "iou" else 4.9  # beside each other without overlap: at most 1 - IoU, less than 2 - GIoU
    assert (len(tracker.step(found(beside(CAR, far)), 300 * MS)) == 2) == (cost == "iou")
    make(cost="distance", limit=2.5)


def test_young_tracks_that_are_unseen_stay_tentative():
    """OCCLUDED says of an object that it is there for sure, and hidden."""
    tracker, states = make(), []
    for k in range(6):
        states += tracker.step(found(CAR if k in (0, 2, 3, 4) else ()), k * 100 * MS).state.tolist()
    assert states == [State.TENTATIVE] * 4 + [State.CONFIRMED, State.OCCLUDED]
    assert tracker.predicted(520 * MS).state.tolist() == [State.OCCLUDED]


def test_a_score_of_its_own_confirms():
    for score, expected in ((0.65, "CONFIRMED"), (0.67, "TENTATIVE")):  # first 0.3 of the log-odds of 0.9: 0.659
        assert State(make(confirm_score=score).step(found(CAR), 0).state[0]).name == expected


@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_scores_move_by_the_gain(gain):
    tracker = make(gain=gain)
    tracker.step(found(CAR, 0.9), 0)
    odds = gain * log_odds(0.9)
    odds += gain * (log_odds(0.6) - odds)
    assert tracker.step(found(CAR, 0.6), 100 * MS).score[0] == pytest.approx(float(probability(odds)))


def test_scores_fade_by_real_time():
    for steps in ([500], [100, 250, 500]):  # ms
        tracker = make(fade=2.0)
        tracker.step(found(CAR), 0)
        for ms in steps:
            tracks = tracker.step(found(), ms * MS)
        assert tracks.score[0] == pytest.approx(float(probability(0.3 * log_odds(0.9) - 2.0 * 0.5)))


def test_a_track_ends_when_unseen_for_too_long_whatever_its_score():
    tracker = make(fade=0.0, max_unseen=0.3)
    tracker.step(found(CAR), 0)
    assert [len(tracker.step(found(), k * 100 * MS)) for k in range(1, 6)] == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("count", [1, 150])  # more than 12,000 pairs are sought by a tree
@pytest.mark.parametrize(("gate", "same"), [(2.5, False), (3.5, True)])
def test_pairs_are_no_further_apart_than_the_gate(count, gate, same):
    boxes = CAR + np.arange(count)[:, None] * np.array([10, 0, 0, 0, 0, 0, 0])
    tracker = make(cost="distance", limit=100.0, gate=gate)
    tracker.step(found(boxes), 0)
    tracks = tracker.step(found(beside(boxes, 3.0)), 100 * MS)
    assert len(tracks) == (count if same else 2 * count)


@pytest.mark.parametrize("motion", ["constant_velocity", "constant_turn"])
def test_doubt_turns_with_the_frame_of_the_sensor(motion):
    """That of a car is larger along its heading than across it, so this shows where a frame is mistaken."""
    sensor = pose_of_angles(3, -2, 0, 0, 0, 1.1)
    one, other = make(motion=motion), make(motion=motion)
    for k in range(6):
        boxes = CAR + np.array([0.8 * np.cos(0.3), 0.8 * np.sin(0.3), 0, 0, 0, 0, 0]) * k
        fixed = one.step(found(boxes), k * 100 * MS)
        local = other.step(found(transform(boxes, np.linalg.inv(sensor))), k * 100 * MS, sensor)
    turn = sensor[:3, :3]
    doubt = fixed.velocity_covariance[0, :3, :3]
    if motion == "constant_turn":
        assert abs(doubt[0, 1]) > 0.1
    np.testing.assert_allclose(turn @ local.velocity_covariance[0, :3, :3] @ turn.T, doubt, atol=1e-9)
    np.testing.assert_allclose(turn @ local.covariance[0, :3, :3] @ turn.T, fixed.covariance[0, :3, :3], atol=1e-9)
    np.testing.assert_allclose(turn @ local.velocity[0, :3], fixed.velocity[0, :3], atol=1e-9)

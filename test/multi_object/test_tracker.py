import resource
import time

import numpy as np
import pytest
from tracker_scenes import DT, NOTHING, assert_same, at, found, messy, run

from deep_tracking_ros.multi_object.tracker import MultiObjectTracker, Settings
from deep_tracking_ros.types import State


def test_real_time_between_frames_is_used():
    tracker = MultiObjectTracker()
    stamps = np.cumsum([0, 1, 3, 1, 1, 5, 2, 1]) * 20_000_000
    for stamp in stamps:
        tracks = tracker.step(int(stamp) + 1, found([at(100 + 150 * stamp / 1e9, 50)]))
    assert tracks.ids.tolist() == [1]
    assert tracks.velocities[0] == pytest.approx([150, 0, 0, 0], abs=12)
    tracks = tracker.step(int(stamps[-1]) + 1 + 200_000_000, NOTHING)
    assert tracks.boxes[0] == pytest.approx(at(100 + 150 * (stamps[-1] / 1e9 + 0.2), 50), abs=5)


def test_states_from_birth_to_the_end():
    tracker = MultiObjectTracker(Settings(occluded_time=0.1, memory=0.3, confirm_after=3))
    tracker.step(DT, NOTHING)  # what is there in the first image is confirmed at once
    states = []
    for k in range(1, 14):
        tracks = tracker.step(DT * (k + 1), found([at(50, 50)]) if k <= 4 else NOTHING)
        states.append(State(tracks.states[0]).name if len(tracks) else "")
    assert states == [*["TENTATIVE"] * 2, *["CONFIRMED"] * 2, *["OCCLUDED"] * 2, *["LOST"] * 5, "", ""]


def test_a_tentative_track_ends_with_the_first_miss_and_its_id_is_not_used_again():
    tracker = MultiObjectTracker()
    tracker.step(DT, NOTHING)
    assert tracker.step(2 * DT, found([at(50, 50)])).ids.tolist() == [1]
    assert len(tracker.step(3 * DT, NOTHING)) == 0
    assert tracker.step(4 * DT, found([at(50, 50)])).ids.tolist() == [2]
    tracker.forget()
    assert tracker.step(5 * DT, found([at(50, 50)])).ids.tolist() == [3]


def test_low_scores_continue_tracks_but_begin_none():
    steps = [found([at(50, 50)])] * 3 + [found([at(50, 50), at(300, 50)], 0.3)] * 5
    tracks = run(steps)[-1]
    assert tracks.ids.tolist() == [1]
    assert State(tracks.states[0]) is State.CONFIRMED
    assert tracks.scores[0] == 0.3


def test_low_scores_continue_only_what_was_seen_just_now():
    steps = [found([at(50, 50)])] * 3
    low = found([at(50, 50)], 0.3)
    assert run([*steps, low])[-1].scores.tolist() == [0.3]
    assert run([*steps, NOTHING, low])[-1].scores.tolist() == [-1]
    assert run([*steps, NOTHING, found([at(50, 50)], 0.7)])[-1].scores.tolist() == [0.7]


BESIDE = 21.0
"""px between boxes of 40 px that overlap by 19 / 61, 0.31."""


@pytest.mark.parametrize(("score", "same"), [(0.65, True), (0.62, False)])
def test_the_overlap_of_confirmed_tracks_counts_by_the_score(score, same):
    tracks = run([*[found([at(100, 50)])] * 5, found([at(100 + BESIDE, 50)], score)])[-1]
    assert tracks.scores.tolist() == [score if same else -1]  # 0.31 * 0.65 is above 0.2


@pytest.mark.parametrize(("score", "same"), [(0.99, True), (0.9, False), (0.7, False)])
def test_tentative_tracks_must_overlap_more(score, same):
    tracks = run([NOTHING, found([at(100, 50)]), found([at(100 + BESIDE, 50)], score)])[-1]
    assert tracks.ids.tolist() == ([1] if same else [2])  # 0.31 * 0.99 is above 0.3


@pytest.mark.parametrize("jerk", [None, -100.0])
def test_of_two_that_overlap_alike_the_one_straight_on_is_taken(jerk):
    """Also where the camera turned just then, and the whole way there looks like one back."""
    tracker = MultiObjectTracker()
    expected = tracker.predicted(run(FAST, tracker)[-1], 0.04).boxes[0]
    step = np.array([14.0, 0, 14, 0])
    ahead, behind = expected + step, expected - step
    assert behind[0] < FAST[-1].boxes[0, 0]  # it would have turned back
    matrix = np.array([[1.0, 0.0, jerk or 0.0], [0.0, 1.0, 0.0]])
    both = found(np.array([ahead, behind]) + [matrix[0, 2], 0] * 2, np.array([0.9, 0.91]))
    assert tracker.step(11 * DT, both, None if jerk is None else matrix).scores[0] == 0.9


def test_the_size_of_what_is_hidden_does_not_run_away():
    growing = [found([at(100, 50, 40 + 4 * k, 80)]) for k in range(6)]
    tracks = run([*growing, *[NOTHING] * 6])
    widths = [t.boxes[0, 2] - t.boxes[0, 0] for t in tracks[-7:]]
    assert tracks[-7].velocities[0, 2] > 50  # px/s
    assert widths[1] > widths[0]
    assert widths[2:] == pytest.approx([widths[1]] * 5)


def test_an_object_that_hid_and_slowed_down_comes_back_with_its_id():
    way = [100 + 8 * k for k in range(20)]  # 200 px/s
    steps = [found([at(x, 50)]) for x in way] + [NOTHING] * 6
    back = [found([at(way[-1] + 30 + 2 * k, 50)]) for k in range(10)]  # 50 px/s
    tracks = run([*steps, *back])
    assert {tuple(t.ids.tolist()) for t in tracks} == {(1,)}
    assert tracks[-1].velocities[0, 0] == pytest.approx(50, abs=30)


def test_classes_never_meet():
    tracks = run([found([at(50, 50), at(51, 50)], kinds=np.array([k % 2, 1 - k % 2])) for k in range(6)])[-1]
    assert tracks.ids.tolist() == [1, 2]
    assert sorted(tracks.kinds.tolist()) == [0, 1]
    assert (tracks.states == State.CONFIRMED).all()


def test_appearance_decides_where_boxes_do_not():
    # two objects change places by so little that each of the new boxes overlaps both tracks
    scores, looks = np.array([0.9, 0.8]), np.eye(2)
    still, swapped = [at(100, 50), at(110, 50)], [at(106, 50), at(104, 50)]
    seen = run([found(still, scores, 0, looks)] * 5 + [found(swapped, scores, 0, looks)])[-1]
    assert seen.scores.tolist() == [0.9, 0.8]  # the score tells which box a track was given
    blind = run([found(still, scores)] * 5 + [found(swapped, scores)])[-1]
    assert blind.scores.tolist() == [0.8, 0.9]


def test_appearance_means_nothing_where_boxes_overlap_little():
    looks, scores = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0.8, 0.9])
    beside = found([at(104, 50), at(120, 50)], scores, 0, looks)  # the one that looks like it overlaps by a third
    seen = run([*[found([at(100, 50)], 0.9, 0, looks[1:])] * 5, beside])[-1]
    assert seen.ids.tolist() == [1, 2]
    assert seen.scores.tolist() == [0.8, 0.9]


def test_a_look_is_not_forgotten_for_one_that_was_seen_once():
    looks, scores = np.eye(2), np.array([0.7, 0.9])
    usual, flawed = found([at(100, 50)], 0.9, 0, looks[:1]), found([at(100, 50)], 0.9, 0, looks[1:])
    both = found([at(95, 50), at(105, 50)], scores, 0, looks)
    seen = run([*[usual] * 5, flawed, both])[-1]
    assert seen.scores.tolist() == [0.7, 0.9]  # the box of the usual look is its own
    assert run([*[flawed] * 5, usual, both])[-1].scores.tolist() == [0.9, 0.7]


def test_camera_motion_takes_the_jerk_out():
    boxes = [found([at(100, 100), at(300, 100)])] * 5
    jerk = np.array([[1.0, 0.0, 200.0], [0.0, 1.0, 0.0]])
    moved = found([at(300, 100), at(500, 100)])
    tracker = MultiObjectTracker()
    run(boxes, tracker)
    tracks = tracker.step(6 * DT, moved, jerk)
    assert tracks.boxes[:, 0] == pytest.approx(moved.boxes[:, 0], abs=1)
    assert tracks.ids.tolist() == [1, 2]
    assert np.abs(tracks.velocities).max() < 5
    plain = MultiObjectTracker()
    run(boxes, plain)
    assert len(plain.step(6 * DT, moved)) == 3  # the second box is taken for the first, and a third appears


def test_unusable_detections_are_passed_over():
    bad = [
        [np.nan, 0, 10, 10],
        [0, 0, np.inf, 10],
        [-np.inf, 0, 5, 5],
        [30, 30, 20, 40],
        [5, 5, 5, 9],
        [5, 5, 5.9, 9],
        [np.inf, 0, np.inf, 10],
    ]
    steps = [found([at(50, 50), *bad])] * 4 + [found(bad)] + [found([at(50, 50)], s) for s in (np.nan, np.inf, 90)]
    tracks = run(steps)[-1]
    assert tracks.ids.tolist() == [1]
    assert np.isfinite(tracks.boxes).all()
    assert State(tracks.states[0]) is State.OCCLUDED


def test_a_crowd_of_small_objects_gives_way_to_one_of_large_objects():
    # so many that pairs are searched for, and none of the sizes of the new ones is near to one of the old
    k = np.arange(130)
    small, large = at(20.0 * k, 0.0 * k, 10, 10), at(1000.0 * k, 0.0 * k, 900, 900)
    tracks = run([found(np.transpose(small)), found(np.transpose(large)), found(np.transpose(large))])[-1]
    assert len(tracks) == 260
    assert (tracks.states[130:] == State.CONFIRMED).all()


def test_a_thousand_copies_of_two_objects_are_two_tracks():
    rng = np.random.default_rng(0)
    many = np.repeat([at(50, 50), at(300, 50)], 1000, 0) + rng.normal(0, 0.2, (2000, 4))
    tracks = run([found(many, rng.uniform(0.7, 1, 2000))] * 4)[-1]
    assert tracks.ids.tolist() == [1, 2]


def test_a_thousand_times_the_detections_take_no_square_of_memory():
    rng = np.random.default_rng(0)
    people = np.array([at(200.0 * (k % 10), 200.0 * (k // 10)) for k in range(50)])
    copies = np.repeat(people, 1000, 0)
    tracker = MultiObjectTracker()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k in range(3):
        boxes = copies + rng.normal(0, 0.2, copies.shape)
        tracks = tracker.step(DT * (k + 1), found(boxes, rng.uniform(0.7, 1, len(boxes))))
        assert tracks.ids.tolist() == list(range(1, 51))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300 * 1024  # KiB; all pairs of the boxes would take 20 GB


FAST = [found([at(100 + 8 * k, 50)]) for k in range(10)]
SLOW = found([at(192, 50)])  # 20 px on after five frames: half as fast while nobody looked


def assert_same_belief(one, other):
    for name in ("ids", "boxes", "velocities", "covariance"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-9, err_msg=name)


def test_what_was_hidden_goes_on_as_if_seen_on_the_straight_way():
    begin = run(FAST)[-1].boxes
    way = [found(begin + k / 5 * (SLOW.boxes - begin)) for k in range(1, 5)]
    assert_same_belief(run([*FAST, *[NOTHING] * 4, SLOW])[-1], run([*FAST, *way, SLOW])[-1])


def test_what_is_lost_stands_where_it_was_seen_last_and_is_sought_where_it_would_be():
    tracker = MultiObjectTracker()
    seen = run(FAST, tracker)[-1]
    *_, occluded, lost = run([NOTHING] * 8, tracker, 11 * DT)
    assert (State(occluded.states[0]), State(lost.states[0])) == (State.OCCLUDED, State.LOST)
    assert occluded.boxes[0] == pytest.approx(seen.boxes[0] + [56, 0, 56, 0], abs=3)  # 200 px/s for 0.28 s
    assert (lost.boxes == seen.boxes).all()
    assert (lost.covariance == seen.covariance).all()
    assert not lost.velocities.any()
    (back,) = run([found([at(100 + 8 * 18, 50)])], tracker, 19 * DT)
    assert back.ids.tolist() == [1]


def test_what_is_lost_moves_with_the_picture():
    pan = np.array([[1.0, 0.0, 30.0], [0.0, 1.0, -10.0]])
    tracker = MultiObjectTracker()
    seen = run([found([at(100, 50)])] * 5, tracker)[-1]
    for k in range(9):
        lost = tracker.step((6 + k) * DT, NOTHING, pan)
    assert State(lost.states[0]) is State.LOST
    assert lost.boxes[0] == pytest.approx(seen.boxes[0] + 9 * np.array([30, -10, 30, -10]))


def test_tracks_can_be_predicted_as_time_would_have_it():
    tracker = MultiObjectTracker()
    tracks = run(FAST, tracker)[-1]
    ahead = tracker.predicted(tracks, 0.1)
    assert_same_belief(ahead, tracker.step(10 * DT + 100_000_000, NOTHING))
    assert ahead.covariance[0] > 1.5 * tracks.covariance[0]
    grow = [found([at(100, 50, 40 + 4 * k, 80)]) for k in range(6)]
    growing = run(grow)[-1]
    assert growing.velocities[0, 2] > 50
    wide = tracker.predicted(growing, 0.5).boxes[0]
    assert wide[2] - wide[0] == pytest.approx(growing.boxes[0, 2] - growing.boxes[0, 0])  # size would run away


def test_mending_can_be_left_out():
    """What comes back is then taken as it is: like the next box of a slow camera."""
    plain = run([*FAST, *[NOTHING] * 4, SLOW], MultiObjectTracker(Settings(mend_steps=0)))[-1]
    tracker = MultiObjectTracker()
    run(FAST, tracker)
    assert_same_belief(plain, tracker.step(15 * DT, SLOW))
    mended = run([*FAST, *[NOTHING] * 4, SLOW])[-1]
    assert abs(mended.velocities[0, 0] - 100) < abs(plain.velocities[0, 0] - 100)  # px/s, that of the straight way
    assert mended.covariance[0] < 0.8 * plain.covariance[0]  # four more boxes tell more


def test_cost_is_near_linear_in_the_number_of_objects():
    def seconds(side):
        y, x = np.mgrid[:side, :side].reshape(2, -1) * 100.0
        steps = [found(np.stack([x + d - 30, y - 40, x + d + 30, y + 40], 1)) for d in (0.0, 2.0, 4.0, 6.0)]
        tracker, costs = MultiObjectTracker(), []
        for k, step in enumerate(steps):
            began = time.process_time()
            tracks = tracker.step(DT * (k + 1), step)
            costs.append(time.process_time() - began)
        assert len(tracks) == side * side == tracks.ids[-1]
        return min(costs[1:])

    assert seconds(100) < 40 * seconds(32)  # ten times the objects; a matrix would cost a hundred times as much


def test_churning_ids_leave_nothing_behind():
    tracker, rng = MultiObjectTracker(), np.random.default_rng(3)
    highest = 0
    for k in range(600):
        boxes = [at(*rng.uniform(0, 5000, 2)) for _ in range(3)]
        tracks = tracker.step(DT * (k + 1), found(boxes))
        fresh = tracks.ids[tracks.ages == 0]
        assert (fresh > highest).all()
        highest = max(highest, int(tracks.ids.max()))
        assert len(tracks) <= 6
    assert highest > 1500


def test_trackers_share_nothing():
    first, second = MultiObjectTracker(), MultiObjectTracker()
    turns = [
        (run([one], first, DT * (k + 1))[0], run([two], second, DT * (k + 1))[0])
        for k, (one, two) in enumerate(zip(messy(1), messy(2), strict=True))
    ]
    for (one, two), alone, other in zip(turns, run(messy(1)), run(messy(2)), strict=True):
        assert_same(one, alone)
        assert_same(two, other)
    assert turns[0][0].ids[0] == turns[0][1].ids[0] == 1


def test_what_was_given_out_does_not_change_any_more():
    tracker, steps = MultiObjectTracker(), list(messy(3))
    given_out = run(steps[:5], tracker)[-1]
    kept = {name: value.copy() for name, value in vars(given_out).items()}
    run(steps[5:], tracker, 6 * DT)
    assert all((vars(given_out)[name] == value).all() for name, value in kept.items())
    for value in vars(given_out).values():  # and what a user does with it is his own affair
        value[:] = 0
    for one, other in zip(run(steps), run(steps), strict=True):
        assert_same(one, other)

"""What holds for any detections."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tracker_scenes import DT, assert_same, found, messy, run, world

from deep_tracking_ros.multi_object.tracker import MultiObjectTracker, Settings


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_perfect_separated_detections_keep_their_ids_in_any_order(seed, count):
    boxes = world(seed, count, 15)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(count) for _ in boxes]
    tracks = run([found(frame[order]) for frame, order in zip(boxes, orders, strict=True)])
    straight = run([found(frame) for frame in boxes])
    for frame, one, other in zip(boxes, tracks, straight, strict=True):
        assert one.ids.tolist() == other.ids.tolist() == list(range(1, count + 1))
        assert (one.boxes == other.boxes).all()
        distance = np.abs(one.boxes[:, None] - frame).max(2)
        assert len(set(distance.argmin(1))) == count
    final = np.abs(tracks[-1].boxes[:, None] - boxes[-1]).max(2).argmin(1)
    first = np.abs(tracks[0].boxes[:, None] - boxes[0]).max(2).argmin(1)
    assert (first == final).all()  # the id is still with its object


@given(st.integers(0, 2**31), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_shift_of_time_changes_nothing(shift, seed):
    steps = [found(frame) for frame in world(seed, 5, 8)]
    for one, other in zip(run(steps), run(steps, start=DT + shift * 10**9), strict=True):
        assert (one.ids == other.ids).all()
        assert (one.boxes == other.boxes).all()
        assert (one.ages == other.ages).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_the_order_of_any_detections_means_nothing(seed):
    tracks = run(messy(seed))
    for one, other in zip(tracks, run(messy(seed, lambda rng, n: rng.permutation(n))), strict=True):
        assert_same(one, other)
    assert max(len(t) for t in tracks) > 2


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31))
@settings(max_examples=25, deadline=None)
def test_a_shift_of_time_changes_nothing_for_any_detections(seed, shift):
    for one, other in zip(run(messy(seed)), run(messy(seed), start=DT + shift * 10**9 + 1), strict=True):
        assert_same(one, other)


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(1e-4, 100), min_size=12, max_size=12))
@settings(max_examples=25, deadline=None)
def test_covariance_stays_positive_definite_for_any_detections_at_any_times(seed, dts):
    tracker = MultiObjectTracker(Settings(memory=1e6))
    for stamp, step in zip(np.cumsum(dts) * 1e9, messy(seed), strict=True):
        tracks = tracker.step(int(stamp) + 1, step)
        p, pv, v = tracks.covariance
        assert (p > 0).all()
        assert (v > 0).all()
        assert (p * v > pv**2).all()
        assert np.isfinite(tracks.boxes).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_detections_given_twice_are_as_given_once(seed):
    boxes = world(seed, 6, 12)
    twice = run([found(np.concatenate([frame, frame])) for frame in boxes])
    for one, other in zip(run([found(frame) for frame in boxes]), twice, strict=True):
        assert_same(one, other)

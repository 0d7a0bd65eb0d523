import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.geometry.boxes3d import giou, iou, transform, wrap
from deep_tracking_ros.multi_object.association_3d import COSTS, associate, distinct, overlapping, take_cheapest
from deep_tracking_ros.multi_object.motion_3d import MODELS
from deep_tracking_ros.multi_object.tracker_3d import (
    Boxes3D,
    Tracker3D,
    Tracker3DParameters,
    log_odds,
    probability,
)
from deep_tracking_ros.types import State

TENTH = 100_000_000
few = settings(deadline=None, max_examples=15)


def seen(boxes, scores=0.99, label="Car"):
    boxes = np.reshape(np.asarray(boxes, float), (-1, 7))
    return Boxes3D(boxes, np.broadcast_to(np.asarray(scores, float), len(boxes)), [label] * len(boxes))


def traffic(n, frames, seed=0, noise=0.0):
    """(frames, n, 7) cars on lanes 8 m apart, each at its own speed along its own heading of its lane."""
    random = np.random.default_rng(seed)
    speed = random.uniform(-12, 12, n)
    boxes = np.zeros((frames, n, 7))
    boxes[..., 0] = random.uniform(-30, 30, n) + 0.1 * np.arange(frames)[:, None] * speed
    boxes[..., 1] = 8 * np.arange(n)
    boxes[..., 3:6] = [4.2, 1.8, 1.5]
    boxes[..., 6] = np.where(speed < 0, np.pi, 0)
    return boxes + noise * random.normal(size=boxes.shape) * [1, 1, 1, 0.1, 0.1, 0.1, 0.1]


def run(frames, parameters=None, poses=None, start=0):
    tracker = Tracker3D(parameters)
    poses = [None] * len(frames) if poses is None else poses
    return [tracker.step(seen(f), start + k * TENTH, p) for k, (f, p) in enumerate(zip(frames, poses, strict=True))]


def pose(angle, x, y, z=0.0):
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = x, y, z
    return matrix


@pytest.mark.parametrize("motion", MODELS)
@pytest.mark.parametrize("cost", [("giou", 1.2), ("iou", 0.9), ("distance", 3.0)])
@pytest.mark.parametrize("greedy", [False, True])
def test_separated_objects_keep_their_ids(motion, cost, greedy):
    truth = traffic(12, 40)
    first = np.zeros(0)
    parameters = Tracker3DParameters(motion=motion, cost=cost[0], limit=cost[1], greedy=greedy)
    for tracks, boxes in zip(run(truth, parameters), truth, strict=True):
        assert len(tracks) == 12
        nearest = np.argmax(iou(tracks.boxes[:, None], boxes), 1)
        first = nearest if tracks.stamp == 0 else first
        np.testing.assert_array_equal(nearest, first)
    np.testing.assert_array_equal(tracks.state, State.CONFIRMED)
    speed = (truth[-1, first, 0] - truth[-2, first, 0]) / 0.1
    np.testing.assert_allclose(tracks.velocity[:, 0], speed, atol=0.3)
    np.testing.assert_allclose(tracks.age, 3.9)


@few
@given(st.integers(0, 10**6))
def test_the_order_of_detections_changes_nothing(seed):
    truth = traffic(8, 12, seed % 50, noise=0.2)
    random = np.random.default_rng(seed)
    mixed = [frame[random.permutation(8)] for frame in truth]
    for a, b in zip(run(truth), run(mixed), strict=True):
        np.testing.assert_array_equal(a.id, b.id)
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.score, b.score)


@few
@given(st.integers(1, 2**61))
def test_a_shift_of_time_changes_nothing(shift):
    truth = traffic(6, 8, noise=0.2)
    for a, b in zip(run(truth), run(truth, start=shift), strict=True):
        np.testing.assert_array_equal(a.id, b.id)
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.covariance, b.covariance)


@few
@given(st.sampled_from(sorted(MODELS)), st.floats(-3.1, 3.1), st.floats(-1000, 1000), st.floats(-1000, 1000))
def test_a_turn_of_the_world_changes_nothing(motion, angle, x, y):
    truth = traffic(5, 12, noise=0.2)
    world = pose(angle, x, y, 3.0)
    parameters = Tracker3DParameters(motion=motion)
    for a, b in zip(run(truth, parameters), run(transform(truth, world), parameters), strict=True):
        assert len(a) == len(b)
        moved = transform(a.boxes, world)
        match = np.argmin(np.hypot(*(moved[:, None, :2] - b.boxes[:, :2]).transpose(2, 0, 1)), 1)
        np.testing.assert_allclose(moved[:, :6], b.boxes[match, :6], atol=1e-5)
        np.testing.assert_allclose(wrap(moved[:, 6] - b.boxes[match, 6]), 0, atol=1e-6)
        np.testing.assert_allclose(a.velocity[:, :3] @ world[:3, :3].T, b.velocity[match, :3], atol=1e-5)
        np.testing.assert_allclose(a.score, b.score[match], atol=1e-9)


@few
@given(st.floats(-0.1, 0.1), st.floats(-3, 3))
def test_own_motion_is_compensated(turn, speed):
    """A sensor that drives sees what one that stands sees, in its own frame; velocities are over ground."""
    truth = traffic(6, 15, noise=0.1)
    poses = [pose(turn * k, speed * k, 0.5 * speed * k) for k in range(15)]
    local = [transform(boxes, np.linalg.inv(p)) for boxes, p in zip(truth, poses, strict=True)]
    for still, moving, p in zip(run(truth), run(local, poses=poses), poses, strict=True):
        assert len(still) == len(moving)
        np.testing.assert_allclose(
            np.sort(transform(moving.boxes, p)[:, :6], 0), np.sort(still.boxes[:, :6], 0), atol=1e-6
        )
        over_ground = moving.velocity[:, :3] @ p[:3, :3].T
        np.testing.assert_allclose(np.sort(over_ground, 0), np.sort(still.velocity[:, :3], 0), atol=1e-6)


def test_an_unseen_object_is_predicted_fades_and_ends_and_its_id_is_not_used_again():
    path = traffic(1, 60, seed=3)
    tracker = Tracker3D()
    for k in range(20):
        tracks = tracker.step(seen(path[k]), k * TENTH)
    score, id_ = tracks.score[0], tracks.id[0]
    for k in range(20, 25):
        tracks = tracker.step(seen([]), k * TENTH)
        assert tracks.state[0] == State.OCCLUDED
        assert tracks.score[0] < score
        assert tracks.unseen[0] == pytest.approx(0.1 * (k - 19))
        assert abs(tracks.boxes[0, 0] - path[k, 0, 0]) < 0.1
        score = tracks.score[0]
    spread = np.trace(tracks.covariance[0])
    tracks = tracker.step(seen(path[25]), 25 * TENTH)
    assert tracks.id[0] == id_
    assert np.trace(tracks.covariance[0]) < spread
    for k in range(26, 45):
        tracks = tracker.step(seen([]), k * TENTH)
    assert len(tracks) == 0
    assert tracker.step(seen(path[45]), 45 * TENTH).id[0] > id_
    tracker.reset()
    assert tracker.step(seen(path[0]), 0).id[0] > id_ + 1


def test_prediction_to_a_later_time_changes_nothing_that_is_kept():
    truth = traffic(4, 31)
    tracker, other = Tracker3D(), Tracker3D()
    with pytest.raises(InvalidRequestError, match="before the last step"):
        tracker.predicted(0)
    for k in range(30):
        now = tracker.step(seen(truth[k]), k * TENTH)
        other.step(seen(truth[k]), k * TENTH)
        later = tracker.predicted((k + 1) * TENTH)
    np.testing.assert_allclose(np.sort(later.boxes[:, 0]), np.sort(truth[30][:, 0]), atol=0.05)
    assert (np.trace(later.covariance, axis1=1, axis2=2) > np.trace(now.covariance, axis1=1, axis2=2)).all()
    np.testing.assert_array_equal(
        tracker.step(seen(truth[30]), 30 * TENTH).boxes, other.step(seen(truth[30]), 30 * TENTH).boxes
    )


def test_unsure_detections_start_nothing_but_are_followed():
    tracker = Tracker3D()
    box = traffic(1, 1)[0]
    assert len(tracker.step(seen(box, 0.3), 0)) == 0
    first = tracker.step(seen(box, 0.9), TENTH)
    assert first.state[0] == State.TENTATIVE
    again = tracker.step(seen(box, 0.3), 2 * TENTH)
    assert again.id[0] == first.id[0]
    assert again.unseen[0] == 0
    assert again.score[0] < first.score[0]


def test_score_follows_the_detections():
    tracker = Tracker3D()
    for k in range(40):
        tracks = tracker.step(seen(traffic(1, 1)[0], 0.9), k * TENTH)
    assert tracks.score[0] == pytest.approx(0.9, abs=1e-3)
    np.testing.assert_allclose(probability(log_odds([0.01, 0.5, 0.99])), [0.01, 0.5, 0.99])


def test_headings_that_flip_are_read_the_right_way_round():
    tracker = Tracker3D()
    boxes = traffic(1, 30, seed=3)
    boxes[10::3, 0, 6] += np.pi
    for k, box in enumerate(boxes):
        tracks = tracker.step(seen(box), k * TENTH)
    assert abs(wrap(tracks.boxes[0, 6] - boxes[0, 0, 6])) < 0.05
    wrong_at_first = traffic(1, 12, seed=3)
    wrong_at_first[0, 0, 6] += np.pi
    for tracks in run(wrong_at_first):
        heading = tracks.boxes[0, 6]
    assert abs(wrap(heading - boxes[0, 0, 6])) < 0.05


def test_heading_across_the_half_turn():
    boxes = traffic(1, 30, seed=3)
    boxes[:, 0, 6] = wrap(np.pi + 0.1 * np.sin(np.arange(30)))
    for tracks in run(boxes):
        assert abs(wrap(tracks.boxes[0, 6] - np.pi)) < 0.15


def test_classes_do_not_mix():
    tracker = Tracker3D()
    box = traffic(1, 1)[0]
    tracker.step(seen(box, label="Car"), 0)
    tracks = tracker.step(seen(np.add(box, [0, 0, 9, 0, 0, 0, 0]), label="Pedestrian"), TENTH)
    assert tracks.label == ("Car", "Pedestrian")
    assert tracks.unseen[0] > 0


def test_bad_detections_are_passed_over():
    tracker = Tracker3D()
    good = traffic(3, 1)[0]
    bad = np.repeat(np.add(good[:1], [0, 100, 0, 0, 0, 0, 0]), 4, 0)
    bad[0, 0], bad[1, 3], bad[2, 6], bad[3, 5] = np.nan, -1, np.inf, 0
    scores = [0.9] * 7 + [np.nan, 1.5]
    tracks = tracker.step(seen(np.concatenate([good, bad, good[:1], good[:1]]), scores), 0)
    assert len(tracks) == 3
    assert tracks.detection.tolist() == [0, 1, 2]
    assert np.isfinite(tracks.boxes).all()


def test_a_thousand_copies_are_one_object():
    tracker = Tracker3D()
    box = traffic(1, 1)[0]
    for k in range(3):
        tracks = tracker.step(seen(np.repeat(box, 1000, 0)), k * TENTH)
        assert tracks.id.tolist() == [1]


def peak_megabytes(do):
    tracemalloc.start()
    try:
        result = do()
        return result, tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_a_thousand_times_the_detections_take_neither_square_of_memory_nor_time():
    """Of a crowd, in which each copy is within the gate of all tracks around it."""
    rng = np.random.default_rng(0)
    people = np.zeros((49, 7))
    people[:, :2], people[:, 3:6] = 1.2 * np.stack([np.arange(49) % 7, np.arange(49) // 7], 1), [0.6, 0.6, 1.7]
    copies = np.repeat(people, 1000, 0)
    tracker = Tracker3D()

    def step(k):
        boxes = copies + rng.normal(0, 0.02, copies.shape) * [1, 1, 0, 0, 0, 0, 0]
        return tracker.step(seen(boxes, rng.uniform(0.7, 1, len(boxes)), "Pedestrian"), k * TENTH)

    began = time.process_time()
    for k in range(3):
        tracks, peak = peak_megabytes(lambda k=k: step(k))
        assert tracks.id.tolist() == list(range(1, 50))
        assert peak < 100  # all pairs within the gate would take 10 GB
    assert time.process_time() - began < 10  # and half a minute each


def test_memory_of_an_association_grows_with_its_pairs_by_little():
    boxes = np.zeros((200, 7))
    boxes[:, :2], boxes[:, 3:6] = np.random.default_rng(0).uniform(0, 3, (200, 2)), [0.6, 0.6, 1.7]
    kinds = np.zeros(200, int)
    pairs, peak = peak_megabytes(
        lambda: associate(boxes, boxes, kinds, kinds, cost="giou", limit=1.4, gate=5.0, greedy=False)
    )
    assert (pairs[:, 0] == pairs[:, 1]).all()
    assert len(pairs) == 200
    assert peak < 60  # 40,000 pairs of 120 chords each, all at once: 200


def test_of_copies_the_best_is_followed():
    """It tells more of the object than one that happens to be nearer."""
    tracker, (box,) = Tracker3D(), traffic(1, 1)[0]
    tracker.step(seen(box), 0)
    both = np.stack([box, np.add(box, [0.1, 0, 0, 0, 0, 0, 0])])
    assert tracker.step(seen(both, [0.6, 0.9]), TENTH).detection.tolist() == [1]


def test_the_order_of_equal_detections_of_two_classes_changes_nothing():
    box = traffic(1, 1)[0]
    both = np.concatenate([box, box])
    for labels in (["car", "truck"], ["truck", "car"]):
        tracks = Tracker3D().step(Boxes3D(both, np.full(2, 0.9), labels), 0)
        assert tracks.label == ("car", "truck")


def test_time_must_go_on_and_shapes_must_fit():
    tracker = Tracker3D()
    tracker.step(seen([]), 5)
    for stamp in (5, 4):
        with pytest.raises(InvalidRequestError, match="not later"):
            tracker.step(seen([]), stamp)
    with pytest.raises(InvalidRequestError, match="finite"):
        tracker.step(seen([]), 6, np.full((4, 4), np.nan))
    with pytest.raises(InvalidRequestError, match="shapes"):
        Boxes3D(np.zeros((2, 6)), np.zeros(2), ["Car", "Car"])
    with pytest.raises(InvalidRequestError, match="constant_turn"):
        Tracker3D(Tracker3DParameters(motion="wobble"))
    assert len(tracker.step(seen([]), 6)) == 0


def test_two_trackers_share_nothing():
    one, other = Tracker3D(), Tracker3D()
    one.step(seen(traffic(5, 1)[0]), 0)
    assert other.step(seen(traffic(2, 1)[0]), 0).id.tolist() == [1, 2]


@few
@given(st.integers(0, 10**6))
def test_cheapest_first_agrees_with_the_plain_loop(seed):
    random = np.random.default_rng(seed)
    n, m = random.integers(1, 12, 2)
    rows, columns = np.nonzero(random.random((n, m)) < 0.5)
    costs = random.permutation(len(rows)).astype(float)
    expected, free_rows, free_columns = set(), set(range(n)), set(range(m))
    for k in np.argsort(costs):
        if rows[k] in free_rows and columns[k] in free_columns:
            expected.add((rows[k], columns[k]))
            free_rows.remove(rows[k])
            free_columns.remove(columns[k])
    assert set(map(tuple, take_cheapest(rows, columns, costs, (n, m)))) == expected


def test_large_scenes_are_associated_as_small_ones():
    """Past 12,000 pairs a search tree and connected components take over; perfect detections must still agree."""
    truth = traffic(200, 2)
    order = np.random.default_rng(0).permutation(200)
    kinds = np.zeros(200, int)
    for greedy in (False, True):
        pairs = associate(truth[0], truth[1][order], kinds, kinds, cost="giou", limit=1.2, gate=5.0, greedy=greedy)
        assert len(pairs) == 200
        np.testing.assert_array_equal(order[pairs[:, 1]], pairs[:, 0])


def test_costs_and_overlaps():
    a, b = traffic(2, 1)[0]
    assert COSTS["giou"](a, b) == pytest.approx(1 - giou(a, b))
    near = np.add(a, [1, 0, 0, 0, 0, 0, 0])
    one, two = np.array([0, 0]), np.array([0])
    assert overlapping(np.stack([near, b]), one, a[None], two, 0.1).tolist() == [True, False]
    assert overlapping(np.stack([near, b]), one, a[None], two + 1, 0.1).tolist() == [False, False]
    assert distinct(np.stack([a, near, b, b]), np.zeros(4, int), 0.1).tolist() == [0, 2]
    assert distinct(np.stack([a, near, b, b]), np.array([0, 1, 0, 0]), 0.1).tolist() == [0, 1, 2]


@few
@given(st.integers(0, 10**6))
def test_distinct_agrees_with_the_plain_loop(seed):
    random = np.random.default_rng(seed)
    boxes = np.tile([0, 0, 0, 4.2, 1.8, 1.5, 0.0], (150, 1))
    boxes[:, :2] = random.uniform(0, 40, (150, 2))
    kinds, kept = random.integers(0, 2, 150), []
    rivals = (iou(boxes[:, None], boxes) >= 0.1) & (kinds[:, None] == kinds)
    for row in range(150):
        if not rivals[row, kept].any():
            kept.append(row)
    assert distinct(boxes, kinds, 0.1).tolist() == kept


def test_cost_grows_about_linearly_with_the_number_of_objects():
    def seconds(n):
        truth = traffic(n, 4)
        tracker = Tracker3D()
        best = np.inf
        for k, boxes in enumerate(truth):
            started = time.process_time()
            tracker.step(seen(boxes), k * TENTH)
            best = min(best, time.process_time() - started) if k else np.inf
        return best

    assert seconds(4000) < 30 * seconds(400)  # 100 times as much were it quadratic

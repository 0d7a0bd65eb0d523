"""Where lost targets are looked for, and that they are found: local at first, then everywhere, at a bounded cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from template_tracker import HEIGHT, PATCH, STEP, WIDTH, box_at, frame
from test_single_object_pipeline import make, run, step, way

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.pipelines.search import Progress, hypotheses, shares, windows
from deep_tracking_ros.types import Detection, Detections, State, TrackedBox, TrackedBoxes

EVERYWHERE = 1e6  # px
NONE = np.empty((0, 4), np.float32)


def box(cx, cy, w, h):
    return cxcywh_to_xyxy([cx, cy, w, h])


# the grid


@settings(deadline=None)
@given(
    st.tuples(st.integers(20, 700), st.integers(20, 500)),
    st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2)),
    st.tuples(st.floats(8, 200), st.floats(8, 200)),
    st.floats(0.5, 2.0),
)
def test_no_place_of_the_image_is_out_of_reach(size, place, shape, reach):
    at = box(place[0] * size[0], place[1] * size[1], *shape)
    centres = xyxy_to_cxcywh(windows(at, size, reach, EVERYWHERE))[:, :2]
    x, y = np.meshgrid(np.linspace(0, size[0] - 1, 23), np.linspace(0, size[1] - 1, 19))
    gap = np.abs(np.stack([x, y], -1)[:, :, None] - centres).max(-1).min(-1)
    width, height = np.minimum(shape, size)
    assert gap.max() <= max(reach * np.sqrt(width * height), 0.5) + 1e-2


def test_nearest_first_and_no_further_than_the_radius():
    at = box(40, 60, 20, 20)
    centres = xyxy_to_cxcywh(windows(at, (160, 120), 1.0, EVERYWHERE))
    distance = np.hypot(centres[:, 0] - 40, centres[:, 1] - 60)
    assert distance[0] == 0
    assert (np.diff(distance) > -1e-3).all()
    assert (centres[:, 2:] == 20).all()
    near = windows(at, (160, 120), 1.0, 50.0)
    assert len(near) == (distance <= 50).sum() > 1
    assert len(windows(at, (160, 120), 1.0, 0.0)) == 1


def test_a_box_larger_than_the_image_is_looked_for_in_the_whole_image():
    (only,) = windows(box(50, 40, 400, 300), (100, 80), 1.0, EVERYWHERE)
    np.testing.assert_allclose(only, [0, 0, 100, 80], atol=0.5)


def test_windows_are_gone_through_one_after_the_other_and_again():
    at, size = box(40, 60, 20, 20), (160, 120)
    every = windows(at, size, 1.0, EVERYWHERE)
    progress, seen = Progress(), []
    for _ in range(len(every)):
        places, progress = hypotheses(at, size, 1.0, EVERYWHERE, NONE, 3, progress)
        seen += list(places)
    np.testing.assert_array_equal(seen, np.tile(every, (3, 1)))


def test_half_of_the_hypotheses_are_proposals_and_all_of_them_get_their_turn():
    at, size = box(40, 60, 20, 20), (160, 120)
    others = np.stack([box(10 * i, 50, 12, 30) for i in range(1, 6)])
    progress, proposed, grid = Progress(), [], []
    for _ in range(5):
        places, progress = hypotheses(at, size, 1.0, EVERYWHERE, others, 4, progress)
        proposed += list(places[:2])
        grid += list(places[2:])
    np.testing.assert_array_equal(proposed, np.tile(others, (2, 1)))
    np.testing.assert_array_equal(grid, windows(at, size, 1.0, EVERYWHERE)[:10])
    assert progress.looks == 20
    (one,), _ = hypotheses(at, size, 1.0, EVERYWHERE, others[:1], 1, Progress())
    np.testing.assert_array_equal(one, others[0])


def test_a_frame_has_so_many_hypotheses_and_no_more():
    assert shares(4, []) == []
    assert shares(0, [Progress(), Progress()]) == [0, 0]
    assert shares(5, [Progress(9), Progress(2), Progress(4)]) == [1, 2, 2]  # who had fewest gets one more
    assert sum(shares(4, [Progress()] * 7)) == 4


# the pipeline


def lose(pipeline, number=6):
    """Set target 1, lose it, and take the pipeline through ``number`` images without it."""
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, way(3))
    return run(pipeline, [None] * number, start=3)


def test_a_target_that_returns_elsewhere_is_found():
    far = (140, 100)
    for windows_, states in ((0, {State.LOST}), (4, {State.LOST, State.TRACKED})):
        pipeline = make(search_windows=windows_)
        assert {result.boxes[0].state for result in lose(pipeline)} == {State.LOST}
        results = run(pipeline, [far] * 20, start=9)
        assert {result.boxes[0].state for result in results} == states
        assert (results[-1].boxes[0].state is State.TRACKED) == bool(windows_)
    np.testing.assert_allclose(results[-1].boxes[0].box, box_at(*far), atol=1)
    found = [result.boxes[0].state for result in results].index(State.TRACKED)
    assert found < 20 // 2


def test_the_found_one_is_followed_on_from_there():
    pipeline = make()
    lose(pipeline)
    run(pipeline, [(130, 90)] * 12, start=9)
    results = run(pipeline, [(130 - 2 * i, 90) for i in range(20)], start=21)
    assert {result.boxes[0].state for result in results} == {State.TRACKED}
    np.testing.assert_allclose(results[-1].boxes[0].box, box_at(92, 90), atol=1)


def test_hypotheses_ride_in_the_batch_of_the_others_and_are_bounded():
    pipeline = make(search_windows=4)
    objects = [(40, 20), (40, 60), (40, 100)]
    step(pipeline, frame(0, *objects))
    for place in objects:
        pipeline.command(SetTarget(box_at(*place)))
    step(pipeline, frame(1, *objects))
    pipeline.tracker.batches.clear()
    for i in range(2, 12):  # the second and third are gone
        step(pipeline, frame(i, objects[0], None, None))
    assert pipeline.tracker.batches == [3, 5] + [7] * 8  # at first the circle holds one window for each
    pipeline.tracker.batches.clear()
    for i in range(12, 40):
        step(pipeline, frame(i, *objects))
    assert pipeline.tracker.batches[-1] == 3  # all are found, nothing is searched
    assert max(pipeline.tracker.batches) <= 7


def test_the_circle_grows_with_time():
    pipeline = make(search_windows=4, search_speed=2.0)  # 2 sizes of 20 px a second, from one size on
    lose(pipeline, number=5)
    near = run(pipeline, [(140, 60)] * 15, start=8)  # about 100 px away: looked for after 2 s
    assert {result.boxes[0].state for result in near} == {State.LOST}
    later = run(pipeline, [(140, 60)] * 60, start=23)
    assert later[-1].boxes[0].state is State.TRACKED


def others(kind, index, *places, state=State.CONFIRMED, frame_id="camera"):
    stamp = 10 * 10**9 + index * STEP
    if kind is Detections:
        return Detections(stamp, frame_id, tuple(Detection(box_at(*p), 0.9) for p in places))
    boxes = tuple(TrackedBox(i + 1, box_at(*p), state, 0.9) for i, p in enumerate(places))
    return TrackedBoxes(stamp, frame_id, 0, stamp, WIDTH, HEIGHT, "", boxes)


@pytest.mark.parametrize(("port", "kind"), [("proposals", Detections), ("tracks", TrackedBoxes)])
def test_what_others_see_is_looked_at(port, kind):
    far = (140, 60)
    for place, found in ((far, True), ((140, 20), False)):
        pipeline = make(search_windows=1, search_speed=0.0)  # no window of the grid is ever there
        lose(pipeline)
        for i in range(9, 15):
            item = others(kind, i, place)
            pipeline.remember(port, item)
            assert pipeline.step(port, item) == ()
            (box,) = step(pipeline, frame(i, far)).boxes
        assert (box.state is State.TRACKED) == found


def test_what_others_saw_long_ago_or_elsewhere_or_do_not_see_is_no_hint():
    far = (140, 60)
    hidden = [others(TrackedBoxes, 20, far, state=state) for state in (State.LOST, State.OCCLUDED)]
    elsewhere = [others(kind, 20, far, frame_id="rear") for kind in (TrackedBoxes, Detections)]
    for item in (others(Detections, 0, far), *hidden, *elsewhere):
        pipeline = make(search_windows=1, search_speed=0.0)
        lose(pipeline, number=20)
        pipeline.remember("tracks" if isinstance(item, TrackedBoxes) else "proposals", item)
        results = run(pipeline, [far] * 6, start=23)
        assert {result.boxes[0].state for result in results} == {State.LOST}


def test_a_look_alike_that_shows_up_for_a_moment_is_not_taken():
    pipeline = make()
    lose(pipeline)
    for i in range(9, 60):
        (box,) = step(pipeline, frame(i, (140, 60) if i % 3 else None)).boxes  # never three images in a row
        assert box.state is State.LOST


def test_the_same_input_is_searched_the_same():
    def results():
        pipeline = make()
        lose(pipeline)
        return [r.boxes[0] for r in run(pipeline, [(140, 100)] * 10, start=9)]

    for first, second in zip(results(), results(), strict=True):
        assert (first.state, first.score) == (second.state, second.score)
        np.testing.assert_array_equal(first.box, second.box)


def test_a_target_out_of_an_image_that_became_smaller_is_searched_within_it():
    pipeline = make()
    pipeline.command(SetTarget(box_at(140, 100)))
    run(pipeline, [(140, 100)] * 3)
    small = {"width": 60, "height": 60}
    for i in range(3, 12):
        (box,) = step(pipeline, frame(i, **small)).boxes
        assert box.state is State.LOST
    assert PATCH < 60

import numpy as np
import pytest
from template_tracker import STEP, TemplateTracker, box_at, frame

from deep_tracking_ros.errors import DataError, InvalidImageError
from deep_tracking_ros.pipelines.replay import TimedTarget, replay
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline
from deep_tracking_ros.types import Frame

T0 = 10 * 10**9


def make():
    return SingleObjectPipeline(SingleObjectPipeline.Parameters(), TemplateTracker())


def scene(number):
    return [frame(i, (40 + 2 * i, 60)) for i in range(number)]


def numbers(steps):
    """Numbers of the processed frames."""
    return [(step.frame.stamp - T0) // STEP for step in steps if step.outputs]


@pytest.mark.parametrize(
    "where", [{"index": 3}, {"offset": 3 * STEP}, {"offset": 3 * STEP - 1}, {"stamp": T0 + 3 * STEP}]
)
def test_a_target_is_set_on_the_frame_that_it_names(where):
    steps = list(replay(make(), scene(8), [TimedTarget(SetTarget(box_at(46, 60)), **where)]))
    boxes = [step.outputs[0].item.boxes for step in steps]
    assert [len(b) for b in boxes] == [0, 0, 0, 1, 1, 1, 1, 1]
    for i in range(3, 8):
        np.testing.assert_array_equal(boxes[i][0].box, box_at(40 + 2 * i, 60))


def test_a_target_after_the_end_is_an_error():
    with pytest.raises(DataError, match="could be set: at frame 9, at 2 s after the first frame"):
        list(
            replay(
                make(),
                scene(3),
                [
                    TimedTarget(SetTarget(box_at(40, 60)), index=9),
                    TimedTarget(SetTarget(box_at(1, 1)), offset=2 * 10**9),
                ],
            )
        )


def test_broken_frames_are_reported_and_the_rest_goes_on():
    def broken():
        raise InvalidImageError("no image")

    frames = scene(4)
    frames[2] = Frame(broken, frames[2].stamp)
    steps = list(replay(make(), frames, [TimedTarget(SetTarget(box_at(40, 60)), index=0)]))
    assert [step.error is not None for step in steps] == [False, False, True, False]
    np.testing.assert_array_equal(steps[3].outputs[0].item.boxes[0].box, box_at(46, 60))


@pytest.mark.parametrize(
    ("latency", "expected"),
    [
        (0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (STEP, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),  # ready exactly when the next one comes
        (2 * STEP, [0, 2, 4, 6, 8, 9]),  # the last one waits, and nothing newer comes
        (round(2.5 * STEP), [0, 2, 5, 7, 9]),  # newest of those that came meanwhile: at 2.5, 5, 7.5
        (100 * STEP, [0, 9]),
    ],
)
def test_in_a_live_run_the_newest_frame_wins(latency, expected):
    steps = list(replay(make(), scene(10), realtime=1.0, latency=latency))
    assert numbers(steps) == expected
    assert sum(step.dropped for step in steps) == 10 - len(expected)
    assert len(steps) == 10


def test_the_latency_holds_waiting_and_work():
    steps = [s for s in replay(make(), scene(10), realtime=1.0, latency=round(2.5 * STEP)) if s.outputs]
    waited = np.array([0, 0.5, 0, 0.5, 1]) * STEP  # processed at 0, 2.5, 5, 7.5 and 10
    np.testing.assert_array_equal([s.latency for s in steps], waited + 2.5 * STEP)


def test_at_half_speed_a_live_run_has_twice_the_time():
    assert numbers(replay(make(), scene(10), realtime=0.5, latency=2 * STEP)) == list(range(10))
    assert numbers(replay(make(), scene(10), realtime=2.0, latency=STEP)) == [0, 2, 4, 6, 8, 9]


def test_the_measured_cost_comes_from_the_clock_given():
    ticks = iter(range(0, 10**12, 2 * STEP))
    steps = list(replay(make(), scene(10), realtime=1.0, clock=lambda: next(ticks)))
    assert numbers(steps) == [0, 2, 4, 6, 8, 9]
    assert {step.cost for step in steps if step.outputs} == {2 * STEP}


def test_a_target_on_a_frame_that_a_live_run_drops_is_followed_all_the_same():
    target = TimedTarget(SetTarget(box_at(46, 60)), index=3)
    steps = list(replay(make(), scene(10), [target], realtime=1.0, latency=2 * STEP))
    assert numbers(steps) == [0, 2, 4, 6, 8, 9]
    boxes = {(s.frame.stamp - T0) // STEP: s.outputs[0].item.boxes for s in steps if s.outputs}
    assert [len(b) for b in boxes.values()] == [0, 0, 1, 1, 1, 1]
    np.testing.assert_array_equal(boxes[9][0].box, box_at(58, 60))


def test_a_bag_loop_in_a_live_run():
    steps = list(replay(make(), scene(5) + scene(5), realtime=1.0, latency=STEP))
    assert numbers(steps) == [0, 1, 2, 3, 4] * 2
    assert [step.outputs[0].item.epoch for step in steps] == [0] * 5 + [1] * 5


def test_setting_a_target_costs_time_too():
    """It takes 3 frames' time by the clock, and a step none: the next 3 frames wait or are dropped."""
    now = 0

    class Slow(SingleObjectPipeline):
        def command(self, request):
            nonlocal now
            now += 3 * STEP + 1
            return super().command(request)

    pipeline = Slow(SingleObjectPipeline.Parameters(), TemplateTracker())
    target = TimedTarget(SetTarget(box_at(44, 60)), index=2)
    steps = list(replay(pipeline, scene(10), [target], realtime=1.0, clock=lambda: now))
    assert numbers(steps) == [0, 1, 5, 6, 7, 8, 9]
    (late,) = [s for s in steps if s.outputs and s.latency]
    assert (late.frame.stamp, late.latency) == (T0 + 5 * STEP, 1)
    np.testing.assert_array_equal(late.outputs[0].item.boxes[0].box, box_at(50, 60))

"""Targets set, started anew, removed, on past images or not at all: the commands of `SingleObjectPipeline`."""

import numpy as np
import pytest
from single_object_steps import T0, broken, make, process, run, step, way
from template_tracker import HEIGHT, STEP, WIDTH, TemplateTracker, box_at, frame

from deep_tracking_ros.errors import (
    EngineError,
    InvalidBoxError,
    InvalidImageError,
    InvalidRequestError,
    NoFrameError,
    OutsideImageError,
    StampNotBufferedError,
    TooManyTargetsError,
    UnknownTargetError,
)
from deep_tracking_ros.pipelines.requests import ClearTargets, RemoveTarget, SetTarget
from deep_tracking_ros.types import Frame, State

# targets on past images


def test_a_target_that_moved_40_px_since_the_click_is_caught_up():
    pipeline = make()
    run(pipeline, way(21))
    reply = pipeline.command(SetTarget(box_at(40, 60), stamp=T0))  # it is at 80 now
    assert "followed through 20 images since; it is TRACKED now" in reply.message
    (box,) = step(pipeline, frame(21, (82, 60))).boxes
    assert box.state is State.TRACKED
    np.testing.assert_array_equal(box.box, box_at(82, 60))
    np.testing.assert_allclose(box.velocity, [50, 0, 0, 0], atol=2)
    assert box.age == pytest.approx(21 * STEP / 1e9)


def test_without_the_stamp_the_same_click_misses():
    pipeline = make()
    run(pipeline, way(21))
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, [(82, 60)], start=21)
    (box,) = run(pipeline, [(84, 60)], start=22)[0].boxes
    assert abs(box.box[0] - box_at(84, 60)[0]) > 35


def test_several_targets_on_one_past_image():
    pipeline = make()
    for i in range(11):
        step(pipeline, frame(i, (40 + 2 * i, 30), (100 - 2 * i, 80)))
    for centre in ((40, 30), (100, 80)):
        pipeline.command(SetTarget(box_at(*centre), stamp=T0))
    first, second = step(pipeline, frame(11, (62, 30), (78, 80))).boxes
    np.testing.assert_array_equal(first.box, box_at(62, 30))
    np.testing.assert_array_equal(second.box, box_at(78, 80))


def test_catching_up_leaves_other_targets_alone():
    pipeline, alone = make(), make()
    for p in (pipeline, alone):
        p.command(SetTarget(box_at(40, 30)))
        for i in range(5):
            step(p, frame(i, (40 + 2 * i, 30), (40, 80)))
    pipeline.command(SetTarget(box_at(40, 80), stamp=T0))
    last = frame(5, (50, 30), (40, 80))
    one, other = step(pipeline, last).boxes[0], step(alone, last).boxes[0]
    np.testing.assert_array_equal(one.box, other.box)
    np.testing.assert_array_equal(one.velocity, other.velocity)
    assert one.age == other.age


@pytest.mark.parametrize(("most", "used"), [(100, 20), (10, 10), (7, 7), (6, 5), (1, 1)])
def test_catching_up_uses_no_more_images_than_allowed_and_always_the_newest(most, used):
    pipeline = make(catch_up_frames=most)
    run(pipeline, [(40, 60)] * 20)
    newest = frame(20, (40, 60))
    step(pipeline, newest)
    pipeline.tracker.batches.clear()
    pipeline.command(SetTarget(box_at(40, 60), stamp=T0))
    assert pipeline.tracker.image is newest.image
    assert len(pipeline.tracker.batches) == used
    assert run(pipeline, [(40, 60)], start=21)[0].boxes[0].age == pytest.approx(21 * STEP / 1e9)


def test_a_target_set_on_an_image_that_step_has_not_seen():
    pipeline = make()
    run(pipeline, way(3))
    pipeline.remember("image", frame(4, (48, 60)))  # dropped by a busy node
    pipeline.remember("image", frame(5, (50, 60)))
    pipeline.command(SetTarget(box_at(50, 60), stamp=T0 + 5 * STEP))
    assert step(pipeline, frame(3, (46, 60))).boxes == ()  # was on its way before
    (box,) = step(pipeline, frame(5, (50, 60))).boxes
    assert (box.age, box.score) == (0, 1.0)
    assert pipeline.tracker.batches == []  # in its first image it is where it was drawn
    np.testing.assert_array_equal(box.box, box_at(50, 60))
    pipeline.command(SetTarget(box_at(48, 60), stamp=T0 + 4 * STEP))
    boxes = step(pipeline, frame(6, (52, 60))).boxes
    for box in boxes:
        np.testing.assert_array_equal(box.box, box_at(52, 60))


def test_a_stamp_out_of_the_buffer_names_the_range():
    pipeline = make(frame_buffer=0.2)
    with pytest.raises(NoFrameError):
        pipeline.command(SetTarget(box_at(40, 60), stamp=T0))
    run(pipeline, way(20))
    with pytest.raises(StampNotBufferedError, match=r"6 images from 10\.560000000 s to 10\.760000000 s are kept"):
        pipeline.command(SetTarget(box_at(40, 60), stamp=T0))
    assert pipeline.status()["buffered_s"] == pytest.approx(0.2)


def test_the_buffer_is_bounded_by_memory():
    pipeline = make(frame_buffer_mb=1)
    run(pipeline, [None] * 20)
    assert pipeline.status()["buffered_frames"] == 10**6 // (WIDTH * HEIGHT * 3) == 17
    assert pipeline.status()["buffered_mb"] <= 1


def test_a_broken_image_among_the_kept_ones_is_passed_over():
    pipeline = make()
    run(pipeline, way(3))
    pipeline.remember("image", Frame(broken, T0 + 3 * STEP))
    run(pipeline, way(2, start=(48, 60)), start=4)
    pipeline.command(SetTarget(box_at(40, 60), stamp=T0))
    (box,) = step(pipeline, frame(6, (52, 60))).boxes
    np.testing.assert_array_equal(box.box, box_at(52, 60))
    with pytest.raises(InvalidImageError):
        pipeline.command(SetTarget(box_at(40, 60), stamp=T0 + 3 * STEP))


# commands that cannot be done


@pytest.mark.parametrize(("after", "stamp"), [(0, 0), (1, 0), (1, T0)])
def test_useless_boxes_are_refused_at_once(after, stamp):
    """Before the first image only the box's place cannot be judged."""
    pipeline = make()
    run(pipeline, [(40, 60)] * after)
    for box in ([10, 10, 12, 40], [10, 10, 5, 40], [10, float("nan"), 40, 40], [0, 0, float("inf"), 9]):
        with pytest.raises(InvalidBoxError):
            pipeline.command(SetTarget(np.float32(box), stamp=stamp))
    if after:
        with pytest.raises(OutsideImageError, match="160x120"):
            pipeline.command(SetTarget(box_at(300, 60), stamp=stamp))
    assert step(pipeline, frame(5)).boxes == ()


def test_a_box_outside_of_the_first_image_is_lost_once_and_gone():
    pipeline = make()
    pipeline.command(SetTarget(box_at(300, 60), label="far"))
    (box,) = step(pipeline, frame(0)).boxes
    assert (box.id, box.label, box.state, box.score) == (1, "far", State.LOST, 0)
    assert "target 1: the box" in pipeline.status()["last_error"]
    assert "160x120" in pipeline.status()["last_error"]
    assert step(pipeline, frame(1)).boxes == ()
    assert pipeline.status()["targets"] == pipeline.status()["pending"] == 0


@pytest.mark.parametrize("stamp", [0, T0 + 2 * STEP])
def test_a_target_that_the_network_cannot_start_is_lost_once_and_holds_up_nothing(stamp):
    class Failing(TemplateTracker):
        fails = False

        def start(self, image, boxes):
            if self.fails:
                raise EngineError("the GPU is out of memory")
            return super().start(image, boxes)

    pipeline = make(Failing())
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, way(2))
    item = frame(2, (44, 60))
    pipeline.remember("image", item)
    pipeline.command(SetTarget(box_at(100, 60), stamp=stamp, label="cup"))
    pipeline.command(SetTarget(box_at(100, 60), stamp=stamp, id=1))  # the first one, anew
    pipeline.tracker.fails = True
    good, bad = process(pipeline, item).boxes
    assert (bad.id, bad.label, bad.state, bad.score) == (2, "cup", State.LOST, 0)
    assert good.state is State.TRACKED
    assert "the GPU is out of memory" in pipeline.status()["last_error"]
    for i in range(3, 6):
        (good,) = step(pipeline, frame(i, (40 + 2 * i, 60))).boxes
        assert good.age == pytest.approx(i * STEP / 1e9)
        np.testing.assert_array_equal(good.box, box_at(40 + 2 * i, 60))
    assert (pipeline.status()["targets"], pipeline.status()["pending"]) == (1, 0)


def test_unknown_ids_are_named_with_the_known_ones():
    pipeline = make()
    with pytest.raises(UnknownTargetError, match="no target is followed"):
        pipeline.command(RemoveTarget(1))
    pipeline.command(SetTarget(box_at(40, 60)))
    for request in (RemoveTarget(7), SetTarget(box_at(40, 60), id=7)):
        with pytest.raises(UnknownTargetError, match="no target 7; known ids are 1"):
            pipeline.command(request)


def test_too_many_targets():
    pipeline = make(max_targets=2)
    pipeline.command(SetTarget(box_at(40, 30)))
    step(pipeline, frame(0, (40, 30), (40, 60)))
    pipeline.command(SetTarget(box_at(40, 60)))
    with pytest.raises(TooManyTargetsError, match="max_targets"):
        pipeline.command(SetTarget(box_at(40, 90)))
    assert pipeline.command(SetTarget(box_at(40, 90), id=2)).id == 2  # anew is not one more
    pipeline.command(RemoveTarget(1))
    assert pipeline.command(SetTarget(box_at(40, 90))).id == 3


def test_other_requests_are_refused():
    with pytest.raises(InvalidRequestError, match="str is no command"):
        make().command("set_target")
    with pytest.raises(InvalidRequestError, match="-1 ns"):
        make().command(SetTarget(box_at(40, 60), stamp=-1))


@pytest.mark.parametrize("stamp", [0, T0 + 4 * STEP])
def test_a_target_started_anew_keeps_id_and_label(stamp):
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 30), label="cup"))
    for i in range(5):
        step(pipeline, frame(i, (40, 30), (80, 80)))
    reply = pipeline.command(SetTarget(box_at(80, 80), stamp=stamp, id=1))
    assert reply.id == 1
    step(pipeline, frame(5, (40, 30), (80, 80)))
    (box,) = step(pipeline, frame(6, (40, 30), (82, 80))).boxes
    assert (box.id, box.label) == (1, "cup")
    assert box.age == pytest.approx((2 if stamp else 1) * STEP / 1e9)
    np.testing.assert_array_equal(box.box, box_at(82, 80))


def test_a_target_that_cannot_be_started_anew_goes_on():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 30)))
    step(pipeline, frame(0, (40, 30)))
    pipeline.command(SetTarget(box_at(140, 100), id=1))
    (box,) = step(pipeline, frame(1, width=80, height=60)).boxes  # smaller than when the box was checked
    assert (box.id, box.state) == (1, State.LOST)
    np.testing.assert_array_equal(box.box, (box_at(40, 30) + 0.5) / 2 - 0.5)
    assert "80x60" in pipeline.status()["last_error"]
    assert (pipeline.status()["targets"], pipeline.status()["pending"]) == (1, 0)


def test_removed_and_cleared_targets_are_gone():
    pipeline = make()
    for y in (30, 60, 90):
        pipeline.command(SetTarget(box_at(40, y)))
    step(pipeline, frame(0, (40, 30), (40, 60), (40, 90)))
    pipeline.command(RemoveTarget(2))
    assert [box.id for box in step(pipeline, frame(1, (40, 30), (40, 60), (40, 90))).boxes] == [1, 3]
    pipeline.command(SetTarget(box_at(40, 60)))
    assert pipeline.command(ClearTargets()).count == 3
    assert step(pipeline, frame(2, (40, 30))).boxes == ()

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
import pytest
from template_tracker import HEIGHT, PATCH, STEP, WIDTH, TemplateTracker, box_at, frame, picture

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
from deep_tracking_ros.parameters import declared, make_parameters
from deep_tracking_ros.pipelines import motion
from deep_tracking_ros.pipelines.pipeline import Output
from deep_tracking_ros.pipelines.registry import PIPELINES, find_pipeline
from deep_tracking_ros.pipelines.requests import ClearTargets, RemoveTarget, SetTarget
from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline
from deep_tracking_ros.types import Camera, Frame, Mask, State

T0 = 10 * 10**9  # ns, stamp of frame 0


def make(tracker=None, **values):
    return SingleObjectPipeline(make_parameters(SingleObjectPipeline.Parameters, values), tracker or TemplateTracker())


def step(pipeline, item):
    """The one result of a frame that arrives and is processed at once, or None."""
    pipeline.remember("image", item)
    return process(pipeline, item)


def process(pipeline, item):
    """The one result of a frame that arrived before, or None."""
    outputs = list(pipeline.step("image", item))
    return outputs[0].item if outputs else None


def run(pipeline, positions, start=0, offset=T0):
    """Results of frames in which object 0 is at these positions."""
    return [step(pipeline, frame(start + i, position, offset=offset)) for i, position in enumerate(positions)]


def way(number, start=(40, 60), speed=2):
    return [(start[0] + speed * i, start[1]) for i in range(number)]


# results


def test_every_processed_frame_gives_a_message_also_without_targets():
    pipeline = make()
    camera = Camera(WIDTH, HEIGHT, np.eye(3), np.zeros(5))
    result = step(pipeline, Frame(picture(), T0, "front_camera", camera))
    assert result.boxes == ()
    assert (result.stamp, result.valid_at, result.frame_id) == (T0, T0, "front_camera")
    assert (result.width, result.height, result.epoch, result.model) == (WIDTH, HEIGHT, 0, "template")
    assert pipeline.tracker.batches == []


def test_follows_a_target_set_for_the_next_image():
    pipeline = make()
    reply = pipeline.command(SetTarget(box_at(40, 60), label="cup"))
    assert (reply.id, reply.count) == (1, 1)
    results = run(pipeline, way(20))
    for i, result in enumerate(results):
        (box,) = result.boxes
        assert (box.id, box.label, box.state, box.unseen) == (1, "cup", State.TRACKED, 0)
        np.testing.assert_array_equal(box.box, box_at(40 + 2 * i, 60))
        assert box.age == pytest.approx(i * STEP / 1e9)
    assert results[0].boxes[0].score == 1.0
    np.testing.assert_allclose(results[-1].boxes[0].velocity, [50, 0, 0, 0], atol=2)  # 2 px in 40 ms


def test_velocity_is_measured_with_the_real_time_between_frames():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    for i in (0, 1, 3, 4, 7, 8, 10, 13, 15, 18, 20):  # dropped frames between
        result = step(pipeline, frame(i, (40 + 2 * i, 60)))
    np.testing.assert_allclose(result.boxes[0].velocity, [50, 0, 0, 0], atol=2)


def test_all_targets_are_one_batch_and_come_ordered_by_id():
    pipeline = make()
    step(pipeline, frame(0, (40, 30), (40, 60), (40, 90)))
    pipeline.command(SetTarget(box_at(40, 30)))
    pipeline.command(SetTarget(box_at(40, 60), stamp=T0))  # is followed before the first one
    pipeline.command(SetTarget(box_at(40, 90)))
    step(pipeline, frame(1, (42, 30), (42, 60), (42, 90)))
    pipeline.tracker.batches.clear()
    result = step(pipeline, frame(2, (44, 30), (44, 60), (44, 90)))
    assert pipeline.tracker.batches == [3]
    assert [box.id for box in result.boxes] == [1, 2, 3]
    for box, y in zip(result.boxes, (30, 60, 90), strict=True):
        assert box.box[1] == y - 10.5


def test_a_lost_target_stands_where_it_was_found_and_comes_back():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, way(5))
    results = run(pipeline, [None] * 3, start=5)
    for i, result in enumerate(results):
        (box,) = result.boxes
        assert box.state is State.LOST
        np.testing.assert_array_equal(box.box, box_at(48, 60))
        np.testing.assert_array_equal(box.velocity, 0)
        assert box.covariance is None
        assert box.unseen == pytest.approx((i + 1) * STEP / 1e9)
    assert (pipeline.status()["lost"], pipeline.status()["tracked"]) == (1, 0)
    positions = [(54, 60), (55, 60), (56, 60)]  # it was lost for three images and has to be seen in as many
    back = [result.boxes[0] for result in run(pipeline, positions, start=8)]
    assert [box.state for box in back] == [State.LOST, State.LOST, State.TRACKED]
    assert back[-1].unseen == 0
    np.testing.assert_array_equal(back[-1].box, box_at(56, 60))
    assert (pipeline.status()["lost"], pipeline.status()["tracked"]) == (0, 1)


def test_thresholds_are_parameters():
    never = make(tracked_threshold=1.0, lost_threshold=0.0)
    never.command(SetTarget(box_at(40, 60)))
    run(never, way(2))
    assert run(never, [None], start=2)[0].boxes[0].state is State.UNCERTAIN
    with pytest.raises(InvalidRequestError, match="above tracked_threshold"):
        make(tracked_threshold=0.3)


# time


def test_duplicate_and_late_frames_are_counted_and_give_nothing():
    pipeline = make(reorder_tolerance=0.05)
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, way(3))
    assert step(pipeline, frame(2, (90, 60))) is None
    assert step(pipeline, frame(1, (90, 60))) is None
    status = pipeline.status()
    assert (status["frames"], status["duplicates"], status["late"], status["jumps"]) == (3, 1, 1, 0)
    assert step(pipeline, frame(3, (46, 60))).boxes[0].state is State.TRACKED


def test_motion_starts_anew_also_where_the_target_is_found_at_once():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    assert run(pipeline, way(10))[-1].boxes[0].velocity[0] > 40
    (box,) = step(pipeline, frame(0, (60, 60))).boxes
    assert box.state is State.TRACKED
    np.testing.assert_array_equal(box.velocity, 0)


@pytest.mark.parametrize("later", [0, 1000])
def test_a_time_jump_counts_the_epoch_and_loses_targets_until_found(later):
    """Back to the first stamp as in a bag loop, or 40 s ahead."""
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    before = run(pipeline, way(10))
    away = run(pipeline, [None] * 2, start=later)
    assert {result.epoch for result in before} == {0}
    assert {result.epoch for result in away} == {1}
    (box,) = away[0].boxes
    assert (box.id, box.state, box.unseen) == (1, State.LOST, 0)  # dt over the jump is unknown
    run(pipeline, [(62, 60)], start=later + 2)
    back = step(pipeline, frame(later + 3, (62, 60)))
    (box,) = back.boxes
    assert (back.epoch, box.id, box.state) == (1, 1, State.TRACKED)
    np.testing.assert_array_equal(box.velocity, 0)  # motion starts anew
    assert pipeline.status()["jumps"] == 1
    assert "time jumped from 10.360000000 s" in pipeline.status()["last_reset"]


def test_max_gap_is_a_parameter():
    for max_gap, epoch in ((0.05, 1), (0.09, 0)):
        pipeline = make(max_gap=max_gap)
        step(pipeline, frame(0))
        assert step(pipeline, frame(2)).epoch == epoch


def test_a_node_that_was_busy_for_long_has_seen_no_time_jump():
    pipeline = make(max_gap=0.5)
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, [(40, 60)])
    for i in range(1, 26):  # all arrive, and are dropped
        pipeline.remember("image", frame(i, (40, 60)))
    result = step(pipeline, frame(25, (40, 60)))
    assert (result.epoch, result.boxes[0].state, result.boxes[0].age) == (0, State.TRACKED, 1.0)
    pipeline.remember("image", frame(50, (40, 60)))  # a pause of 1 s
    assert step(pipeline, frame(50, (40, 60))).epoch == 1


def test_after_a_time_jump_frames_of_before_are_not_kept():
    pipeline = make()
    run(pipeline, way(5), offset=100 * 10**9)
    step(pipeline, frame(0, (40, 60)))
    with pytest.raises(StampNotBufferedError, match="1 images from 10"):
        pipeline.command(SetTarget(box_at(40, 60), stamp=100 * 10**9))
    assert pipeline.status()["buffered_frames"] == 1


def test_reset_does_as_a_time_jump():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, way(3))
    pipeline.reset("asked for")
    assert pipeline.status()["buffered_frames"] == 0
    assert pipeline.status()["last_reset"] == "asked for"
    result = step(pipeline, frame(3))
    assert (result.epoch, result.boxes[0].state) == (1, State.LOST)
    assert pipeline.status()["jumps"] == 0


def test_ids_are_never_used_again():
    pipeline = make()
    ids = []
    for i in range(3):
        ids.append(pipeline.command(SetTarget(box_at(40, 60))).id)
        step(pipeline, frame(i, (40, 60)))
        pipeline.command(RemoveTarget(ids[-1]))
    pipeline.command(SetTarget(box_at(40, 60)))
    pipeline.command(ClearTargets())
    pipeline.reset("bag loop")
    ids.append(pipeline.command(SetTarget(box_at(40, 60))).id)
    assert ids == [1, 2, 3, 5]


# a worker that lags behind


def test_a_worker_far_behind_processes_all_images_and_keeps_them():
    pipeline = make(reorder_tolerance=0.1)
    pipeline.command(SetTarget(box_at(40, 60)))
    frames = [frame(i, (40 + 2 * i, 60)) for i in range(20)]
    for item in frames:
        pipeline.remember("image", item)
    for i, item in enumerate(frames):
        (box,) = process(pipeline, item).boxes
        np.testing.assert_array_equal(box.box, box_at(40 + 2 * i, 60))
        assert pipeline.buffer.frames() == tuple(frames)
    status = pipeline.status()
    assert (status["epoch"], status["late"], status["jumps"], status["frames"]) == (0, 0, 0, 20)
    pipeline.command(SetTarget(box_at(40, 60), stamp=T0))
    for box in step(pipeline, frame(20, (80, 60))).boxes:
        np.testing.assert_array_equal(box.box, box_at(80, 60))


def test_images_arrive_in_one_thread_and_are_processed_in_another():
    pipeline, queue, results, kept = make(), SimpleQueue(), [], []
    pipeline.command(SetTarget(box_at(20, 60)))

    def work():
        while (item := queue.get()) is not None:
            before = pipeline.buffer.frames()[-1]
            results.append(process(pipeline, item))
            kept.append(frames.index(pipeline.buffer.frames()[-1]) >= frames.index(before))
            time.sleep(0.001)  # slower than they arrive

    frames = [frame(i, (20 + i, 60)) for i in range(100)] + [frame(i, (20 + i, 60)) for i in range(50)]  # a bag loop
    worker = threading.Thread(target=work)
    worker.start()
    for item in frames:
        pipeline.remember("image", item)
        queue.put(item)
    queue.put(None)
    worker.join()
    assert [(r.epoch, r.stamp) for r in results] == [(i >= 100, f.stamp) for i, f in enumerate(frames)]
    for i, result in enumerate(results[:100]):
        np.testing.assert_array_equal(result.boxes[0].box, box_at(20 + i, 60))
    assert all(kept)  # the newest image stays the newest
    assert pipeline.buffer.frames() == tuple(frames[100:])


def test_a_time_jump_hidden_by_dropped_images_is_one_all_the_same():
    """Back and forth again while the worker was busy: what it sees next has a stamp as if nothing had been."""
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, way(3))
    for item in (frame(3, offset=T0 - 5 * 10**9), frame(4)):
        pipeline.remember("image", item)
    result = step(pipeline, frame(5))
    assert (result.epoch, result.boxes[0].state) == (1, State.LOST)


def test_a_target_set_on_an_image_beyond_a_time_jump_waits_for_it():
    """The bag began again half a second earlier, and the worker is still at the images of before."""
    pipeline = make()
    old = [frame(i, (40, 60)) for i in range(15)]
    new = [frame(i, (40 + 2 * i, 60)) for i in range(10)]
    for item in old + new:
        pipeline.remember("image", item)
    for item in old[:12]:
        process(pipeline, item)
    id_ = pipeline.command(SetTarget(box_at(44, 60), stamp=new[2].stamp)).id
    assert pipeline.tracker.batches == []
    assert [process(pipeline, item).boxes for item in old[12:] + new[:2]] == [()] * 5
    for i, item in enumerate(new[2:], 2):
        result = process(pipeline, item)
        (box,) = result.boxes
        assert (result.epoch, box.id, box.state) == (1, id_, State.TRACKED)
        assert box.age == pytest.approx((i - 2) * STEP / 1e9)
        np.testing.assert_array_equal(box.box, box_at(40 + 2 * i, 60))


def test_a_target_set_on_an_image_that_is_dropped_before_a_time_jump_is_lost_until_found():
    pipeline = make()
    run(pipeline, way(3))
    dropped = frame(3, (46, 60))
    pipeline.remember("image", dropped)
    pipeline.command(SetTarget(box_at(46, 60), stamp=dropped.stamp))
    result = step(pipeline, frame(0, None, offset=0))
    assert (result.epoch, [box.state for box in result.boxes]) == (1, [State.LOST])
    (box,) = step(pipeline, frame(1, (50, 60), offset=0)).boxes
    assert (box.state, box.age) == (State.TRACKED, pytest.approx(STEP / 1e9))


def test_a_target_set_on_an_image_of_a_size_that_is_still_to_come():
    pipeline = make()
    large = {"width": 2 * WIDTH, "height": 2 * HEIGHT}
    small, new = [frame(i, (40, 60)) for i in range(3)], [frame(i, (200, 150), **large) for i in range(3, 6)]
    for item in small + new:
        pipeline.remember("image", item)
    process(pipeline, small[0])
    pipeline.command(SetTarget(box_at(200, 150), stamp=new[1].stamp))
    assert [process(pipeline, item).boxes for item in (small[1], small[2], new[0])] == [()] * 3
    for item in new[1:]:
        (box,) = process(pipeline, item).boxes
        assert box.state is State.TRACKED
        np.testing.assert_array_equal(box.box, box_at(200, 150))


def test_a_target_set_on_an_image_of_before_another_size_is_scaled():
    pipeline = make()
    run(pipeline, way(3))
    large = {"width": 2 * WIDTH, "height": 2 * HEIGHT}
    step(pipeline, frame(3, **large))
    reply = pipeline.command(SetTarget(box_at(40, 60), stamp=T0))
    assert "it is LOST now" in reply.message
    (box,) = step(pipeline, frame(4, **large)).boxes
    assert box.state is State.LOST
    np.testing.assert_array_equal(box.box, (box_at(44, 60) + 0.5) * 2 - 0.5)


def test_images_that_arrived_already_are_kept_when_the_size_changes():
    pipeline = make()
    run(pipeline, way(3))
    large = [frame(i, (90, 120), width=2 * WIDTH, height=2 * HEIGHT) for i in range(3, 8)]
    for item in large:
        pipeline.remember("image", item)
    assert process(pipeline, large[0]).epoch == 1
    pipeline.command(SetTarget(box_at(90, 120), stamp=large[4].stamp))
    np.testing.assert_array_equal(process(pipeline, large[4]).boxes[0].box, box_at(90, 120))


def test_kept_images_are_kept_as_they_came():
    """Compressed images would fill the buffer within a second if they stayed decoded beside their source."""
    pipeline = make(frame_buffer_mb=1)
    decoded = Counter()

    def camera(i):
        def decode():
            decoded[i] += 1
            return picture((40 + i, 60))

        return Frame(decode, T0 + i * STEP, nbytes=5000)

    for i in range(75):
        step(pipeline, camera(i))
    status = pipeline.status()
    assert status["buffered_s"] == pytest.approx(74 * STEP / 1e9)
    assert status["buffered_mb"] == pytest.approx((75 * 5000 + WIDTH * HEIGHT * 3) / 1e6)
    assert set(decoded.values()) == {1}
    pipeline.command(SetTarget(box_at(40, 60), stamp=T0))
    assert pipeline.status()["buffered_mb"] <= status["buffered_mb"]
    (box,) = step(pipeline, camera(75)).boxes
    np.testing.assert_array_equal(box.box, box_at(115, 60))


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


def broken():
    raise InvalidImageError("the image has 5 bytes, 640x480 bgr8 needs 921600")


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


# images that are not as before


def test_a_broken_image_changes_nothing():
    pipeline, other = make(), make()
    for p in (pipeline, other):
        p.command(SetTarget(box_at(40, 60)))
        run(p, way(3))
    for stamp in (T0 + 3 * STEP, T0 - 10**12):  # the next one, and one that would be a jump
        with pytest.raises(InvalidImageError):
            pipeline.step("image", Frame(broken, stamp))
    assert pipeline.status() == other.status()
    one, two = (run(p, way(1, start=(48, 60)), start=4)[0] for p in (pipeline, other))
    assert one.epoch == two.epoch == 0
    np.testing.assert_array_equal(one.boxes[0].box, two.boxes[0].box)
    assert one.boxes[0].age == two.boxes[0].age


def test_another_image_size_is_a_jump_and_boxes_are_scaled():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, way(3))
    result = step(pipeline, frame(3, width=2 * WIDTH, height=2 * HEIGHT))
    assert (result.epoch, result.width, result.height) == (1, 320, 240)
    (box,) = result.boxes
    assert (box.id, box.state) == (1, State.LOST)
    np.testing.assert_array_equal(box.box, (box_at(44, 60) + 0.5) * 2 - 0.5)
    assert "160x120 to 320x240" in pipeline.status()["last_reset"]
    (box,) = step(pipeline, frame(4, (90, 120), width=2 * WIDTH, height=2 * HEIGHT)).boxes
    assert box.state is State.TRACKED


def test_a_time_jump_with_another_size_counts_once_and_names_both():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, way(3))
    result = step(pipeline, frame(0, offset=0, width=2 * WIDTH, height=2 * HEIGHT))
    status = pipeline.status()
    assert (result.epoch, status["epoch"], status["jumps"]) == (1, 1, 1)
    assert "time jumped from 10.080000000 s" in status["last_reset"]
    assert "160x120 to 320x240" in status["last_reset"]


def test_the_score_of_before_a_time_jump_is_forgotten():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    run(pipeline, way(3))
    pipeline.reset("asked for")
    box = pipeline.targets.followed[1].box()
    assert (box.state, box.score) == (State.LOST, -1)


# prediction


def test_the_covariance_is_that_of_the_measured_box():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    for result in run(pipeline, way(20)):
        (box,) = result.boxes
        deviation = motion.SURE**box.score * motion.UNSURE ** (1 - box.score) * PATCH
        np.testing.assert_allclose(box.covariance, np.eye(4) * deviation**2, rtol=1e-5)


def predictable(**values):
    pipeline = make(predict_to_now=True, **values)
    pipeline.command(SetTarget(box_at(40, 60)))
    result = run(pipeline, way(20))[-1]
    return pipeline, Output("boxes", result)


def test_boxes_are_moved_to_the_time_asked_for_with_growing_covariance():
    pipeline, output = predictable()
    (box,) = output.item.boxes
    volumes = [np.linalg.det(box.covariance)]
    for ms in (1, 20, 100, 300):
        later = pipeline.predict(output, output.item.stamp + ms * 10**6).item
        (moved,) = later.boxes
        assert (later.valid_at, later.stamp) == (output.item.stamp + ms * 10**6, output.item.stamp)
        np.testing.assert_allclose(
            moved.box, box.box + 50e-3 * ms * np.float32([1, 0, 1, 0]), atol=0.03 * ms / 20 + 0.1
        )
        volumes.append(np.linalg.det(moved.covariance))
    assert (np.diff(volumes) > 0).all()


def test_prediction_is_limited_and_never_goes_back():
    pipeline, output = predictable(max_prediction=0.1)
    late, limit = (pipeline.predict(output, output.item.stamp + ns).item for ns in (10**9, 10**8))
    assert late.valid_at == limit.valid_at == output.item.stamp + 10**8
    np.testing.assert_array_equal(late.boxes[0].box, limit.boxes[0].box)
    assert pipeline.predict(output, output.item.stamp - 1) is output


def test_without_the_parameter_nothing_is_predicted():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    output = Output("boxes", run(pipeline, way(5))[-1])
    assert pipeline.predict(output, output.item.stamp + 10**8) is output


def test_lost_targets_are_not_predicted_and_contour_and_mask_move_along():
    pipeline, output = predictable()
    stamp = output.item.stamp
    contour, mask = np.float32([[78, 60], [80, 62]]), Mask(70, 50, np.full((4, 4), 255, np.uint8))
    drawn = replace(output.item, boxes=(replace(output.item.boxes[0], contour=contour, mask=mask),))
    (moved,) = pipeline.predict(Output("boxes", drawn), stamp + 10**8).item.boxes
    np.testing.assert_allclose(moved.contour, contour + np.float32([5, 0]), atol=0.3)
    assert (moved.mask.x, moved.mask.y) == (75, 50)

    lost = run(pipeline, [None], start=20)[0]
    later = pipeline.predict(Output("boxes", lost), lost.stamp + 10**8).item
    assert later.boxes[0] is lost.boxes[0]
    assert later.valid_at == lost.stamp + 10**8


# instances


def test_two_cameras_over_one_tracker_share_nothing_else():
    tracker = TemplateTracker()
    left, right, alone = make(tracker), make(tracker), make()
    for p in (left, alone):
        p.command(SetTarget(box_at(40, 60)))
    assert right.command(SetTarget(box_at(100, 40))).id == 1
    results = []
    for i in range(10):
        results.append(step(left, frame(i, (40 + 2 * i, 60))))
        step(right, frame(i, (100 - 2 * i, 40), offset=77 * 10**9))
        expected = step(alone, frame(i, (40 + 2 * i, 60)))
        np.testing.assert_array_equal(results[-1].boxes[0].box, expected.boxes[0].box)
    right.reset("its clock jumped")
    right.close()
    result = step(left, frame(10, (60, 60)))
    assert (result.epoch, result.boxes[0].state) == (0, State.TRACKED)


def test_two_cameras_in_two_threads_share_nothing_but_the_tracker():
    tracker = TemplateTracker()
    scenes = [[frame(i, (30 + way_ * i, y)) for i in range(60)] for way_, y in ((1, 40), (2, 80))]
    pipelines = [make(tracker), make(tracker)]
    results = [[], []]

    def work(camera):
        start = box_at(30, (40, 80)[camera])
        pipelines[camera].command(SetTarget(start))
        for item in scenes[camera]:
            results[camera].append(step(pipelines[camera], item))
            time.sleep(0)

    threads = [threading.Thread(target=work, args=(camera,)) for camera in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for speed, y, found in ((1, 40, results[0]), (2, 80, results[1])):
        assert len(found) == 60
        for i, result in enumerate(found):
            (box,) = result.boxes
            assert (box.id, result.epoch) == (1, 0)
            np.testing.assert_array_equal(box.box, box_at(30 + speed * i, y))


def test_two_cameras_decode_at_the_same_time():
    both = threading.Barrier(2, timeout=5)

    def decode():
        both.wait()
        return picture()

    frames = [Frame(decode, T0), Frame(decode, T0)]
    with ThreadPoolExecutor(2) as threads:
        images = list(threads.map(lambda f: f.image, frames))
    assert [image.shape for image in images] == [(HEIGHT, WIDTH, 3)] * 2


def test_close_closes_the_engines_of_its_own_tracker_only():
    class Engine:
        backend, precision, closed = "torch", "fp32", False

        def close(self):
            self.closed = True

    for owned in (False, True):
        tracker = TemplateTracker()
        tracker.engines = (Engine(),)
        pipeline = SingleObjectPipeline(SingleObjectPipeline.Parameters(), tracker, owns_tracker=owned)
        assert (pipeline.status()["backend"], pipeline.status()["precision"]) == ("torch", "fp32")
        pipeline.close()
        assert tracker.engines[0].closed is owned


def test_make_gives_the_parameters_to_the_registry_of_trackers(monkeypatch):
    from deep_tracking_ros.single_object import registry

    asked = []

    def make_tracker(*arguments):
        asked.append(arguments)
        return TemplateTracker()

    monkeypatch.setattr(registry, "make_tracker", make_tracker)
    values = {"model": "other", "backend": "torch", "precision": "fp16", "threads": 2}
    find_pipeline("tracker").make(make_parameters(SingleObjectPipeline.Parameters, values), print)
    assert asked == [("other", "torch", "fp16", 2, print)]


def test_the_registry_knows_it_and_every_parameter_is_described():
    assert PIPELINES["single_object_tracker"] is find_pipeline("tracker") is SingleObjectPipeline
    with pytest.raises(InvalidRequestError, match="known are tracker, single_object_tracker"):
        find_pipeline("flow")
    for parameter in declared(SingleObjectPipeline.Parameters):
        assert parameter.check(parameter.default) == parameter.default
        assert parameter.description.endswith(".")

"""Stamps, time jumps, images that come late or in another size: what `SingleObjectPipeline` makes of its input."""

import threading
import time
from collections import Counter
from queue import SimpleQueue

import numpy as np
import pytest
from single_object_steps import T0, broken, make, process, run, step, way
from template_tracker import HEIGHT, STEP, WIDTH, box_at, frame, picture

from deep_tracking_ros.errors import InvalidImageError, StampNotBufferedError
from deep_tracking_ros.pipelines.requests import ClearTargets, RemoveTarget, SetTarget
from deep_tracking_ros.types import Frame, State

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

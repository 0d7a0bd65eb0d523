"""When targets are lost the pipeline hands out the last seconds, once for each loss."""

from itertools import pairwise

import numpy as np
from template_tracker import STEP, box_at, frame
from test_single_object_pipeline import T0, make

from deep_tracking_ros.pipelines.black_box import Recording
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.types import State

SPAN = 0.4  # s, ten frames


def recording_pipeline(**values):
    return make(**{"black_box": "somewhere", "black_box_seconds": SPAN, **values})


def feed(pipeline, *frames):
    """(recordings, results) of frames."""
    recordings, results = [], []
    for one in frames:
        pipeline.remember("image", one)
        for output in pipeline.step("image", one):
            (recordings if isinstance(output.item, Recording) else results).append(output.item)
    return recordings, results


def numbers(recording):
    return [(moment.frame.stamp - T0) // STEP for moment in recording.moments]


def test_the_last_seconds_are_handed_out_when_a_target_is_lost():
    pipeline = recording_pipeline()
    pipeline.command(SetTarget(box_at(40, 60), label="cup"))
    seen = [frame(i, (40 + i, 60)) for i in range(30)]
    assert feed(pipeline, *seen)[0] == []
    (recording,), (result,) = feed(pipeline, frame(30))
    assert recording.lost == (1,)
    assert numbers(recording) == list(range(20, 31))
    assert recording.stamp == T0 + 30 * STEP
    assert recording.moments[-1].result is result
    assert recording.moments[0].frame is seen[20]  # nothing is copied
    ((stamp, box),) = recording.starts()
    assert (stamp, box.id, box.label, box.state) == (T0 + 20 * STEP, 1, "cup", State.TRACKED)
    np.testing.assert_array_equal(box.box, box_at(60, 60))


def test_without_a_folder_there_is_none():
    pipeline = make()
    pipeline.command(SetTarget(box_at(40, 60)))
    assert feed(pipeline, frame(0, (40, 60)), frame(1))[0] == []
    assert pipeline.black_box is None


def test_images_are_kept_for_as_long_as_a_recording_is():
    pipeline = recording_pipeline(frame_buffer=0.0)
    pipeline.command(SetTarget(box_at(40, 60)))
    feed(pipeline, *(frame(i, (40, 60)) for i in range(15)))
    (recording,), _ = feed(pipeline, frame(15))
    assert numbers(recording) == list(range(5, 16))


def test_a_recording_begins_where_its_targets_begin():
    pipeline = recording_pipeline()
    feed(pipeline, *(frame(i, (40, 30), (40, 90)) for i in range(5)))
    pipeline.command(SetTarget(box_at(40, 30)))
    feed(pipeline, *(frame(i, (40, 30), (40, 90)) for i in range(5, 8)))
    pipeline.command(SetTarget(box_at(40, 90)))
    feed(pipeline, *(frame(i, (40, 30), (40, 90)) for i in range(8, 10)))
    (recording,), _ = feed(pipeline, frame(10))
    assert recording.lost == (1, 2)
    assert numbers(recording) == list(range(5, 11))
    assert [(stamp - T0) // STEP for stamp, _ in recording.starts()] == [5, 8]


def test_a_target_that_flickers_is_recorded_once_in_that_time():
    pipeline = recording_pipeline()
    pipeline.command(SetTarget(box_at(40, 60)))
    flicker = [frame(i, (40, 60) if i % 3 else None) for i in range(1, 40)]
    recordings, results = feed(pipeline, *flicker)
    states = [result.boxes[0].state is State.LOST for result in results]
    lost = sum(after and not before for before, after in pairwise(states))
    assert lost > 8
    stamps = [recording.stamp for recording in recordings]
    assert 3 <= len(stamps) <= 4
    assert min(np.diff(stamps)) >= SPAN * 1e9


def test_a_time_jump_is_no_loss_and_nothing_of_before_it_is_recorded():
    pipeline = recording_pipeline()
    pipeline.command(SetTarget(box_at(40, 60)))
    feed(pipeline, *(frame(i, (40, 60)) for i in range(8)))
    recordings, results = feed(pipeline, frame(2, offset=0), frame(3, (40, 60), offset=0), frame(4, (40, 60), offset=0))
    assert recordings == []
    assert results[0].boxes[0].state is State.LOST
    (recording,), _ = feed(pipeline, frame(5, offset=0))
    assert [moment.frame.stamp // STEP for moment in recording.moments] == [3, 4, 5]


def test_dropped_images_are_not_recorded():
    pipeline = recording_pipeline()
    pipeline.command(SetTarget(box_at(40, 60)))
    for i in range(8):
        one = frame(i, (40, 60))
        pipeline.remember("image", one)
        if i % 2 == 0:
            list(pipeline.step("image", one))
    (recording,), _ = feed(pipeline, frame(8))
    assert numbers(recording) == [0, 2, 4, 6, 8]

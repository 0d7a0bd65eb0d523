"""A track of a multi-object tracker becomes the target of the single-object tracker."""

import numpy as np
import pytest
from template_tracker import HEIGHT, STEP, WIDTH, box_at, frame
from test_single_object_pipeline import T0, make, run, step

from deep_tracking_ros.errors import (
    InvalidRequestError,
    NoFrameError,
    StampNotBufferedError,
    UnknownTargetError,
)
from deep_tracking_ros.pipelines.multi_object import MultiObjectParameters, MultiObjectPipeline
from deep_tracking_ros.pipelines.requests import RemoveTarget, SetTarget
from deep_tracking_ros.types import Detection, Detections, State, TrackedBox, TrackedBoxes

NOTHING = np.zeros(4, np.float32)


def tracks(pipeline, index, states=None, frame_id="camera", **places):
    """Tracks of image ``index``, given as t7=(x, y)."""
    stamp = T0 + index * STEP
    boxes = tuple(
        TrackedBox(int(name[1:]), box_at(*place), (states or {}).get(name, State.CONFIRMED), 0.9, "person")
        for name, place in places.items()
    )
    pipeline.remember("tracks", TrackedBoxes(stamp, frame_id, 0, stamp, WIDTH, HEIGHT, "", boxes))


def pick(pipeline, id_, **values):
    return pipeline.command(SetTarget(NOTHING, track_id=id_, **values))


def test_the_box_of_a_track_is_taken_where_it_was_seen_last_and_caught_up():
    pipeline = make()
    for i in range(10):
        step(pipeline, frame(i, (40 + 3 * i, 60)))
        if i < 7:  # tracks lag behind the images
            tracks(pipeline, i, t7=(40 + 3 * i, 60), t9=(100, 30))
    reply = pick(pipeline, 7)
    assert "image of stamp 10.240000000 s" in reply.message
    assert "followed through 3 images" in reply.message
    (box,) = step(pipeline, frame(10, (70, 60))).boxes
    assert (box.id, box.label, box.state) == (reply.id, "person", State.TRACKED)
    np.testing.assert_array_equal(box.box, box_at(70, 60))


def test_a_label_and_a_stamp_of_ones_own():
    pipeline = make()
    for i in range(5):
        step(pipeline, frame(i, (40 + 3 * i, 60)))
        tracks(pipeline, i, t7=(40 + 3 * i, 60))
    reply = pick(pipeline, 7, stamp=T0 + STEP, label="Ann")
    assert "image of stamp 10.040000000 s" in reply.message
    (box,) = step(pipeline, frame(5, (55, 60))).boxes
    assert box.label == "Ann"
    np.testing.assert_array_equal(box.box, box_at(55, 60))


@pytest.mark.parametrize("state", [State.OCCLUDED, State.LOST])
def test_a_track_that_is_hidden_now_is_taken_from_when_it_was_seen(state):
    """Where a hidden one is taken to be, there is something else: a target would be learnt from that."""
    pipeline = make()
    for i in range(4):
        step(pipeline, frame(i, (40, 60)))
        tracks(pipeline, i, {"t7": state if i > 1 else State.TENTATIVE}, t7=(40, 60))
    assert "image of stamp 10.040000000 s" in pick(pipeline, 7).message
    with pytest.raises(
        InvalidRequestError,
        match=rf"track 7 is {state.name} since .* in the image of stamp 10\.120.*, or leave the stamp out",
    ):
        pick(pipeline, 7, stamp=T0 + 3 * STEP)


def test_tracks_that_were_moved_to_the_present_go_back_to_their_image():
    tracker = MultiObjectPipeline(MultiObjectParameters(predict_to_now=True))
    pipeline = make()
    for i in range(5):
        step(pipeline, frame(i, (30 + 10 * i, 60)))
        found = Detections(T0 + i * STEP, "camera", (Detection(box_at(30 + 10 * i, 60), 0.9, "person"),))
        (output,) = tracker.step("detections", found)
        moved = tracker.predict(output, T0 + i * STEP + 200_000_000).item
        pipeline.remember("tracks", moved)
    assert moved.boxes[0].box[0] - output.item.boxes[0].box[0] > 40  # px: 0.2 s at 250 px/s
    box, stamp = pipeline.others.track(1)
    assert stamp == T0 + 4 * STEP
    np.testing.assert_allclose(box.box, output.item.boxes[0].box, atol=1e-3)
    np.testing.assert_allclose(pipeline.others.proposals(stamp, "camera"), [output.item.boxes[0].box], atol=1e-3)


def test_tracks_of_another_camera_are_not_taken():
    pipeline = make()
    step(pipeline, frame(0, (40, 60)))
    tracks(pipeline, 0, frame_id="rear", t7=(100, 30))
    with pytest.raises(
        NoFrameError, match="no track 7 in these images, of frame 'camera': the tracks are of frame 'rear'"
    ):
        pick(pipeline, 7)
    assert pipeline.warnings() == (
        "tracks or proposals of frame 'rear' are of no use: the images are of frame 'camera'",
    )
    tracks(pipeline, 1, t7=(40, 60))
    step(pipeline, frame(1, (40, 60)))
    pick(pipeline, 7)
    (box,) = step(pipeline, frame(2, (40, 60))).boxes
    np.testing.assert_array_equal(box.box, box_at(40, 60))
    assert pipeline.warnings() == ()


@pytest.mark.parametrize(
    ("request_", "error", "answer"),
    [
        ({"id_": 8}, UnknownTargetError, "there is no track 8; known ids of tracks are 3, 7"),
        ({"id_": 3}, InvalidRequestError, "track 3 is LOST since"),
        ({"id_": 7, "stamp": T0 + 1}, NoFrameError, r"stamp 10\.000000001 s have come; there are some from 10\.0"),
    ],
)
def test_what_cannot_be_picked_says_why(request_, error, answer):
    pipeline = make()
    step(pipeline, frame(0, (40, 60)))
    tracks(pipeline, 0, {"t3": State.LOST}, t3=(100, 30), t7=(40, 60))
    with pytest.raises(error, match=answer):
        pick(pipeline, **request_)
    assert pipeline.targets.ids == []


def test_without_tracks_the_answer_says_how_to_get_them():
    pipeline = make()
    step(pipeline, frame(0, (40, 60)))
    with pytest.raises(NoFrameError, match=r"no tracks have come; remap the input `tracks`.*launch argument tracks"):
        pick(pipeline, 7)


def test_a_box_and_a_track_are_too_much():
    pipeline = make()
    step(pipeline, frame(0, (40, 60)))
    tracks(pipeline, 0, t7=(40, 60))
    with pytest.raises(InvalidRequestError, match="names track 7 and gives a box too"):
        pipeline.command(SetTarget(box_at(40, 60), track_id=7))


def test_tracks_of_images_that_are_no_longer_kept_and_of_before_a_jump():
    pipeline = make(frame_buffer=0.1)
    run(pipeline, [(40, 60)] * 8)
    tracks(pipeline, 1, t7=(40, 60))
    with pytest.raises(StampNotBufferedError, match="too old"):
        pick(pipeline, 7)
    pipeline.reset("test")
    with pytest.raises(NoFrameError, match="no tracks have come"):
        pick(pipeline, 7)


# targets come and go in flight


def test_targets_that_come_and_go_cost_one_call_each_and_no_frame():
    """A target on the newest or next image: one call of `start`, and one of `track` a frame, whatever else happens."""
    pipeline = make()
    started = []
    start = pipeline.tracker.start
    pipeline.tracker.start = lambda image, boxes: (started.append(len(boxes)), start(image, boxes))[1]
    places = [(30, 20), (70, 20), (110, 20), (30, 90), (70, 90), (110, 90)]
    calls = []
    for i in range(30):
        before = len(pipeline.tracker.batches), len(started)
        if i % 5 == 1:
            pipeline.command(SetTarget(box_at(*places[i // 5])))  # on the next image
        if i % 5 == 3:
            pipeline.command(SetTarget(box_at(*places[i // 5]), stamp=T0 + (i - 1) * STEP))  # on the newest
        if i % 5 == 4:
            ids = sorted(pipeline.targets.ids)
            pipeline.command(RemoveTarget(ids[0]))
        result = step(pipeline, frame(i, *places))
        assert len(result.boxes) == len(pipeline.targets.ids)
        calls.append((len(pipeline.tracker.batches) - before[0], len(started) - before[1]))
    assert max(tracked for tracked, _ in calls) == 1
    assert [new for _, new in calls] == [int(i % 5 in (1, 3)) for i in range(30)]

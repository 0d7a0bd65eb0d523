import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from single_object_steps import T0, make, run, step, way
from template_tracker import HEIGHT, PATCH, STEP, WIDTH, TemplateTracker, box_at, frame, picture

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.parameters import declared, make_parameters
from deep_tracking_ros.pipelines import motion
from deep_tracking_ros.pipelines.pipeline import Output
from deep_tracking_ros.pipelines.registry import PIPELINES, find_pipeline
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline
from deep_tracking_ros.types import Camera, Frame, Mask, State

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

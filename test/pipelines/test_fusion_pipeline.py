import re
from dataclasses import replace

import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.geometry.poses import inverse, pose_of_angles, poses_of
from deep_tracking_ros.multi_object.fusion import outlines
from deep_tracking_ros.pipelines.fusion import FusionParameters, FusionPipeline, undistorted
from deep_tracking_ros.pipelines.registry import PIPELINES
from deep_tracking_ros.types import (
    Camera,
    State,
    StaticTransforms,
    TrackedBox,
    TrackedBox3D,
    TrackedBoxes,
    TrackedBoxes3D,
    Transform,
)

DT, START = 100_000_000, 100 * 10**9
K = np.array([[700.0, 0, 620], [0, 700, 187], [0, 0, 1]])
CAMERA = Camera(1240, 375, K, np.zeros(5))
PLACE = "0.3 0.1 -0.2 -1.5707963 0 -1.5707963"  # of an optical frame that looks along x, beside the lidar
POSE = pose_of_angles(*map(float, PLACE.split()))
NEAR, LEFT = np.array([12, 0, -0.5, 4.5, 1.8, 1.5, 0.0]), np.array([15, 5, -0.5, 4.5, 1.8, 1.5, 0.3])


def in_space(k, *boxes, score=0.6):
    poses = [poses_of(box)[0] for box in boxes]
    made = (
        TrackedBox3D(7 + row, pose, box[3:6], State.CONFIRMED, score, "vehicle", velocity=np.arange(6.0))
        for row, (pose, box) in enumerate(zip(poses, boxes, strict=True))
    )
    return TrackedBoxes3D(START + k * DT, "lidar", 3, START + k * DT, tuple(made))


def outline(box):
    return outlines(poses_of(box), box[None, 3:6], inverse(POSE), K)[0][0].astype(np.float32)


def in_image(k, *boxes, shift=0.0, state=State.CONFIRMED, label="car"):
    made = (
        TrackedBox(40 + row, outline(box) + np.float32(shift), state, 0.8, label,
                   velocity=np.array([-shift, -shift, 0, 0], np.float32) * 20)
        for row, box in enumerate(boxes)
    )  # fmt: skip
    stamp = START + round(k * DT)
    return TrackedBoxes(stamp, "camera", 0, stamp, 1240, 375, "", tuple(made))


def make(**parameters):
    return FusionPipeline(FusionParameters(**{"camera_pose": PLACE, **parameters}))


def feed(pipeline, *items):
    ports = {TrackedBoxes3D: "boxes_3d", TrackedBoxes: "boxes", Camera: "camera_info", StaticTransforms: "tf_static"}
    results = []
    for item in items:
        pipeline.remember(ports[type(item)], item)
        results += [output.item for output in pipeline.step(ports[type(item)], item)]
    return results


def test_a_linked_object_gets_id_label_and_score_and_keeps_all_else():
    pipeline = make()
    before = in_space(0, NEAR, LEFT)
    (after,) = feed(pipeline, CAMERA, in_image(0, NEAR), before)
    assert (after.stamp, after.frame_id, after.epoch) == (before.stamp, "lidar", 3)
    linked, lonely = after.boxes
    assert (linked.id, linked.image_id, linked.label) == (7, 40, "car")
    assert (lonely.id, lonely.image_id, lonely.label) == (8, 0, "vehicle")
    # odds of 0.6 are 1.5: times 4 for the camera's 0.8, and a tenth for the one that it should see
    assert linked.score == pytest.approx(6 / 7)
    assert lonely.score == pytest.approx(0.15 / 1.15)
    assert linked.pose is before.boxes[0].pose
    assert (linked.velocity == np.arange(6)).all()
    status = pipeline.status()
    assert (status["frames"], status["fused"], status["linked"]) == (1, 1, 1)
    assert pipeline.warnings() == ()


def test_boxes_wait_for_the_image_of_their_time_and_no_longer():
    pipeline = make(image_wait=0.1)
    assert feed(pipeline, CAMERA, in_image(-1, NEAR), in_space(0, NEAR)) == []
    assert pipeline.status()["waiting_for_image"] == 1
    (result,) = feed(pipeline, in_image(0, NEAR))
    assert result.boxes[0].image_id == 40
    assert feed(pipeline, in_space(1, NEAR)) == []
    (late,) = feed(pipeline, in_space(2, NEAR))  # nothing came in time: what is there must do
    assert (late.stamp, late.boxes[0].image_id) == (START + DT, 40)


def test_boxes_in_the_image_are_moved_to_the_time_of_those_in_space():
    # half a step earlier each was 60 px to the lower right
    (still,) = feed(
        make(), CAMERA, in_image(-0.5, NEAR, shift=60.0), in_image(0.9, state=State.LOST), in_space(0, NEAR)
    )
    assert still.boxes[0].image_id == 40


def test_boxes_that_were_predicted_are_not_moved_twice():
    """Their tracker has moved them to the time of those in space, or those to a later one."""
    moved = replace(in_image(-0.5, NEAR, shift=60.0), valid_at=START)
    moved = replace(moved, boxes=(replace(moved.boxes[0], box=outline(NEAR)),))
    (result,) = feed(make(image_wait=0.0), CAMERA, moved, in_space(0, NEAR))
    assert result.boxes[0].image_id == 40
    later = replace(in_space(0, NEAR), valid_at=START + DT // 2)
    (result,) = feed(make(), CAMERA, in_image(0, NEAR, shift=60.0), later)
    assert result.boxes[0].image_id == 40
    assert result.valid_at == later.valid_at


@pytest.mark.parametrize(
    ("space", "image", "classes", "linked"),
    [
        ("Vehicle", "CAR", None, True),
        ("car", "person", None, False),
        ("pedestrian", "person", None, True),
        ("pedestrian", "truck", None, False),
        ("cyclist", "person", None, True),
        ("", "person", None, True),
        ("car", "person", "", True),
        ("cup", "mug", " cup,mug ; bowl", True),
        ("cup", "bowl", " cup,mug ; bowl", False),
    ],
)
def test_what_an_object_is_decides_whom_it_may_be_in_the_image(space, image, classes, linked):
    pipeline = make(**({} if classes is None else {"classes": classes}))
    boxes = in_space(0, NEAR)
    boxes = replace(boxes, boxes=(replace(boxes.boxes[0], label=space),))
    (result,) = feed(pipeline, CAMERA, in_image(0, NEAR, label=image), boxes)
    assert (result.boxes[0].image_id, result.boxes[0].label) == ((40, image) if linked else (0, space))


def test_a_label_is_of_one_class():
    with pytest.raises(
        InvalidRequestError, match=r"classes is 'car, van; bus, Car', in which car stands in two groups"
    ):
        make(classes="car, van; bus, Car")


@pytest.mark.parametrize(
    ("field", "value"), [("box", np.full(4, np.nan)), ("score", np.nan), ("velocity", np.full(4, np.inf))]
)
def test_boxes_in_the_image_that_are_no_numbers_are_left_out(field, value):
    pipeline, image = make(), in_image(0, NEAR, LEFT)
    image = replace(image, boxes=(replace(image.boxes[0], **{field: value}), image.boxes[1]))
    (result,) = feed(pipeline, CAMERA, image, in_space(0, NEAR, LEFT))
    assert [box.image_id for box in result.boxes] == [0, 41]
    assert np.isfinite([box.score for box in result.boxes]).all()
    assert "0 boxes in space and 1 in the image are not finite" in pipeline.warnings()[0]
    feed(pipeline, in_image(1, NEAR), in_space(1, NEAR))
    assert pipeline.warnings() == ()
    assert pipeline.status()["unusable_boxes"] == 1


@pytest.mark.parametrize(("field", "value"), [("pose", np.full((4, 4), np.nan)), ("size", np.inf * NEAR[3:6])])
def test_boxes_in_space_that_are_no_numbers_pass_as_they_came(field, value):
    pipeline, space = make(), in_space(0, LEFT, NEAR)
    space = replace(space, boxes=(replace(space.boxes[0], **{field: value}), space.boxes[1]))
    (result,) = feed(pipeline, CAMERA, in_image(0, NEAR), space)
    assert result.boxes[0] is space.boxes[0]
    assert (result.boxes[1].id, result.boxes[1].image_id) == (8, 40)
    assert "1 boxes in space and 0 in the image are not finite" in pipeline.warnings()[0]


def test_what_was_in_the_image_before_a_reset_is_forgotten():
    pipeline = make(image_wait=0.0)
    feed(pipeline, CAMERA, in_image(0, NEAR))
    pipeline.reset("a test")
    (result,) = feed(pipeline, in_space(0, NEAR))
    assert result.boxes[0].image_id == 0
    assert "none came" in pipeline.warnings()[0]


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ((in_image(0, NEAR),), "no camera_info came"),
        ((CAMERA,), r"no boxes in the image within 0\.1 s of those in space \(none came\)"),
        ((CAMERA, in_image(2, NEAR)), r"within 0\.1 s of those in space \(0\.200 s\)"),
    ],
)
def test_where_nothing_is_known_of_the_camera_boxes_pass_as_they_came(items, why):
    pipeline = make(image_wait=0.0)
    before = in_space(0, NEAR)
    (after,) = feed(pipeline, *items, before)
    assert after is before
    (warning,) = pipeline.warnings()
    assert re.search(why, warning)
    assert pipeline.status()["last_problem"] == warning
    feed(pipeline, CAMERA, in_image(1, NEAR), in_space(1, NEAR))
    assert pipeline.warnings() == ()


def test_lost_and_hidden_tracks_in_the_image_say_nothing():
    for state in (State.LOST, State.OCCLUDED):
        (result,) = feed(make(), CAMERA, in_image(0, NEAR, state=state), in_space(0, NEAR))
        assert result.boxes[0].image_id == 0


def test_the_place_of_the_camera_by_transforms():
    static = StaticTransforms((Transform(0, "base", "lidar", np.eye(4)), Transform(0, "base", "camera", POSE)))
    pipeline = make(camera_pose="", camera_frame="camera")
    assert set(pipeline.inputs) == {"boxes_3d", "boxes", "camera_info", "tf", "tf_static"}
    (blind,) = feed(pipeline, CAMERA, in_image(0, NEAR), in_space(0, NEAR))
    assert blind.boxes[0].image_id == 0
    assert re.search(
        "no transforms lead from 'lidar' of the boxes in space to .* or change camera_frame", pipeline.warnings()[0]
    )
    (result,) = feed(pipeline, static, in_image(1, NEAR), in_space(1, NEAR))
    assert result.boxes[0].image_id == 40


def test_the_place_of_the_camera_must_be_told():
    with pytest.raises(InvalidRequestError, match=r"set camera_pose to 'x y z roll pitch yaw' .* or camera_frame"):
        make(camera_pose="")
    with pytest.raises(InvalidRequestError, match="camera_pose is '1 2', it must be six numbers"):
        make(camera_pose="1 2")
    assert "tf" not in make().inputs


def test_empty_results_duplicates_and_jumps():
    pipeline = make(image_wait=0.0)
    results = feed(pipeline, CAMERA, in_image(0), in_space(0), in_space(0, NEAR), in_space(-100, NEAR), in_space(-99))
    assert [len(r.boxes) for r in results] == [0, 1, 0]
    status = pipeline.status()
    assert (status["duplicates"], status["jumps"]) == (1, 1)
    pipeline.reset("test")
    assert pipeline.status()["waiting_for_image"] == 0
    assert PIPELINES["fusion"] is FusionPipeline


@pytest.mark.parametrize("first", ["space", "image"])
def test_when_a_bag_begins_again_nothing_is_linked_with_ids_of_before(first):
    """Its stamps come again, but the trackers have counted on; whichever of the two tells of the jump first."""
    pipeline = make()
    for k in range(10):
        feed(pipeline, CAMERA, in_image(k, NEAR), in_space(k, NEAR))
    image = replace(in_image(0, NEAR), epoch=1)
    again = [in_space(0, NEAR), replace(image, boxes=(replace(image.boxes[0], id=90),))]
    (result,) = feed(pipeline, *(again if first == "space" else again[::-1]))
    assert (result.stamp, result.boxes[0].image_id) == (START, 90)
    assert pipeline.warnings() == ()


def test_what_waits_at_a_jump_is_fused_with_what_there_was():
    pipeline = make(image_wait=0.5)
    results = feed(pipeline, CAMERA, in_image(49, NEAR), in_space(50, NEAR), in_space(0, NEAR))
    assert [(r.stamp, r.boxes[0].image_id) for r in results] == [(START + 50 * DT, 40)]
    assert pipeline.status()["waiting_for_image"] == 1


@pytest.mark.parametrize(
    ("camera", "boxes", "why"),
    [
        ({"frame_id": "left"}, {}, "in the frame 'camera', but camera_info is in 'left': remap boxes and camera_info"),
        ({}, {"frame_id": "other"}, "in the frame 'other', but camera_frame is 'camera': set it to .* camera_pose"),
        ({}, {"width": 620, "height": 188}, "620x188 px, but camera_info is of 1240x375 px: remap camera_info"),
    ],
)
def test_boxes_and_calibration_of_different_images_are_told_apart(camera, boxes, why):
    static = StaticTransforms((Transform(0, "lidar", "camera", POSE),))
    pipeline = make(camera_pose="", camera_frame="camera")
    before = in_space(0, NEAR)
    (after,) = feed(pipeline, static, replace(CAMERA, **camera), replace(in_image(0, NEAR), **boxes), before)
    assert after is before
    assert re.search(why, pipeline.warnings()[0])
    (after,) = feed(pipeline, replace(CAMERA, frame_id="/camera"), in_image(1, NEAR), in_space(1, NEAR))
    assert after.boxes[0].image_id == 40
    assert pipeline.warnings() == ()


@pytest.mark.parametrize(
    ("model", "distortion"), [("plumb_bob", [-0.3, 0.1, 0, 0, 0]), ("equidistant", [0.1, -0.02, 0, 0])]
)
def test_a_lens_that_bends_lines_is_taken_into_account(model, distortion):
    import cv2

    bent = Camera(1240, 375, K, np.array(distortion), model)
    straight = np.array([[100.0, 50, 400, 300]])
    rays = (np.linalg.inv(K) @ np.array([[100, 50, 1], [400, 50, 1], [100, 300, 1], [400, 300, 1]], float).T).T
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    pixels = project(rays[:, None], np.zeros(3), np.zeros(3), K, bent.distortion)[0].reshape(4, 2)
    box = np.concatenate([pixels.min(0), pixels.max(0)])[None]
    assert np.abs(box - straight).max() > 10
    assert np.abs(undistorted(box, bent) - straight).max() < np.abs(box - straight).max() / 2
    assert undistorted(straight, CAMERA) is straight

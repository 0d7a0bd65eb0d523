import resource

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.errors import InvalidImageError, InvalidRequestError
from deep_tracking_ros.pipelines.multi_object import MultiObjectParameters, MultiObjectPipeline
from deep_tracking_ros.pipelines.pipeline import Output
from deep_tracking_ros.pipelines.registry import PIPELINES
from deep_tracking_ros.types import Detection, Detections, Frame, State

DT = 40_000_000  # ns
START = 100 * 10**9


def box(x, y=50.0, w=40.0, h=80.0):
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2], np.float32)


def seen(k, *xs, frame_id="camera", label="person", score=0.9):
    detections = tuple(Detection(box(x), score, label) for x in xs)
    return Detections(START + k * DT, frame_id, detections)


def make(**parameters):
    return MultiObjectPipeline(MultiObjectParameters(**parameters))


def feed(pipeline, *items):
    return [output.item for item in items for output in pipeline.step("detections", item)]


def test_one_message_per_message_also_for_empty_ones():
    results = feed(make(), seen(0), seen(1, 50), seen(2, 52, 300), seen(3))
    assert [len(r.boxes) for r in results] == [0, 1, 2, 1]
    assert [r.stamp for r in results] == [r.valid_at for r in results] == [START + k * DT for k in range(4)]
    assert {r.frame_id for r in results} == {"camera"}
    (last,) = results[3].boxes
    assert (last.id, last.state, last.label, last.score) == (1, State.OCCLUDED, "person", -1)
    assert last.unseen == pytest.approx(0.04)
    assert last.age == pytest.approx(0.08)
    assert (np.linalg.eigvalsh(last.covariance) > 0).all()


def test_duplicates_and_late_ones_are_counted_and_give_nothing():
    pipeline = make()
    results = feed(pipeline, seen(0, 50), seen(2, 54), seen(2, 90), seen(1, 52), seen(3, 56))
    assert [r.stamp for r in results] == [START + k * DT for k in (0, 2, 3)]
    assert (pipeline.status()["duplicates"], pipeline.status()["late"], pipeline.status()["jumps"]) == (1, 1, 0)
    assert [b.id for b in results[-1].boxes] == [1]


def test_late_ones_find_their_place_while_others_wait():
    order = [0, 1, 3, 2, 4, 6, 5, 5, 7, 8, 9]
    pipeline = make(reorder_wait=0.08)
    results = feed(pipeline, *(seen(k, 50 + 6 * k) for k in order))
    assert [r.stamp for r in results] == [START + k * DT for k in range(8)]  # 8 and 9 wait
    straight = feed(make(), *(seen(k, 50 + 6 * k) for k in range(8)))
    for one, other in zip(results, straight, strict=True):
        assert [b.id for b in one.boxes] == [b.id for b in other.boxes] == [1]
        assert (one.boxes[0].box == other.boxes[0].box).all()
    status = pipeline.status()
    assert (status["duplicates"], status["late"], status["held"]) == (1, 0, 2)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_stream_with_every_fault_gives_the_tracks_of_the_clean_one(seed):
    rng, frames = np.random.default_rng(seed), 25
    clean = [seen(k, 50 + 5 * k, 400 - 3 * k) for k in range(frames)]
    bad = [
        Detection(np.full(4, np.nan, np.float32), 0.9, "person"),
        Detection(np.array([60, 60, 20, 90], np.float32), 0.9, "person"),
        Detection(box(200), float("nan"), "person"),
        Detection(np.array([-np.inf, 0, np.inf, 50], np.float32), 0.9, "person"),
    ]
    faulty = []
    for item in clean:
        found = (*item.detections, *bad)
        shuffled = tuple(found[i] for i in rng.permutation(len(found)))
        faulty.append(Detections(item.stamp, item.frame_id, shuffled))
    # at most three places late, and each is sent once more at any later time within the wait
    order = np.argsort(np.arange(frames) + rng.uniform(0, 3, frames))
    order = [k for place, k in enumerate(order) for k in (k, order[max(0, place - int(rng.integers(0, 3)))])]
    tail = [seen(frames + k, 50, frame_id="camera") for k in range(4)]  # pushes out what waits
    pipeline = make(reorder_wait=0.16, reorder_tolerance=0.5)
    results = feed(pipeline, *(faulty[k] for k in order), *tail)[:frames]
    for one, other in zip(results, feed(make(), *clean), strict=True):
        assert one.stamp == other.stamp
        assert [b.id for b in one.boxes] == [b.id for b in other.boxes] == [1, 2]
        assert all((a.box == b.box).all() for a, b in zip(one.boxes, other.boxes, strict=True))
    status = pipeline.status()
    assert status["duplicates"] + status["late"] == frames  # a copy of what was processed already may be either
    assert status["jumps"] == 0


def test_a_thousand_times_the_detections_are_the_same_tracks():
    pipeline = make()
    for k in range(3):
        item = seen(k, 50, 200, 400)
        (result,) = feed(pipeline, Detections(item.stamp, item.frame_id, item.detections * 1000))
        assert [b.id for b in result.boxes] == [1, 2, 3]


def test_no_more_than_a_limit_wait():
    pipeline = make(reorder_wait=60.0, reorder_tolerance=60.0)
    results = feed(pipeline, *(seen(k, 50) for k in range(150)))
    assert len(results) == 50
    assert pipeline.status()["held"] == 100


def test_a_time_jump_gives_a_new_epoch_and_new_ids():
    pipeline = make()
    results = feed(pipeline, seen(100, 50), seen(101, 50), seen(0, 50), seen(1, 50), seen(100, 50))
    assert [r.epoch for r in results] == [0, 0, 1, 1, 2]
    assert [[b.id for b in r.boxes] for r in results] == [[1], [1], [2], [2], [3]]
    assert pipeline.status()["jumps"] == 2
    assert "time jumped from" in pipeline.status()["last_reset"]


def test_what_waits_is_taken_before_a_time_jump():
    pipeline = make(reorder_wait=0.1)
    results = feed(pipeline, seen(100, 50), seen(101, 50), seen(0, 50))
    assert [(r.stamp - START) // DT for r in results] == [100, 101, 0]
    assert [r.epoch for r in results] == [0, 0, 1]


def test_another_frame_id_is_another_camera():
    pipeline = make()
    results = feed(pipeline, seen(0, 50), seen(1, 50, frame_id="rear"), seen(2, 50, frame_id="rear"))
    assert [r.epoch for r in results] == [0, 1, 1]
    assert [[b.id for b in r.boxes] for r in results] == [[1], [2], [2]]
    assert "'camera' to 'rear'" in pipeline.status()["last_reset"]


def test_reset_counts_the_epoch_up_and_never_uses_an_id_again():
    pipeline = make()
    feed(pipeline, seen(0, 50))
    pipeline.reset("a test")
    (result,) = feed(pipeline, seen(1, 50))
    assert (result.epoch, result.boxes[0].id) == (1, 2)
    assert pipeline.status()["last_reset"] == "a test"


def test_pipelines_share_nothing():
    first, second = make(), make()
    feed(first, seen(0, 50, 200, 400))
    (result,) = feed(second, seen(0, 50))
    assert [b.id for b in result.boxes] == [1]
    assert second.status()["frames"] == 1


def test_labels_are_kept_apart():
    both = [Detection(box(50), 0.9, "person"), Detection(box(52), 0.9, "dog")]
    pipeline = make()
    for k in range(4):
        (result,) = feed(pipeline, Detections(START + k * DT, "camera", tuple(both[:: 1 if k % 2 else -1])))
    assert sorted((b.id, b.label) for b in result.boxes) == sorted(
        zip((1, 2), [b.label for b in result.boxes], strict=True)
    )
    assert {b.label for b in result.boxes} == {"person", "dog"}
    assert all(b.state is State.CONFIRMED for b in result.boxes)


def test_bad_detections_do_no_harm():
    nan, turned = np.full(4, np.nan, np.float32), np.array([60, 60, 20, 20], np.float32)
    odd = Detection(box(300), 0.9, "person", np.ones(3, np.float32))
    other = Detection(box(500), 0.9, "person", np.full(5, np.nan, np.float32))
    pipeline = make()
    for k in range(3):
        good = Detection(box(50), 0.9, "person")
        bad = (Detection(nan, 0.9), Detection(turned, 0.9), Detection(box(700), np.nan), Detection(box(700), 0.0))
        (result,) = feed(pipeline, Detections(START + k * DT, "camera", (good, odd, other, *bad)))
    assert len(result.boxes) == 3
    assert all(np.isfinite(b.box).all() for b in result.boxes)


def test_what_cannot_be_used_is_counted_and_told():
    nan, far, turned, dot = [np.nan, 0, 40, 40], [0, 0, 2e6, 40], [60, 60, 20, 90], [0.1, 0.1, 0.3, 0.4]
    bad = [Detection(np.array(b, np.float32), 0.9) for b in (nan, far, turned, dot)]
    bad += [Detection(box(300), score) for score in (np.nan, np.inf, 90.0, -1.0)]
    pipeline = make()
    assert pipeline.warnings() == ()
    feed(pipeline, Detections(START, "camera", (*bad, *seen(0, 50, 400).detections)))
    (warning,) = pipeline.warnings()
    assert warning == (
        "8 of 10 detections cannot be used: 3 not finite, 1 further off than 1e+06 px, 2 smaller than a pixel "
        "(are they in px?), 2 of a score outside of 0 to 1"
    )
    assert pipeline.status()["unusable_detections"] == 8
    (result,) = feed(pipeline, seen(1, 50, 400, score=0.05))  # a low score is nothing to warn of
    assert pipeline.warnings() == ()
    assert (pipeline.status()["unusable_detections"], pipeline.status()["last_problem"]) == (8, warning)
    assert [b.id for b in result.boxes] == [1, 2]


@pytest.mark.parametrize("length", [1e-3, 1.0, 20.0, 1e30])
def test_only_the_direction_of_embeddings_counts(length):
    """A stranger, who looks otherwise, stands beside one whose look is not seen for once."""
    mine, other = length * np.array([1.0, 0.0], np.float32), length * np.array([0.1, 0.995], np.float32)
    pipeline = make()
    for k in range(8):
        feed(pipeline, Detections(START + k * DT, "camera", (Detection(box(100), 0.9, "person", mine),)))
    pair = Detection(box(100), 0.9, "person"), Detection(box(110), 0.8, "person", other)
    (result,) = feed(pipeline, Detections(START + 8 * DT, "camera", pair))
    assert [(b.id, b.score) for b in result.boxes] == [(1, 0.9), (2, 0.8)]


@pytest.mark.parametrize(
    ("embeddings", "problem"),
    [
        ([[1, 0], [0, 1, 0]], "embeddings of 2 and 3 numbers cannot be compared, so none is looked at"),
        ([[1, 0], [np.nan, 1]], "1 of 2 embeddings are not finite"),
        ([[1, 0], [0, 0]], ""),
        ([[1, 0], None], ""),
    ],
)
def test_embeddings_that_cannot_be_used_are_told(embeddings, problem):
    looks = [None if e is None else np.array(e, np.float32) for e in embeddings]
    detections = tuple(Detection(box(x), 0.9, "person", look) for x, look in zip((50, 400), looks, strict=True))
    pipeline = make()
    for k in range(3):
        (result,) = feed(pipeline, Detections(START + k * DT, "camera", detections))
        assert pipeline.warnings() == ((problem,) if problem else ())
    assert [b.id for b in result.boxes] == [1, 2]
    assert pipeline.status()["unusable_detections"] == 0


def test_prediction_to_now_is_bounded_and_leaves_the_lost_alone():
    pipeline = make(predict_to_now=True, max_prediction=0.2, occluded_time=0.05)
    results = feed(pipeline, *(seen(k, 50 + 4 * k, *([400] if k < 10 else [])) for k in range(14)))
    output = Output("boxes", results[-1])
    walking, lost = results[-1].boxes
    assert lost.state is State.LOST
    assert not lost.velocity.any()
    for ahead, expected in ((0.1, 0.1), (5.0, 0.2), (-1.0, 0.0)):
        moved = pipeline.predict(output, results[-1].stamp + int(ahead * 1e9)).item
        assert moved.valid_at == results[-1].stamp + round(expected * 1e9)
        assert moved.boxes[0].box - walking.box == pytest.approx(walking.velocity[[0, 1, 0, 1]] * expected, abs=0.01)
        assert (moved.boxes[1].box == lost.box).all()
        assert moved.boxes[1].covariance is lost.covariance is None
        doubt, before = moved.boxes[0].covariance, walking.covariance
        assert doubt[0, 0] > 1.5 * before[0, 0] if expected else (doubt == before).all()
    assert walking.velocity[0] == pytest.approx(100, abs=10)  # 4 px in 40 ms


@pytest.fixture(scope="module")
def picture():
    noise = np.random.default_rng(0).integers(0, 255, (18, 24, 3), np.uint8)
    return cv2.resize(noise, (960, 720), interpolation=cv2.INTER_CUBIC)


def see(pipeline, k, shift, picture, stamp=None, frame_id="camera"):
    """Detections of an object that stands before a camera that panned by ``shift`` px, and before them their image."""
    image = np.roll(picture, shift, 1) if isinstance(picture, np.ndarray) else picture
    frame = Frame(image, START + k * DT if stamp is None else stamp, frame_id)
    pipeline.remember("image", frame)
    assert list(pipeline.step("image", frame)) == []
    return feed(pipeline, seen(k, 400 + shift))


def test_images_take_the_cameras_motion_out(picture):
    with_images, without = make(camera_motion=True), make()
    assert set(with_images.inputs) == {"detections", "image"}
    assert set(without.inputs) == {"detections"}
    for k, shift in enumerate([0, 0, 0, 60]):
        (result,) = see(with_images, k, shift, picture)
        (blind,) = feed(without, seen(k, 400 + shift))
    assert (result.width, result.height) == (960, 720)
    assert [b.id for b in result.boxes] == [1]
    assert result.boxes[0].box == pytest.approx(box(460), abs=2)
    assert [b.id for b in blind.boxes] == [1, 2]
    assert with_images.warnings() == ()
    assert with_images.status()["without_image"] == 0


def broken():
    raise InvalidImageError("this JPEG is cut off")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"frame_id": "base"}, "frame id 'base' and the detections 'camera': are they of another camera"),
        ({"stamp": START + 3 * DT + 1000}, "no image has the stamp of the detections, 100.120000000 s; 4 are kept"),
        ({"picture": broken}, "this JPEG is cut off"),
    ],
)
def test_where_the_image_cannot_be_used_the_camera_counts_as_still_and_it_is_told(picture, image, reason):
    pipeline = make(camera_motion=True)
    for k in range(3):
        see(pipeline, k, 0, picture)
    # it pans by 60 px unseen, and then not any more: the motion between images that are not neighbours is not taken
    (result,) = see(pipeline, 3, 60, **{"picture": picture, **image})
    (warning,) = pipeline.warnings()
    assert warning.startswith("the camera counts as still: ")
    assert reason in warning
    assert [b.id for b in result.boxes] == [1, 2]
    (result,) = see(pipeline, 4, 60, picture)
    assert [b.id for b in result.boxes] == [1, 2]
    assert result.boxes[0].box == pytest.approx(box(400), abs=2)
    assert (pipeline.status()["without_image"], pipeline.warnings()) == (1, ())


def test_without_any_images_the_cameras_motion_is_asked_for_in_vain():
    pipeline = make(camera_motion=True)
    feed(pipeline, seen(0, 50))
    assert pipeline.warnings() == (
        "the camera counts as still: no images have come; camera_motion needs those in which the detections are found",
    )


def test_images_are_kept_for_as_long_as_their_detections_wait(picture):
    pipeline = make(camera_motion=True, reorder_wait=2.0, reorder_tolerance=2.0)
    for k in range(60):
        see(pipeline, k, 0, picture[:40, :40])
    assert pipeline.status()["frames"] == 10
    assert pipeline.status()["without_image"] == 0


def test_contradicting_parameters_are_refused():
    with pytest.raises(InvalidRequestError, match=r"low_score is 0\.7, it must not be above high_score, 0\.6"):
        make(low_score=0.7)
    with pytest.raises(InvalidRequestError, match=r"start_score is 0\.4, it must not be below high_score, 0\.6"):
        make(start_score=0.4)
    make(low_score=0.5, high_score=0.5, start_score=0.5)
    with pytest.raises(InvalidRequestError, match="reorder_wait is 1 s"):
        make(reorder_wait=1.0)
    with pytest.raises(InvalidRequestError, match="str is no command"):
        make().command("x")


def test_it_is_in_the_registry():
    pipeline = PIPELINES["multi_object_tracker"].make(MultiObjectParameters())
    assert isinstance(pipeline, MultiObjectPipeline)
    assert pipeline.engines == ()
    pipeline.close()


def test_memory_stays_flat_with_churning_ids():
    pipeline, rng = make(), np.random.default_rng(0)
    for k in range(500):
        (result,) = feed(pipeline, seen(k, *rng.uniform(0, 9000, 3)))
    assert len(result.boxes) <= 6
    assert result.boxes[-1].id > 1000


def test_labels_that_a_detector_makes_up_without_end_do_not_fill_the_memory():
    pipeline = make(memory=0.1)
    for k in range(300):
        (result,) = feed(pipeline, seen(k, 50, 400, label=f"thing {k // 3}"))
        assert {b.label for b in result.boxes if b.unseen == 0} == {f"thing {k // 3}"}
    # those of this image, and those that are remembered: two images more
    assert len(pipeline._labels.names) <= 3
    assert result.boxes[-1].id == 200


@pytest.mark.slow
def test_memory_stays_flat_over_100_000_frames_with_churning_ids():
    pipeline, rng, highest, before = make(), np.random.default_rng(0), 0, 0
    for k in range(100_000):
        (result,) = feed(pipeline, seen(k, *rng.uniform(0, 9000, 3)))
        begun = [b.id for b in result.boxes if b.age == 0]
        assert all(id_ > highest for id_ in begun)  # none is given twice
        highest = max([highest, *begun])
        if k == 10_000:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert highest > 200_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * 1024  # KiB

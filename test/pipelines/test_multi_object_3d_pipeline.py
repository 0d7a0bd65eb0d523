import numpy as np
import pytest
from multi_object_3d_steps import DT, SIZE, START, car, feed, make, odometry, seen, steps

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.geometry.boxes3d import wrap
from deep_tracking_ros.geometry.poses import inverse, pose_of_angles, quaternion_of
from deep_tracking_ros.multi_object.tracker_3d import log_odds
from deep_tracking_ros.pipelines.ego_motion import UP
from deep_tracking_ros.pipelines.multi_object_3d import MultiObject3DParameters, MultiObject3DPipeline
from deep_tracking_ros.pipelines.pipeline import Memory, Output
from deep_tracking_ros.pipelines.registry import PIPELINES
from deep_tracking_ros.types import Detection3D, Detections3D, Odometry, State


class TestTime:
    def test_one_result_per_message_also_for_empty_ones(self):
        results = feed(make(), seen(0), seen(1, car(5)), seen(2, car(5), car(20)), seen(3))
        assert [len(r.boxes) for r in results] == [0, 1, 2, 2]
        assert steps(results) == [0, 1, 2, 3]
        assert [r.valid_at for r in results] == [r.stamp for r in results]
        assert {r.frame_id for r in results} == {"lidar"}
        first, second = results[3].boxes
        assert (first.id, first.state, first.label) == (1, State.OCCLUDED, "car")
        assert first.unseen == pytest.approx(0.1)
        assert first.age == pytest.approx(0.2)
        assert second.id == 2

    def test_duplicates_and_late_ones_are_counted_and_give_nothing(self):
        pipeline = make(reorder_tolerance=0.3)
        results = feed(pipeline, *(seen(k, car(k)) for k in (0, 2, 2, 1, 3)))
        assert steps(results) == [0, 2, 3]
        assert [b.id for b in results[-1].boxes] == [1]
        status = pipeline.status()
        assert (status["duplicates"], status["late"], status["jumps"]) == (1, 1, 0)

    def test_late_ones_find_their_place_while_others_wait(self):
        pipeline = make(reorder_wait=0.2, reorder_tolerance=0.2)
        results = feed(pipeline, *(seen(k, car(k)) for k in (0, 1, 3, 2, 4, 6, 5, 5, 7, 8)))
        straight = feed(make(), *(seen(k, car(k)) for k in range(7)))
        assert steps(results) == [0, 1, 2, 3, 4, 5, 6]
        for one, other in zip(results, straight, strict=True):
            np.testing.assert_array_equal(one.boxes[0].pose, other.boxes[0].pose)
        assert (pipeline.status()["duplicates"], pipeline.status()["held"]) == (1, 2)

    def test_a_time_jump_gives_a_new_epoch_and_new_ids(self):
        pipeline = make()
        results = feed(pipeline, *(seen(k, car(5)) for k in (100, 101, 0, 1, 100)))
        assert [r.epoch for r in results] == [0, 0, 1, 1, 2]
        assert [[b.id for b in r.boxes] for r in results] == [[1], [1], [2], [2], [3]]
        assert "time jumped from" in pipeline.status()["last_reset"]

    def test_another_frame_id_is_another_sensor(self):
        results = feed(make(), seen(0, car(5)), seen(1, car(5), frame_id="rear"))
        assert [(r.epoch, r.frame_id, r.boxes[0].id) for r in results] == [(0, "lidar", 1), (1, "rear", 2)]

    def test_reset_and_resume_go_on_in_a_new_epoch_without_old_ids(self):
        pipeline = make()
        feed(pipeline, seen(0, car(5), car(15)))
        pipeline.reset("a test")
        (result,) = feed(pipeline, seen(1, car(5)))
        assert (result.epoch, result.boxes[0].id) == (1, 3)
        assert pipeline.memory() == Memory(3, 2)
        other = make()
        other.resume(pipeline.memory())
        (result,) = feed(other, seen(0, car(5)))
        assert (result.epoch, result.boxes[0].id) == (2, 4)

    def test_pipelines_share_nothing(self):
        feed(make(), seen(0, car(5), car(15)))
        (result,) = feed(make(), seen(0, car(5)))
        assert [b.id for b in result.boxes] == [1]


class TestBadInput:
    def test_bad_detections_are_left_out_counted_and_told(self):
        pipeline = make()
        good = Detection3D(car(5), SIZE, 0.9, "car")
        bad = (
            Detection3D(np.full((4, 4), np.nan), SIZE, 0.9, "car"),
            Detection3D(car(np.inf), SIZE, 0.9, "car"),
            Detection3D(car(50), -SIZE, 0.9, "car"),
            Detection3D(car(50), np.array([4, 0, 1.5]), 0.9, "car"),
            Detection3D(car(50), np.array([4, np.nan, 1.5]), 0.9, "car"),
            Detection3D(car(50), SIZE, np.nan, "car"),
            Detection3D(car(50), SIZE, 3.5, "car"),
            Detection3D(pose_of_angles(50, 0, 0, np.pi / 2, 0, 0), SIZE, 0.9, "car"),
        )
        for k in range(3):
            (result,) = feed(pipeline, Detections3D(START + k * DT, "lidar", (*bad, good)))
            assert len(result.boxes) == 1
        (warning,) = pipeline.warnings()
        assert warning == (
            "8 of 9 detections cannot be used: 4 not finite, 2 without size, 1 of a score outside of 0 to 1 (see "
            "score_scale), 1 leaning over by more than 45 degrees (is z up? see up_axis)"
        )
        assert pipeline.status()["unusable_detections"] == 24
        feed(pipeline, seen(3, car(5)))
        assert pipeline.warnings() == ()

    def test_odometry_that_is_none_is_counted(self):
        pipeline = make(ego_motion="odometry")
        feed(pipeline, odometry(0), Odometry(START + DT, "odom", "lidar", np.full((4, 4), np.nan)), seen(0, car(5)))
        assert pipeline.status()["unusable_poses"] == 1
        assert pipeline.status()["frames"] == 1

    def test_a_thousand_copies_in_any_order_and_twice(self):
        pipeline = make()
        for k in range(3):
            (result,) = feed(pipeline, seen(k, *[car(5)] * 1000), seen(k, *[car(9)] * 1000))
            assert [b.id for b in result.boxes] == [1]

    @pytest.mark.parametrize(
        ("parameters", "answer"),
        [
            ({"death_score": 0.6}, r"death_score is 0\.6, it must not be above birth_score, 0\.5"),
            ({"reorder_wait": 1.0}, "reorder_wait is 1 s"),
            ({"cost": "iou"}, r"limit is 1\.4, with cost iou it must not be above 1"),
            ({"noise": "car: {speed: 0}"}, "speed of noise of car is 0"),
            ({"ego_motion": "odometry", "mounting": "1 2"}, "mounting is '1 2', it must be six numbers"),
        ],
    )
    def test_contradicting_parameters_are_refused(self, parameters, answer):
        with pytest.raises(InvalidRequestError, match=answer):
            make(**parameters)

    def test_there_are_no_commands(self):
        with pytest.raises(InvalidRequestError, match="str is no command"):
            make().command("x")


def test_scores_that_are_log_odds():
    one, other = make(score_scale="log_odds"), make()
    for k in range(5):
        (a,) = feed(one, seen(k, car(5), score=float(log_odds(0.9))))
        (b,) = feed(other, seen(k, car(5), score=0.9))
    assert a.boxes[0].score == pytest.approx(b.boxes[0].score)
    assert feed(one, seen(5, car(50), score=12.0), seen(6, car(80), score=-800.0))[-1].boxes[-1].label == "car"
    assert one.warnings() == ()


def test_tracks_are_born_and_end_by_their_scores():
    pipeline = make(confirm_score=0.8, birth_score=0.5, death_score=0.05, fade=5.0)
    assert feed(pipeline, seen(0, car(5), score=0.4))[0].boxes == ()
    states = [feed(pipeline, seen(k, car(5), score=0.9))[0].boxes[0].state for k in range(1, 8)]
    # from 0, log-odds go 0.3 of the way to those of 0.9 each time; those of 0.8 lie 0.63 of the way
    assert states == [State.TENTATIVE] * 2 + [State.CONFIRMED] * 5
    reached = (1 - 0.7**7) * log_odds(0.9)
    scores = [b.score for r in feed(pipeline, *(seen(k) for k in range(8, 24))) for b in r.boxes]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.05
    assert len(scores) == int((reached - log_odds(0.05)) / 0.5)  # unseen, they fall by 0.5 each time


@pytest.mark.parametrize("motion", ["constant_velocity", "constant_turn"])
def test_prediction_to_now_moves_boxes_with_growing_doubt_and_is_bounded(motion):
    pipeline = make(predict_to_now=True, max_prediction=0.2, motion=motion)
    for k in range(15):
        outputs = tuple(pipeline.step("detections", seen(k, car(0.8 * k))))
    (output,) = outputs
    box = output.item.boxes[0]
    for ahead, expected in ((0.1, 0.1), (5.0, 0.2), (-1.0, 0.0)):
        moved = pipeline.predict(output, output.item.stamp + int(ahead * 1e9)).item
        assert moved.valid_at == output.item.stamp + round(expected * 1e9)
        assert (moved.stamp, moved.frame_id, moved.epoch) == (output.item.stamp, "lidar", 0)
        assert moved.boxes[0].pose[0, 3] - box.pose[0, 3] == pytest.approx(8 * expected, abs=0.05)
        assert (moved.boxes[0].covariance[0, 0] > box.covariance[0, 0]) == (expected > 0)
    old = Output("boxes", output.item)
    assert pipeline.predict(old, output.item.stamp + DT) is old  # one that was overtaken
    assert make().predict(output, output.item.stamp + DT) is output


def test_turning_objects_have_a_turn_rate_about_the_up_axis():
    pipeline = make(motion="constant_turn", up_axis="-y")
    for k in range(30):
        angle = 0.05 * k  # 0.5 rad/s at 5 m/s: a circle of 10 m
        pose = inverse(UP["-y"]) @ car(10 * np.sin(angle), 10 - 10 * np.cos(angle), wrap(angle))
        (result,) = feed(pipeline, seen(k, pose))
    (box,) = result.boxes
    np.testing.assert_allclose(box.velocity[3:], [0, -0.5, 0], atol=0.05)  # -y is up
    assert np.linalg.norm(box.velocity[:3]) == pytest.approx(5, abs=0.2)
    assert np.isfinite(quaternion_of(box.pose[:3, :3])).all()


def test_doubt_is_in_the_frame_of_the_detections():
    """A car that turns is less sure along its heading than across; the sensor stands turned away from the world."""
    sensor = pose_of_angles(3, -2, 0, 0, 0, 1.1)
    plain, turned = make(motion="constant_turn"), make(motion="constant_turn", ego_motion="odometry")
    for k in range(6):
        (one,) = feed(plain, seen(k, car(0.8 * k)))
        there = Odometry(START + k * DT, "odom", "lidar", sensor)
        (other,) = feed(turned, there, seen(k, inverse(sensor) @ car(0.8 * k)))
    turn = np.kron(np.eye(2), sensor[:3, :3])
    for name in ("covariance", "velocity_covariance"):
        expected = getattr(one.boxes[0], name)
        assert np.ptp(np.diag(expected)[:2]) > 0.01 * expected[0, 0]
        np.testing.assert_allclose(turn @ getattr(other.boxes[0], name) @ turn.T, expected, atol=1e-9)


def test_noise_of_a_class_is_that_of_its_parameter():
    sure, unsure = make(noise="bus: {position: 0.05}"), make(noise="bus: {position: 2.0}")
    doubts = [feed(p, seen(0, car(5), label="Bus"))[0].boxes[0].covariance[0, 0] for p in (sure, unsure)]
    assert doubts == [pytest.approx(0.05**2), pytest.approx(4)]


def test_it_is_in_the_registry():
    pipeline = PIPELINES["multi_object_tracker_3d"].make(MultiObject3DParameters())
    assert isinstance(pipeline, MultiObject3DPipeline)
    pipeline.close()

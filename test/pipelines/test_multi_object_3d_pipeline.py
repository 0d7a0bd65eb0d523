import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.geometry.boxes3d import transform, wrap
from deep_tracking_ros.geometry.poses import boxes_of, inverse, pose_of_angles, poses_of, quaternion_of
from deep_tracking_ros.multi_object.tracker_3d import Boxes3D, Tracker3D, log_odds
from deep_tracking_ros.pipelines.ego_motion import UP
from deep_tracking_ros.pipelines.multi_object_3d import MultiObject3DParameters, MultiObject3DPipeline
from deep_tracking_ros.pipelines.pipeline import Memory, Output
from deep_tracking_ros.pipelines.registry import PIPELINES
from deep_tracking_ros.types import (
    Detection3D,
    Detections3D,
    Odometry,
    State,
    StaticTransforms,
    Transform,
    Transforms,
)

DT, START = 100_000_000, 100 * 10**9  # ns
SIZE = np.array([4.2, 1.8, 1.5])
MOUNT = pose_of_angles(1, 0, 2, 0, 0.05, 0.3)
few = settings(deadline=None, max_examples=8)


def car(x, y=0.0, yaw=0.0, z=0.7):
    """Pose of the car of a scene in the fixed frame."""
    return pose_of_angles(x, y, z, 0, 0, yaw)


def seen(k, *poses, frame_id="lidar", score=0.95, label="car"):
    return Detections3D(START + k * DT, frame_id, tuple(Detection3D(pose, SIZE, score, label) for pose in poses))


def robot(t):
    """Pose of a robot that drives a bend, t in steps."""
    return pose_of_angles(0.6 * t, 0.01 * t * t, 0.0, 0.0, 0.0, 0.02 * t)


def odometry(k, **frames):
    return Odometry(START + round(k * DT), frames.get("frame_id", "odom"), frames.get("child", "lidar"), robot(k))


def make(**parameters):
    return MultiObject3DPipeline(MultiObject3DParameters(**parameters))


def give(pipeline, port, item):
    pipeline.remember(port, item)
    return [output.item for output in pipeline.step(port, item)]


def feed(pipeline, *items):
    ports = {Detections3D: "detections", Odometry: "odometry", Transforms: "tf", StaticTransforms: "tf_static"}
    return [result for item in items for result in give(pipeline, ports[type(item)], item)]


def steps(results):
    return [(r.stamp - START) / DT for r in results]


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


class TestEgoMotion:
    """A robot drives a bend past two parked cars and one that moves."""

    def scene(self, k):
        return [car(30, 5, 0.4), car(10, -6, -2.0), car(5 + 0.8 * k, 12, 0.0)]

    def local(self, k, sensor):
        return seen(k, *(inverse(sensor(k)) @ pose for pose in self.scene(k)))

    def check(self, results, sensor, ks=range(10)):
        assert steps(results) == list(ks)
        for result in results:
            assert result.frame_id == "lidar"
            assert [b.id for b in result.boxes] == [b.id for b in results[0].boxes]
        places = {tuple(np.round((sensor(ks[-1]) @ b.pose)[:2, 3], 1)) for b in results[-1].boxes}
        assert places == {(30.0, 5.0), (10.0, -6.0), (round(5 + 0.8 * ks[-1], 1), 12.0)}
        turn = sensor(ks[-1])[:3, :3]
        speeds = sorted(np.round(np.linalg.norm(turn @ b.velocity[:3]), 1) for b in results[-1].boxes)
        assert speeds == [pytest.approx(0, abs=0.3), pytest.approx(0, abs=0.3), pytest.approx(8, abs=0.6)]

    def test_odometry_between_detections_is_interpolated(self):
        """Odometry comes at other times than detections, and after them."""
        pipeline = make(ego_motion="odometry")
        assert set(pipeline.inputs) == {"detections", "odometry"}
        items = [odometry(-0.3)]
        for k in range(10):
            items += [self.local(k, robot), odometry(k + 0.2), odometry(k + 0.7)]
        self.check(feed(pipeline, *items), robot)
        assert pipeline.status()["without_pose"] == 0
        assert pipeline.warnings() == ()

    def test_without_compensation_the_same_scene_moves(self):
        results = feed(make(), *(self.local(k, robot) for k in range(10)))
        speeds = [np.linalg.norm(b.velocity[:3]) for b in results[-1].boxes if b.unseen == 0]
        assert min(speeds) > 1

    def test_a_mounted_and_leaning_sensor(self):
        sensor = lambda k: robot(k) @ MOUNT  # noqa: E731
        pipeline = make(ego_motion="odometry", mounting="1 0 2 0 0.05 0.3")
        items = [item for k in range(10) for item in (odometry(k, child="base"), self.local(k, sensor))]
        results = feed(pipeline, *items)
        self.check(results, sensor)
        for box in results[-1].boxes:  # upright in the fixed frame, so leaning in the sensor's
            np.testing.assert_allclose((sensor(9) @ box.pose)[:3, 2], [0, 0, 1], atol=1e-9)

    def test_transforms(self):
        sensor = lambda k: robot(k) @ MOUNT  # noqa: E731
        pipeline = make(ego_motion="tf")
        assert set(pipeline.inputs) == {"detections", "tf", "tf_static"}
        items = [self.local(0, sensor), StaticTransforms((Transform(0, "base", "lidar", MOUNT),))]
        for k in range(10):
            move = Transforms((Transform(START + k * DT, "odom", "base", robot(k)),))
            items += [move] if k == 0 else [self.local(k, sensor), move]
        self.check(feed(pipeline, *items), sensor)

    def test_optical_frames(self):
        sensor = lambda k: UP["-y"]  # noqa: E731  # of a camera that stands still
        results = feed(make(up_axis="-y"), *(self.local(k, sensor) for k in range(10)))
        self.check(results, sensor)
        moving = max(results[-1].boxes, key=lambda b: np.linalg.norm(b.velocity))
        np.testing.assert_allclose(moving.velocity[:3], [0, 0, 8], atol=0.5)  # forward is z

    def test_missing_odometry_is_told_and_gives_no_result(self):
        pipeline = make(ego_motion="odometry", pose_wait=0.2)
        first = feed(pipeline, *(seen(k, car(5)) for k in range(3)))
        assert first == []
        assert pipeline.status()["waiting_for_pose"] == 3
        assert feed(pipeline, seen(3, car(5))) == []
        status = pipeline.status()
        assert (status["without_pose"], status["waiting_for_pose"], status["frames"]) == (1, 3, 0)
        (warning,) = pipeline.warnings()
        assert (
            "no odometry for the detections: no pose has come yet; is odometry published, by the same clock?" in warning
        )
        assert status["last_problem"] == warning
        results = feed(pipeline, odometry(2.9), odometry(3.1))
        assert steps(results) == [3]
        assert pipeline.status()["without_pose"] == 3
        assert pipeline.warnings() == ()

    def test_a_gap_in_the_odometry(self):
        pipeline = make(ego_motion="odometry", pose_gap=0.3, max_unseen=3.0)
        results = feed(pipeline, *(x for k in range(4) for x in (odometry(k), seen(k, car(5)))))
        results += feed(pipeline, seen(5, car(5)), odometry(8))
        assert steps(results) == [0, 1, 2, 3]
        assert "0.500 s apart, the limit pose_gap is 0.3 s" in pipeline.warnings()[0]
        (result,) = feed(pipeline, seen(8, inverse(robot(8)) @ robot(3) @ car(5)))
        assert [b.id for b in result.boxes] == [1]  # nothing is forgotten for it

    def test_frames_that_do_not_match_are_told(self):
        pipeline = make(ego_motion="odometry")
        assert feed(pipeline, odometry(0, child="base_link"), seen(0, car(5))) == []
        assert "are in the frame 'lidar', but odometry tells where 'base_link' is" in pipeline.warnings()[0]
        assert pipeline.status()["without_pose"] == 1

    def test_another_fixed_frame_is_a_new_epoch(self):
        pipeline = make(ego_motion="odometry")
        items = [x for k in range(2) for x in (odometry(k), seen(k, car(5)))]
        items += [x for k in range(2, 4) for x in (odometry(k, frame_id="map"), seen(k, car(5)))]
        results = feed(pipeline, *items)
        assert [(r.epoch, r.boxes[0].id) for r in results] == [(0, 1), (0, 1), (1, 2), (1, 2)]
        assert "the fixed frame changed from 'odom' to 'map'" in pipeline.status()["last_reset"]
        assert pipeline.status()["epoch"] == 1
        assert pipeline.memory() == Memory(2, 2)

    def test_what_waits_for_a_pose_goes_before_a_time_jump(self):
        pipeline = make(ego_motion="odometry")
        results = feed(pipeline, odometry(99), odometry(100), seen(100, car(5)), seen(101, car(5)), seen(0, car(5)))
        assert steps(results) == [100]
        assert pipeline.status()["without_pose"] == 2  # 101, and 0, of which the odometry is yet to come
        results = feed(pipeline, odometry(0), odometry(1), seen(1, car(5)))
        assert [(r.epoch, r.boxes[0].id) for r in results] == [(1, 2)]
        pipeline.reset("a test")
        assert pipeline.status()["waiting_for_pose"] == 0


@few
@given(st.integers(0, 10**6))
def test_on_level_ground_it_is_the_tracker(seed):
    """Messages, frames and time around it change nothing: the same numbers as `Tracker3D` gives with poses."""
    rng = np.random.default_rng(seed)
    pipeline, tracker = make(ego_motion="odometry"), Tracker3D()
    for k in range(12):
        boxes = np.array([[20, 5, 0.8, *SIZE, 0.4], [0.8 * k, 12, 0.8, *SIZE, 0.0], [9, -9, 0.8, *SIZE, -2]])
        boxes = transform(boxes[rng.random(3) < 0.8], inverse(robot(k)))
        boxes[:, :2] += rng.normal(0, 0.1, (len(boxes), 2))
        give(pipeline, "odometry", odometry(k))
        (result,) = give(pipeline, "detections", seen(k, *poses_of(boxes)))
        expected = tracker.step(Boxes3D(boxes, np.full(len(boxes), 0.95), ["car"] * len(boxes)), k * DT, robot(k))
        assert [b.id for b in result.boxes] == expected.id.tolist()
        assert [b.state for b in result.boxes] == expected.state.tolist()
        for box, wanted, velocity, covariance in zip(
            result.boxes, expected.boxes, expected.velocity, expected.covariance, strict=True
        ):
            np.testing.assert_allclose(boxes_of(box.pose, box.size)[0][0], wanted, atol=1e-9)
            np.testing.assert_allclose(box.velocity[[0, 1, 2, 5]], velocity, atol=1e-9)
            got = box.covariance[np.ix_([0, 1, 2, 5], [0, 1, 2, 5])]
            np.testing.assert_allclose(got, covariance[np.ix_([0, 1, 2, 6], [0, 1, 2, 6])], atol=1e-12)


@few
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_separated_objects_keep_their_ids(seed, count):
    """Whatever their number, speed and heading, and however uneven the time between sweeps is."""
    rng = np.random.default_rng(seed)
    speed, place = rng.uniform(-12, 12, count), rng.uniform(-30, 30, count)
    pipeline, t, owner = make(), START, {}
    for _ in range(25):
        x = place + speed * (t - START) / 1e9
        cars = [Detection3D(car(x[i], 8 * i, np.pi * (speed[i] < 0)), SIZE, 0.95, "car") for i in range(count)]
        (result,) = give(pipeline, "detections", Detections3D(t, "lidar", tuple(cars)))
        assert len(result.boxes) == count
        for box in result.boxes:
            lane = round(box.pose[1, 3] / 8)
            assert owner.setdefault(box.id, lane) == lane
            assert abs(box.pose[0, 3] - x[lane]) < 0.5
        t += int(rng.uniform(0.04, 0.15) * 1e9)
    assert len(owner) == count
    assert pipeline.tracker.last_id == count


@few
@given(st.integers(0, 10**6))
def test_faults_of_a_stream_leave_no_trace(seed):
    """Repeated, late and shuffled messages; shuffled and copied detections, and such as are none."""
    rng = np.random.default_rng(seed)
    good = [(car(0.9 * k, 0), car(15 + 0.1 * k, 8, 0.5), car(-0.5 * k, -9, -2.0)) for k in range(15)]
    bad = (
        Detection3D(np.full((4, 4), np.nan), SIZE, 0.9, "car"),
        Detection3D(car(40), -SIZE, 0.9, "car"),
        Detection3D(car(60), SIZE, np.inf, "car"),
    )

    def faulty(k):
        found = [*seen(k, *good[k]).detections, *bad]
        found += [found[0]] * (1000 if k == seed % 15 else 0)
        return Detections3D(START + k * DT, "lidar", tuple(found[i] for i in rng.permutation(len(found))))

    order = np.argsort(np.arange(15) + rng.uniform(0, 2, 15))  # nobody is overtaken by more than the wait
    items = [faulty(k) for k in order for _ in range(1 + (rng.random() < 0.3))]
    pipeline = make(reorder_wait=0.2, reorder_tolerance=0.2)
    results = feed(pipeline, *items)
    assert steps(results) == list(range(13))  # the last two still wait
    for one, other in zip(results, feed(make(), *(seen(k, *good[k]) for k in range(13))), strict=True):
        assert [(b.id, b.state, b.score) for b in one.boxes] == [(b.id, b.state, b.score) for b in other.boxes]
        np.testing.assert_array_equal([b.pose for b in one.boxes], [b.pose for b in other.boxes])
        np.testing.assert_array_equal([b.covariance for b in one.boxes], [b.covariance for b in other.boxes])
    status = pipeline.status()
    assert (status["duplicates"], status["late"], status["jumps"]) == (len(items) - 15, 0, 0)
    assert status["unusable_detections"] == 3 * 13


@few
@given(st.floats(-3.1, 3.1), st.floats(-500, 500), st.floats(-0.04, 0.04), st.integers(0, 2**40))
def test_where_the_world_begins_and_when_changes_nothing(yaw, x, lean, shift):
    """Results are in the frame of the sensor: other axes and origin of the odometry, and of time, leave no trace."""
    world = pose_of_angles(x, -x / 2, 3.0, 0, 0, yaw)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, (12, 3, 2))

    def run(origin, later):
        pipeline = make(ego_motion="odometry")
        results = []
        for k in range(12):
            sensor = robot(k) @ pose_of_angles(0, 0, 0, lean, -lean, 0)
            cars = [car(30 + noise[k, 0, 0], 5), car(10 + noise[k, 1, 0], -6, -2), car(0.8 * k, 12 + noise[k, 2, 0])]
            stamp = START + k * DT + later
            give(pipeline, "odometry", Odometry(stamp, "odom", "lidar", origin @ sensor))
            local = tuple(Detection3D(inverse(sensor) @ pose, SIZE, 0.9, "car") for pose in cars)
            results += give(pipeline, "detections", Detections3D(stamp, "lidar", local))
        return results

    for one, other in zip(run(np.eye(4), 0), run(world, shift), strict=True):
        assert len(one.boxes) == len(other.boxes) == 3
        nearest = [min(other.boxes, key=lambda b: np.linalg.norm(b.pose[:3, 3] - a.pose[:3, 3])) for a in one.boxes]
        assert len({b.id for b in nearest}) == 3
        for a, b in zip(one.boxes, nearest, strict=True):
            np.testing.assert_allclose(a.pose, b.pose, atol=1e-6)
            np.testing.assert_allclose(a.velocity, b.velocity, atol=1e-6)
            np.testing.assert_allclose(a.covariance, b.covariance, atol=1e-8)
            np.testing.assert_allclose(a.velocity_covariance, b.velocity_covariance, atol=1e-8)


@few
@given(st.sampled_from(["constant_velocity", "constant_turn"]), st.integers(0, 10**6))
def test_covariances_stay_positive_and_symmetric(motion, seed):
    rng = np.random.default_rng(seed)
    pipeline = make(motion=motion, ego_motion="odometry", max_unseen=3.0, death_score=0.0)
    for k in range(25):
        give(pipeline, "odometry", Odometry(START + k * DT, "odom", "lidar", robot(k) @ MOUNT))
        found = [car(x + rng.normal(0, 1), 10 * x, rng.uniform(-3, 3)) for x in range(4) if rng.random() < 0.6]
        for result in give(pipeline, "detections", seen(k, *(inverse(robot(k) @ MOUNT) @ pose for pose in found))):
            found = [m for box in result.boxes for m in (box.covariance, box.velocity_covariance)]
            doubts = np.reshape(found, (-1, 6, 6))
            np.testing.assert_allclose(doubts, doubts.transpose(0, 2, 1), atol=1e-12)
            assert (np.linalg.eigvalsh(doubts) > 0).all()


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
            "8 of 9 detections cannot be used: 4 not finite, 3 without size, 1 of a score outside of 0 to 1 (see "
            "score_scale), 2 leaning over by more than 45 degrees (is z up? see up_axis)"
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


def test_noise_of_a_class_is_that_of_its_parameter():
    sure, unsure = make(noise="bus: {position: 0.05}"), make(noise="bus: {position: 2.0}")
    doubts = [feed(p, seen(0, car(5), label="Bus"))[0].boxes[0].covariance[0, 0] for p in (sure, unsure)]
    assert doubts == [pytest.approx(0.05**2), pytest.approx(4)]


def test_it_is_in_the_registry():
    pipeline = PIPELINES["multi_object_tracker_3d"].make(MultiObject3DParameters())
    assert isinstance(pipeline, MultiObject3DPipeline)
    pipeline.close()

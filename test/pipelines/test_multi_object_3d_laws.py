"""What holds for every scene, stream and fault that `MultiObject3DPipeline` may meet."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from multi_object_3d_steps import DT, MOUNT, SIZE, START, car, feed, give, make, odometry, robot, seen, steps

from deep_tracking_ros.geometry.boxes3d import transform
from deep_tracking_ros.geometry.poses import boxes_of, inverse, pose_of_angles, poses_of
from deep_tracking_ros.multi_object.tracker_3d import Boxes3D, Tracker3D
from deep_tracking_ros.types import Detection3D, Detections3D, Odometry

few = settings(deadline=None, max_examples=8)


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

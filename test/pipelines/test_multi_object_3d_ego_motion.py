import numpy as np
import pytest
from multi_object_3d_steps import DT, MOUNT, START, car, feed, make, odometry, robot, seen, steps

from deep_tracking_ros.geometry.poses import inverse
from deep_tracking_ros.pipelines.ego_motion import UP
from deep_tracking_ros.pipelines.pipeline import Memory
from deep_tracking_ros.types import Odometry, StaticTransforms, Transform, Transforms


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
        assert pipeline.status()["without_pose"] == 1  # 101; the odometry of 0 is yet to come
        results = feed(pipeline, odometry(0), odometry(1), seen(1, car(5)))
        assert [(r.epoch, r.boxes[0].id) for r in results] == [(1, 2)] * 2
        pipeline.reset("a test")
        assert pipeline.status()["waiting_for_pose"] == 0

    @pytest.mark.parametrize("how", ["odometry", "tf"])
    @pytest.mark.parametrize("first", ["detections", "poses"])
    def test_poses_of_before_a_step_back_are_not_those_of_after_it(self, how, first):
        """A simulation is reset: its clock gives stamps again for which there are poses, but the robot is elsewhere."""
        pipeline = make(ego_motion=how)

        def pose(k, x):
            if how == "odometry":
                return Odometry(START + k * DT, "odom", "lidar", car(x))
            return Transforms((Transform(START + k * DT, "odom", "lidar", car(x)),))

        feed(pipeline, *(item for k in range(40) for item in (pose(k, 100 + k), seen(k, car(5)))))
        again = [(pose(k, 0), seen(k, car(5))) for k in range(20, 24)]
        results = feed(pipeline, *(item for pair in again for item in (pair if first == "poses" else pair[::-1])))
        assert steps(results) == [20, 21, 22, 23]
        for result in results:  # in the world it is beside where the robot begins, and stands
            assert (result.epoch, [b.id for b in result.boxes]) == (1, [2])
        assert results[-1].boxes[0].pose[0, 3] == pytest.approx(5, abs=0.01)
        assert np.linalg.norm(results[-1].boxes[0].velocity) < 0.1
        assert pipeline.tracker.predicted(START + 23 * DT).boxes[0, 0] == pytest.approx(5, abs=0.1)

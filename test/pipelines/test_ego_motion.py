import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.errors import DeepTrackingError, InvalidRequestError, NoFrameError, StampNotBufferedError
from deep_tracking_ros.geometry.poses import inverse, pose_of_angles
from deep_tracking_ros.pipelines.ego_motion import MOST_FRAMES, ByOdometry, ByTransforms, StandStill, read_mounting
from deep_tracking_ros.pipelines.pose_buffer import PoseBuffer
from deep_tracking_ros.types import Odometry, StaticTransforms, Transform, Transforms

MS = 1_000_000
S = 10**9
GAP = S // 2


def arc(t):
    """Pose of a robot on a circle of 10 m at 5 m/s, t in s; the rotation turns evenly, the place nearly straight."""
    return pose_of_angles(10 * np.sin(t / 2), 10 - 10 * np.cos(t / 2), 0.0, 0, 0, t / 2)


def odometry(t, frame_id="odom", child="base", pose=None):
    return Odometry(round(t * S), frame_id, child, arc(t) if pose is None else pose)


def moving(t, parent="odom", child="base", pose=None):
    return Transforms((Transform(round(t * S), parent, child, arc(t) if pose is None else pose),))


MOUNT = pose_of_angles(1, 0, 2, 0, 0.1, np.pi / 2)


class TestPoseBuffer:
    def filled(self, *times):
        buffer = PoseBuffer(GAP)
        for t in times:
            buffer.append(round(t * S), arc(t))
        return buffer

    @settings(deadline=None, max_examples=30)
    @given(st.permutations([0.0, 0.1, 0.2, 0.3, 0.4]), st.floats(0, 0.4))
    def test_poses_in_any_order_give_the_path_in_between(self, times, t):
        pose = self.filled(*times, *times).at(round(t * S))
        np.testing.assert_allclose(pose[:3, :3], arc(t)[:3, :3], atol=1e-6)
        np.testing.assert_allclose(pose[:3, 3], arc(t)[:3, 3], atol=0.25 * 0.1**2 * 10 / 8 + 1e-6)  # sagitta of 0.1 s

    def test_a_kept_stamp_gives_its_pose_to_the_last_bit(self):
        np.testing.assert_array_equal(self.filled(0, 0.1, 0.2).at(S // 10), arc(0.1))

    def test_what_is_not_known_is_said(self):
        with pytest.raises(NoFrameError, match="no pose has come yet"):
            PoseBuffer(GAP).at(0)
        buffer = self.filled(1.0, 1.1, 1.7)
        with pytest.raises(StampNotBufferedError, match=r"the first pose kept is of 1\.0+ s, after 0\.9"):
            buffer.at(900 * MS)
        with pytest.raises(StampNotBufferedError, match=r"the last pose is of 1\.7\d+ s, before 1\.8"):
            buffer.at(1800 * MS)
        with pytest.raises(StampNotBufferedError, match=r"are 0\.600 s apart, the limit pose_gap is 0\.5 s"):
            buffer.at(1500 * MS)

    def test_old_ones_go_and_a_step_back_begins_anew(self):
        buffer = self.filled(*range(100))
        with pytest.raises(StampNotBufferedError, match="the first pose kept is of 89"):
            buffer.at(88 * S)
        buffer.append(98 * S + 1, arc(98))  # late
        assert buffer.newest == 99 * S
        buffer.append(0, arc(0))
        assert buffer.newest == 0


class TestStandStill:
    def test_optical_frames_are_set_upright(self):
        """An optical frame has x right, y down, z forward (REP 103)."""
        fixed, pose = StandStill("-y").pose("camera", 5)
        assert fixed == "camera"
        np.testing.assert_array_equal(pose[:3, :3] @ [1, 0, 0], [0, -1, 0])  # right
        np.testing.assert_array_equal(pose[:3, :3] @ [0, 1, 0], [0, 0, -1])  # down
        np.testing.assert_array_equal(pose[:3, :3] @ [0, 0, 1], [1, 0, 0])  # forward
        assert StandStill("z").covers("lidar", 5)
        np.testing.assert_array_equal(StandStill("z").pose("lidar", 5)[1], np.eye(4))


class TestByOdometry:
    def test_the_pose_waits_for_the_odometry_after_it(self):
        ego = ByOdometry(GAP)
        assert not ego.covers("base", 50 * MS)
        ego.take("odometry", odometry(0.0))
        assert not ego.covers("base", 50 * MS)
        ego.take("odometry", odometry(0.1))
        assert ego.covers("base", 50 * MS)
        fixed, pose = ego.pose("base", 50 * MS)
        assert fixed == "odom"
        np.testing.assert_allclose(pose[:3, :3], arc(0.05)[:3, :3], atol=1e-9)

    def test_a_mounted_sensor(self):
        ego = ByOdometry(GAP, MOUNT)
        ego.take("odometry", odometry(0.1))
        np.testing.assert_allclose(ego.pose("lidar", 100 * MS)[1], arc(0.1) @ MOUNT)

    def test_frames_that_do_not_match_are_told_at_once(self):
        ego, mounted = ByOdometry(GAP), ByOdometry(GAP, MOUNT)
        for each in (ego, mounted):
            each.take("odometry", odometry(0.0))
        assert ego.covers("lidar", 5 * S)
        with pytest.raises(
            InvalidRequestError, match="in the frame 'lidar', but odometry tells where 'base' is; set mou"
        ):
            ego.pose("lidar", 0)
        with pytest.raises(InvalidRequestError, match="as is the odometry, but mounting is set; empty it"):
            mounted.pose("base", 0)

    def test_missing_odometry_is_told(self):
        ego = ByOdometry(GAP)
        with pytest.raises(NoFrameError, match="no odometry for the detections: no pose has come yet; is odometry pub"):
            ego.pose("base", 0)

    def test_poses_that_are_none_are_left_out_and_counted(self):
        ego = ByOdometry(GAP)
        ego.take("odometry", odometry(0.0, pose=np.full((4, 4), np.nan)))
        assert not ego.covers("base", 0)
        assert ego.unusable == 1

    def test_other_frames_begin_anew(self):
        ego = ByOdometry(GAP)
        ego.take("odometry", odometry(0.0))
        ego.take("odometry", odometry(0.1, frame_id="map"))
        with pytest.raises(StampNotBufferedError):
            ego.pose("base", 50 * MS)
        assert ego.pose("base", 100 * MS)[0] == "map"
        ego.clear()
        assert not ego.covers("base", 0)


class TestByTransforms:
    def test_along_a_tree(self):
        """map -> odom -> base -> lidar, with the lidar's mounting published once."""
        ego = ByTransforms("map", GAP)
        drift = pose_of_angles(5, 6, 0, 0, 0, 1.0)
        assert not ego.covers("lidar", 0)
        ego.take("tf_static", StaticTransforms((Transform(0, "base", "lidar", MOUNT),)))
        for t in (0.0, 0.1, 0.2):
            ego.take("tf", moving(t))
            assert not ego.covers("lidar", 150 * MS)
        ego.take("tf", moving(0.0, "map", "odom", drift))
        assert not ego.covers("lidar", 150 * MS)
        ego.take("tf", moving(0.2, "map", "odom", drift))
        assert ego.covers("lidar", 150 * MS)
        fixed, pose = ego.pose("lidar", 100 * MS)
        assert fixed == "map"
        np.testing.assert_allclose(pose, drift @ arc(0.1) @ MOUNT, atol=1e-9)
        np.testing.assert_array_equal(ego.pose("map", 0)[1], np.eye(4))
        ego.clear()
        with pytest.raises(DeepTrackingError):
            ego.pose("lidar", 100 * MS)

    def test_what_both_frames_have_in_common_is_not_asked_for(self):
        """camera and lidar on one base: where the base is does not matter."""
        ego = ByTransforms("camera", GAP)
        static = (Transform(0, "base", "lidar", MOUNT), Transform(0, "/base", "/camera", arc(1)))
        ego.take("tf_static", StaticTransforms(static))
        ego.take("tf", moving(7.0))
        assert ego.covers("lidar", 100 * S)
        np.testing.assert_allclose(ego.pose("lidar", 0)[1], inverse(arc(1)) @ MOUNT, atol=1e-12)

    def test_what_is_missing_is_named(self):
        ego = ByTransforms("odom", GAP)
        ego.take("tf_static", StaticTransforms((Transform(0, "body", "lidar", MOUNT),)))
        ego.take("tf", moving(0.0))
        with pytest.raises(
            InvalidRequestError,
            match="lead from 'lidar' of the detections to 'odom'; known are body -> lidar, odom -> base; see",
        ):
            ego.pose("lidar", 0)
        assert not ego.covers("lidar", 0)
        with pytest.raises(StampNotBufferedError, match="no transform odom -> base for the detections: the last pose"):
            ego.pose("base", S)

    def test_frames_of_objects_that_come_and_go_do_not_fill_the_memory(self):
        ego = ByTransforms("odom", GAP)
        for k in range(MOST_FRAMES + 500):
            t = 0.01 * k
            ego.take("tf", Transforms((*moving(t).transforms, *moving(t, "base", f"object {k}").transforms)))
        assert len(ego._moving) == MOST_FRAMES
        np.testing.assert_allclose(ego.pose("base", 14 * S)[1], arc(14.0), atol=1e-9)
        with pytest.raises(InvalidRequestError, match="no transforms lead from 'object 3'"):
            ego.pose("object 3", 0)

    def test_a_circle_of_frames_ends(self):
        ego = ByTransforms("odom", GAP)
        ego.take("tf", moving(0.0, "a", "b"))
        ego.take("tf", moving(0.0, "b", "a"))
        with pytest.raises(InvalidRequestError, match="no transforms lead"):
            ego.pose("a", 0)

    def test_a_frame_that_is_moved_to_another_parent_begins_anew(self):
        ego = ByTransforms("odom", GAP)
        ego.take("tf", moving(0.0, "odom", "box"))
        ego.take("tf", moving(0.1, "arm", "box"))
        ego.take("tf", moving(0.2, "odom", "box"))
        with pytest.raises(StampNotBufferedError):
            ego.pose("box", 100 * MS)
        ego.take("tf", moving(0.3, "odom", "box", np.full((4, 4), np.inf)))
        assert ego.unusable == 1


def test_mounting_is_read_as_urdf_writes_it():
    np.testing.assert_allclose(read_mounting("1 0 2, 0 0.1 1.5707963267948966"), MOUNT, atol=1e-12)
    assert read_mounting("  ") is None
    for text in ("1 2 3", "1 2 3 4 5 x", "1 2 3 4 5 nan"):
        with pytest.raises(InvalidRequestError, match="it must be six numbers: x y z"):
            read_mounting(text)

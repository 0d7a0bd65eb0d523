"""The action ``track_object`` of the node in a process of its own."""

import re
import signal
import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from action_msgs.msg import GoalStatus
from patience import PATIENCE
from rig import TrackObject, fill_box, running
from template_tracker import STEP

from deep_tracking_ros.errors import ErrorCode
from deep_tracking_ros.ros.messages import set_stamp, stamp_of
from deep_tracking_ros.types import State

pytestmark = pytest.mark.ros
PLACE = (40, 60)


class Goal:
    """A goal that was sent, with its feedback and, once it is over, its status and result."""

    def __init__(self, rig, at=PLACE, stamp=0, frames=0, lost_frames=0, silence=0.0, **fields):
        """``frames`` and ``lost_frames`` are the timeout and max_lost in frames of the camera, ``silence`` in s."""
        self.rig, self.feedback = rig, []
        goal = fill_box(TrackObject.Goal(**fields), at)
        set_stamp(goal.stamp, stamp)
        set_stamp(goal.timeout, frames * STEP)
        set_stamp(goal.max_lost, lost_frames * STEP)
        set_stamp(goal.max_silence, round(silence * 1e9))
        rig.wait(rig.action.server_is_ready)
        sent = rig.action.send_goal_async(
            goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
        )
        rig.wait(sent.done)
        self.handle = sent.result()
        assert self.handle.accepted
        self.answer = self.handle.get_result_async()

    def waits(self, targets=1):
        """Until so many targets wait for the next image, of which this goal's is one."""
        self.rig.diagnostics(lambda values: values["pending"] == str(targets))
        return self

    def show(self, *centres):
        """The camera's next image, and the feedback about it."""
        stamp = stamp_of(self.rig.show(*centres).header.stamp)
        self.rig.wait(lambda: any(stamp_of(f.header.stamp) == stamp for f in self.feedback))
        return self.feedback[-1]

    def result(self):
        self.rig.wait(self.answer.done)
        return self.answer.result().status, self.answer.result().result


def test_success_after_the_time_of_the_images_with_feedback_on_each(rig):
    goal = Goal(rig, frames=4, label="bus").waits()
    for i in range(5):
        feedback = goal.show((40 + i, 60))
        assert feedback.box.center_x + 0.5 == pytest.approx(40 + i, abs=1)
        assert (feedback.box.state, feedback.box.label) == (State.TRACKED, "bus")
    status, result = goal.result()
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert (result.success, result.code) == (True, ErrorCode.SUCCESS), result.message
    assert len(goal.feedback) == 5
    assert result.last == goal.feedback[-1].box
    assert result.last_header == goal.feedback[-1].header
    assert result.id == result.last.id > 0
    assert len(rig.show((45, 60)).boxes) == 0  # the target was removed


def test_a_goal_on_a_past_image(rig):
    stamp = rig.send(PLACE)
    rig.show((48, 60))
    goal = Goal(rig, stamp=stamp, frames=1)
    assert goal.show((56, 60)).box.center_x + 0.5 == pytest.approx(56, abs=1)


def test_a_target_that_stays_lost_ends_the_goal(rig):
    goal = Goal(rig, lost_frames=2).waits()
    assert goal.show(PLACE).box.state == State.TRACKED
    assert goal.show().box.state == State.LOST
    assert goal.show(PLACE).box.state == State.TRACKED  # back in time: the count starts anew
    found = goal.feedback[-1]
    for _ in range(3):
        assert not goal.answer.done()
        assert goal.show().box.state == State.LOST
    status, result = goal.result()
    assert status == GoalStatus.STATUS_ABORTED
    assert (result.success, result.code) == (False, ErrorCode.TARGET_LOST)
    assert "stayed lost for 0.08 s" in result.message
    assert result.last == found.box
    assert len(rig.show().boxes) == 0


def test_lost_at_once_without_patience(rig):
    goal = Goal(rig).waits()
    goal.show(PLACE)
    goal.show()
    assert goal.result()[1].code == ErrorCode.TARGET_LOST


def test_the_time_is_over_while_the_target_is_lost(rig):
    goal = Goal(rig, frames=2, lost_frames=100).waits()
    goal.show(PLACE)
    goal.show()
    goal.show()
    status, result = goal.result()
    assert (status, result.success, result.code) == (GoalStatus.STATUS_ABORTED, False, ErrorCode.TIMEOUT)


def test_cancel_removes_the_target_also_when_no_image_comes(rig):
    goal = Goal(rig, lost_frames=100).waits()
    goal.show(PLACE)
    cancelled = goal.handle.cancel_goal_async()
    rig.wait(cancelled.done)
    status, result = goal.result()
    assert (status, result.success, result.code) == (GoalStatus.STATUS_CANCELED, False, ErrorCode.CANCELED)
    assert len(rig.show(PLACE).boxes) == 0


def test_a_target_removed_by_somebody_else_ends_the_goal(rig):
    goal = Goal(rig, lost_frames=100).waits()
    id_ = goal.show(PLACE).box.id
    assert rig.remove_target(id_).success
    rig.show(PLACE)
    status, result = goal.result()
    assert (status, result.code) == (GoalStatus.STATUS_ABORTED, ErrorCode.CANCELED)
    assert "removed by somebody else" in result.message


def test_goals_that_cannot_start_end_with_the_code_of_their_error(rig):
    stamp = rig.send(PLACE)
    rig.wait(lambda: rig.received)
    for code, goal in (
        (ErrorCode.OUTSIDE_IMAGE, Goal(rig, at=(900, 900), stamp=stamp)),
        (ErrorCode.STAMP_NOT_BUFFERED, Goal(rig, stamp=5)),
    ):
        status, result = goal.result()
        assert (status, result.success, result.code, result.id) == (GoalStatus.STATUS_ABORTED, False, code, 0)


@pytest.mark.parametrize("limit", [{"frames": -1}, {"lost_frames": -1}, {"silence": -0.5}])
def test_negative_limits_are_refused(rig, limit):
    status, result = Goal(rig, **limit).result()
    assert (status, result.success, result.code) == (GoalStatus.STATUS_ABORTED, False, ErrorCode.INVALID_REQUEST)
    assert "must be 0 or more" in result.message
    assert rig.diagnostics()[2]["pending"] == "0"


def test_a_camera_that_stops_ends_the_goal(rig):
    patient, goal = Goal(rig, at=(100, 60), lost_frames=100), Goal(rig, lost_frames=100, silence=0.5)
    patient.waits(2)
    began = time.monotonic()
    goal.show(PLACE, (100, 60))
    status, result = goal.result()
    assert time.monotonic() - began > 0.5
    assert (status, result.success, result.code) == (GoalStatus.STATUS_ABORTED, False, ErrorCode.NO_FRAME)
    assert float(re.search("no image was processed for (.*) s,", result.message)[1]) >= 0.5
    assert result.last == goal.feedback[-1].box
    assert [box.id for box in rig.show(PLACE, (100, 60)).boxes] == [patient.feedback[-1].box.id]
    assert not patient.answer.done()
    patient.handle.cancel_goal_async()
    patient.result()


def test_a_camera_that_is_slow_does_not_end_the_goal(rig):
    goal = Goal(rig, lost_frames=100, silence=4.0).waits()
    for _ in range(3):
        goal.show(PLACE)
        rig.spin(1.5)
    assert not goal.answer.done()
    goal.handle.cancel_goal_async()
    goal.result()


def test_several_goals_beside_a_target_of_the_service(rig):
    first, second = Goal(rig, frames=2), Goal(rig, at=(100, 60), lost_frames=100)
    own = rig.set_target((130, 60))
    first.waits(3)
    for _ in range(3):
        message = rig.show(PLACE, (100, 60), (130, 60))
    assert len(message.boxes) == 3
    assert first.result()[1].success
    rig.wait(lambda: len(rig.show(PLACE, (100, 60), (130, 60)).boxes) == 2)
    assert not second.answer.done()
    rig.wait(second.handle.cancel_goal_async().done)
    second.result()
    assert [box.id for box in rig.show(PLACE, (100, 60), (130, 60)).boxes] == [own.id]


def test_time_jumps_are_not_time_that_passed(rig):
    goal = Goal(rig, frames=3, lost_frames=100).waits()
    goal.show(PLACE)
    epoch = goal.show(PLACE).epoch
    rig.index += 500  # 20 s without an image
    assert goal.show(PLACE).epoch == epoch + 1
    goal.show(PLACE)
    assert not goal.answer.done()
    goal.show(PLACE)
    assert goal.result()[1].success


def test_deactivation_ends_goals_and_removes_their_targets(rig):
    goal = Goal(rig, lost_frames=100).waits()
    goal.show(PLACE)
    assert rig.change("deactivate")
    status, result = goal.result()
    assert (status, result.code) == (GoalStatus.STATUS_ABORTED, ErrorCode.NOT_ACTIVE)
    assert "deactivated" in result.message
    assert Goal(rig).result()[1].code == ErrorCode.NOT_ACTIVE  # and a new one is answered
    assert rig.change("activate")
    rig.ready()
    assert len(rig.show(PLACE).boxes) == 0


@pytest.mark.parametrize("end", ["shutdown", "SIGINT", "SIGTERM"])
def test_whoever_waits_for_a_result_is_told_that_the_node_ends(tmp_path, end):
    with running(tmp_path, "/own") as (rig, process):
        rig.ready()
        goals = [Goal(rig, lost_frames=100), Goal(rig, at=(100, 60), lost_frames=100)]
        goals[0].waits(2)
        goals[0].show(PLACE, (100, 60))
        if end == "shutdown":
            assert rig.change("active_shutdown")
            assert rig.state() == "finalized"
        else:
            process.process.send_signal(getattr(signal, end))
        for goal in goals:
            status, result = goal.result()
            assert (status, result.success, result.code) == (GoalStatus.STATUS_ABORTED, False, ErrorCode.NOT_ACTIVE)
            assert result.last == goal.feedback[-1].box
        rig.wait(lambda: not rig.action.server_is_ready())
        if end != "shutdown":
            assert process.process.wait(PATIENCE) == 0

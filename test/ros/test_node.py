"""The node in a process of its own, over real DDS: results and commands, parameters and life."""

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from patience import PATIENCE
from rig import Process, SetTarget, running
from template_tracker import STEP

from deep_tracking_ros.errors import ErrorCode
from deep_tracking_ros.ros.messages import stamp_of
from deep_tracking_ros.types import State

pytestmark = pytest.mark.ros


def centres(message):
    return {box.id: (box.center_x + 0.5, box.center_y + 0.5) for box in message.boxes}


# results and commands


def test_boxes_carry_the_header_of_their_image(rig):
    stamp = rig.send(frame_id="front_camera/optical")
    rig.wait(lambda: rig.received)
    message = rig.received[0]
    assert stamp_of(message.header.stamp) == stamp == stamp_of(message.valid_at)
    assert message.header.frame_id == "front_camera/optical"
    assert (message.image_width, message.image_height, message.model) == (160, 120, "template")
    assert len(message.boxes) == 0  # empty is a message


def test_a_target_that_moved_between_click_and_call_is_found_where_it_is(rig):
    seen = rig.send((40, 60))  # the operator draws a box on this image, while the target goes on
    for i in range(1, 9):
        rig.show((40 + 5 * i, 60))
    reply = rig.set_target((40, 60), seen, label="bus")
    assert reply.success, reply.message
    message = rig.show((85, 60))
    assert centres(message) == {reply.id: pytest.approx((85, 60), abs=1)}
    box = message.boxes[0]
    assert (box.label, box.state) == ("bus", State.TRACKED)
    assert box.velocity[0] == pytest.approx(5 / (STEP / 1e9), rel=0.2)


def test_several_targets_and_their_removal(rig):
    first, second = rig.set_target((40, 60)), rig.set_target((100, 60))
    message = rig.show((40, 60), (100, 60))
    assert set(centres(message)) == {first.id, second.id}
    assert second.id == first.id + 1
    assert rig.remove_target(first.id).success
    assert set(centres(rig.show((42, 60), (100, 60)))) == {second.id}
    reply = rig.clear_targets()
    assert (reply.success, reply.removed) == (True, 1)
    assert len(rig.show((42, 60)).boxes) == 0


def test_refused_commands_say_why(rig):
    stamp = rig.send((40, 60))
    rig.wait(lambda: rig.received)
    unknown = rig.remove_target(10**6)
    assert (unknown.success, unknown.code) == (False, ErrorCode.UNKNOWN_TARGET)
    assert "1000000" in unknown.message
    cases = {
        ErrorCode.OUTSIDE_IMAGE: rig.set_target((900, 900), stamp),
        ErrorCode.STAMP_NOT_BUFFERED: rig.set_target((40, 60), 5),
        ErrorCode.UNKNOWN_TARGET: rig.set_target((40, 60), stamp, id=10**6),
    }
    flat = SetTarget.Request(center_x=40.0, center_y=60.0)
    cases[ErrorCode.INVALID_BOX] = rig.call(SetTarget, "set_target", flat)
    nan = SetTarget.Request(center_x=float("nan"), center_y=60.0, size_x=9.0, size_y=9.0)
    answer = rig.call(SetTarget, "set_target", nan)
    assert answer.code in (ErrorCode.INVALID_BOX, ErrorCode.INVALID_REQUEST)
    for code, reply in cases.items():
        assert (reply.success, reply.code, reply.id) == (False, code, 0), reply.message
        assert len(reply.message) > 20
    assert len(rig.show((40, 60)).boxes) == 0


def test_a_step_back_in_time_counts_the_epoch_up(rig):
    before = rig.show((40, 60)).epoch
    index, rig.index = rig.index, rig.index - 50
    after = rig.show((40, 60)).epoch
    rig.index = index
    assert after == before + 1


# parameters and life


def test_parameters_are_described_and_checked(rig):
    from rcl_interfaces.srv import DescribeParameters

    request = DescribeParameters.Request(names=["max_targets", "image_transport", "max_gap"])
    described = rig.call(DescribeParameters, "describe_parameters", request).descriptors
    assert described[0].integer_range[0].from_value == 1
    assert "raw" in described[1].additional_constraints
    assert "[s]" in described[2].description
    for name, value, words in (
        ("max_targets", 0, "max_targets"),
        ("image_transport", "theora", "'theora', it must be one of raw, compressed"),
        ("max_targets", "many", "'many', it must be an int"),
        ("max_gap", float("inf"), "max_gap"),
    ):
        answer = rig.set_parameter(name, value)
        assert not answer.successful
        assert words in answer.reason


def test_changes_are_told_and_what_counts_at_the_start_only_is_read_only(rig):
    assert rig.set_parameter("max_targets", 16).successful
    rig.wait(lambda: "max_targets is 16 from when the node is next configured" in rig.process.text())
    assert rig.set_parameter("image_depth", 5).successful
    rig.wait(lambda: "image_depth is 5 from when the node is next activated" in rig.process.text())
    assert not rig.set_parameter("autostart", False).successful


def test_a_transition_that_the_state_does_not_have_is_refused(rig):
    assert not rig.change("activate")
    assert not rig.change("cleanup")
    rig.wait(lambda: "there is no transition number 3 in the state active" in rig.process.text())
    assert rig.state() == "active"


def endpoints(rig):
    """Names of all that the node has in the graph."""
    node, name = rig.node, rig.name.strip("/")
    return (
        sorted(node.get_publisher_names_and_types_by_node(name, "/")),
        sorted(node.get_subscriber_names_and_types_by_node(name, "/")),
        sorted(node.get_service_names_and_types_by_node(name, "/")),
    )


def threads(process):
    return len(list(Path(f"/proc/{process.process.pid}/task").iterdir()))


def test_two_full_cycles_leave_nothing_behind(rig):
    epoch, last_id = rig.show().epoch, rig.set_target((40, 60)).id
    active, running_threads = endpoints(rig), threads(rig.process)
    assert any("image" in name for name, _ in active[1])
    own = ("/boxes", "/overlay", "/set_target", "/track_object/_action/send_goal")
    for _ in range(2):
        assert rig.change("deactivate")
        refused = rig.set_target((40, 60))
        assert (refused.success, refused.code) == (False, ErrorCode.NOT_ACTIVE)
        rig.wait(lambda: not any(name == "/image" for name, _ in endpoints(rig)[1]))
        assert rig.change("cleanup")
        rig.wait(lambda: not any(name.endswith(own) for kind in endpoints(rig) for name, _ in kind))
        assert rig.change("configure")
        assert rig.change("activate")
        rig.wait(lambda: endpoints(rig) == active)
        rig.wait(lambda: rig.camera.get_subscription_count() == 1)
        message = rig.show((40, 60))
        assert len(message.boxes) == 0
        assert message.epoch == (epoch := epoch + 1)  # stamps and ids are those of one node that runs
        assert rig.set_target((40, 60)).id == (last_id := last_id + 1)
    assert threads(rig.process) == running_threads


def test_a_missing_model_is_told_and_another_can_be_configured(tmp_path):
    with running(tmp_path, "/own", model="nowhere") as (rig, process):
        level, _, values = rig.diagnostics(lambda values: "nowhere" in values["message"])
        assert (level, values["lifecycle"]) == (2, "unconfigured")
        assert "nowhere" in process.text()
        assert not rig.change("configure")  # once more, to the same end
        assert rig.state() == "unconfigured"
        rig.restart(model="template")
        rig.ready()
        rig.diagnostics(lambda values: rig.send() and (values["lifecycle"], values["level"]) == ("active", 0))


def test_a_start_parameter_that_is_not_valid_ends_the_start_with_a_sentence(tmp_path):
    process = Process(tmp_path, image_depth=0)
    assert process.process.wait(PATIENCE) != 0
    assert "image_depth" in process.text()

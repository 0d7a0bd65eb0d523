"""The node in a process of its own, over real DDS."""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

import cv2
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rig import START, Process, SetTarget, call, running
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from template_tracker import STEP, picture

from deep_tracking_ros.errors import ErrorCode
from deep_tracking_ros.ros.images import fill_image, to_bgr
from deep_tracking_ros.ros.messages import set_stamp, stamp_of
from deep_tracking_ros.types import State

pytestmark = pytest.mark.ros
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture(scope="module", autouse=True)
def domain():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(10 + os.getpid() % 10))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        yield


@pytest.fixture(scope="module")
def shared(domain, tmp_path_factory):
    """One process for all tests that do not need their own; a test that changes parameters restarts the node."""
    with running(tmp_path_factory.mktemp("logs")) as (rig, process):
        rig.ready()
        rig.process = process
        yield rig


@pytest.fixture
def rig(shared):
    """The shared node as it starts: active, nothing followed, every parameter as given at the start."""
    if shared.state() != "active" or getattr(shared, "changed", None):
        shared.restart(**(getattr(shared, "changed", None) or {}))
        shared.changed = None
    shared.clear_targets()
    shared.received.clear()
    return shared


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
    cases[ErrorCode.INVALID_BOX] = call(rig.node, SetTarget, f"{rig.name}/set_target", flat)
    nan = SetTarget.Request(center_x=float("nan"), center_y=60.0, size_x=9.0, size_y=9.0)
    answer = call(rig.node, SetTarget, f"{rig.name}/set_target", nan)
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


# bad input


def malformed(**changes):
    message = fill_image(Image(), picture())
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "yuv999"}, "'yuv999' is not known"),
        ({"step": 7}, "step of 7 bytes"),
        ({"data": b""}, "0 bytes of data"),
        ({"width": 0}, "no pixels"),
        ({"height": 2**31}, "bytes of data, not"),
    ],
)
def test_unusable_images_are_told_and_survived(rig, changes, words):
    rig.camera.publish(malformed(**changes))
    level, message, values = rig.diagnostics(lambda values: words in values["last_fault"])
    assert level == 1
    assert words in message
    assert int(values["unusable"]) > 0
    rig.wait(lambda: "input skipped" in rig.process.text())
    rig.show((40, 60))


def test_a_cut_off_message_is_told_and_survived(rig):
    before = int(rig.diagnostics()[2]["unusable"])
    rig.camera.publish(serialize_message(malformed())[:30])
    level, message, values = rig.diagnostics(lambda values: int(values["unusable"]) > before)
    assert level == 1
    assert "bytes, but only" in message
    assert message == values["last_fault"]
    rig.show((40, 60))


def test_a_fault_of_the_pipeline_is_told_and_survived(rig):
    rig.changed = {"model": "template"}
    rig.restart(model="failing")
    rig.send()
    level, message, _ = rig.diagnostics(lambda values: int(values["faults"]) > 0)
    assert level == 1
    assert "ZeroDivisionError: a fault of the pipeline" in message
    rig.wait(lambda: "in step" in rig.process.text())  # the log has the traceback
    rig.process.tracebacks = 1
    assert rig.state() == "active"


# parameters and life


def test_parameters_are_described_and_checked(rig):
    from rcl_interfaces.srv import DescribeParameters

    request = DescribeParameters.Request(names=["max_targets", "image_transport", "max_gap"])
    described = call(rig.node, DescribeParameters, f"{rig.name}/describe_parameters", request).descriptors
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
        level, message, values = rig.diagnostics(lambda values: True, 15.0)
        assert (level, values["lifecycle"]) == (2, "unconfigured")
        assert "nowhere" in message
        assert "nowhere" in process.text()
        assert not rig.change("configure")  # once more, to the same end
        assert rig.state() == "unconfigured"
        rig.restart(model="template")
        rig.ready()
        assert rig.diagnostics(lambda values: values["lifecycle"] == "active")[0] == 0


def test_a_start_parameter_that_is_not_valid_ends_the_start_with_a_sentence(tmp_path):
    process = Process(tmp_path, image_depth=0)
    assert process.process.wait(15.0) != 0
    assert "image_depth" in process.text()


# intake


def test_the_newest_image_wins_and_drops_are_counted(rig):
    rig.changed = {"model": "template", "intake": "newest"}
    rig.restart(model="slow")
    rig.ready()
    before = int(rig.diagnostics()[2]["dropped"])
    stamps = []
    for _ in range(30):
        stamps.append(rig.send())
        rig.spin(0.01)
    rig.wait(lambda: rig.received and stamp_of(rig.received[-1].header.stamp) == stamps[-1])
    _, _, values = rig.diagnostics(lambda values: values["frames"] == str(len(rig.received) + 1))
    assert len(rig.received) < 25
    lost = int(values["lost_in_transport"])
    assert int(values["dropped"]) - before + len(rig.received) + lost >= 30


def test_every_image_is_processed_where_that_is_asked_for(rig):
    rig.changed = {"model": "template", "intake": "newest", "image_depth": 5}
    rig.restart(model="slow", intake="every", image_depth=50)
    rig.ready()
    stamps = []
    for _ in range(15):
        stamps.append(rig.send())
        rig.spin(0.01)
    rig.wait(lambda: len(rig.received) == 15)
    assert [stamp_of(m.header.stamp) for m in rig.received] == stamps


def test_compressed_images(rig):
    rig.changed = {"image_transport": "raw"}
    rig.restart(image_transport="compressed")
    camera = rig.node.create_publisher(CompressedImage, "image/compressed", 5)
    rig.wait(camera.get_subscription_count)
    message = CompressedImage(format="png", data=cv2.imencode(".png", picture())[1].tobytes())
    set_stamp(message.header.stamp, START + rig.index * STEP)
    camera.publish(message)
    rig.wait(lambda: rig.received)
    assert rig.received[0].image_width == 160
    camera.publish(CompressedImage(header=message.header, format="jpeg", data=b"\xff\xd8 and no more"))
    rig.diagnostics(lambda values: "cut off" in values["last_fault"])
    rig.index += 1
    rig.node.destroy_publisher(camera)


def test_the_overlay_is_drawn_for_those_who_look(rig):
    rig.set_target((40, 60))
    rig.show((40, 60))
    assert "overlay_ms_p50" not in rig.diagnostics()[2]
    pictures = []
    subscription = rig.node.create_subscription(Image, f"{rig.name}/overlay", pictures.append, 1)
    rig.wait(lambda: rig.show((40, 60)) and pictures)
    drawn = to_bgr(pictures[0])
    changed = np.abs(drawn.astype(int) - picture((40, 60))).max(axis=2) > 0
    assert changed[45:75, 25:55].any()  # around the box
    assert not changed[:, 100:].any()
    rig.node.destroy_subscription(subscription)


# quality of service


def test_auto_falls_back_to_best_effort_cameras(rig):
    rig.node.destroy_publisher(rig.camera)
    rig.camera = rig.node.create_publisher(Image, "image", BEST_EFFORT)
    try:
        rig.restart()
        rig.ready()
        assert "is best effort: the subscription is best effort from now on" in rig.process.text()
    finally:
        rig.node.destroy_publisher(rig.camera)
        rig.camera = rig.node.create_publisher(Image, "image", 10)
        rig.restart()
        rig.ready()


def test_an_incompatible_camera_is_named_with_the_parameter_to_change(tmp_path):
    with running(tmp_path, "/own", image_reliability="reliable") as (rig, process):
        rig.node.destroy_publisher(rig.camera)
        rig.camera = rig.node.create_publisher(Image, "/own/image", BEST_EFFORT)
        rig.wait(lambda: "image_reliability:=best_effort" in process.text(), 15.0)
        assert "/own/image" in process.text()
        level, message, _ = rig.diagnostics()
        assert level == 1
        assert "set image_reliability:=best_effort" in message
        rig.diagnostics(lambda values: "nothing came on /own/image for" in values["message"], 10.0)
        assert "nothing came on /own/image for" in process.text()
        rig.node.destroy_publisher(rig.camera)
        rig.camera = rig.node.create_publisher(Image, "/own/image", 10)
        rig.ready()
        assert rig.diagnostics(lambda values: "best_effort" not in values["message"])[0] == 0  # the bad one is gone
        rig.restart(image_reliability="best_effort")
        rig.ready()
        assert rig.diagnostics(lambda values: True)[0] == 0


# time


def test_simulated_time_is_that_of_the_prediction_and_of_ages(tmp_path):
    with running(tmp_path, "/own", use_sim_time=True, predict_to_now=True) as (rig, _):
        clock = rig.node.create_publisher(Clock, "/clock", 10)
        rig.wait(lambda: clock.get_subscription_count(), 15.0)
        rig.ready()

        def tick(after_image):
            message = Clock()
            set_stamp(message.clock, START + rig.index * STEP + after_image)
            rig.reports.clear()
            clock.publish(message)
            rig.wait(
                lambda: any(r.header.stamp == message.clock and f"/{r.status[0].name}" == rig.name for r in rig.reports)
            )

        rig.set_target((40, 60))
        for i in range(5):
            tick(30_000_000)  # each image is 30 ms old when it arrives
            message = rig.show((40 + 5 * i, 60))
        assert stamp_of(message.valid_at) - stamp_of(message.header.stamp) == 30_000_000
        moved = message.boxes[0].center_x + 0.5 - 60
        assert moved == pytest.approx(5 / STEP * 30e6, rel=0.3)
        assert message.boxes[0].covariance[0] > 0
        age = float(rig.diagnostics(lambda values: values.get("frames") == "6")[2]["age_at_publish_ms_p50"])
        assert age == pytest.approx(30.0, abs=0.1)


def test_an_interrupt_amid_images_ends_the_node_cleanly(tmp_path):
    with running(tmp_path, "/own", model="slow") as (rig, process):
        rig.ready()
        for _ in range(20):
            rig.send()
            rig.spin(0.005)
        assert process.interrupt() == 0

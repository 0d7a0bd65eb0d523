from types import SimpleNamespace

import numpy as np
import pytest

from deep_tracking_ros import errors
from deep_tracking_ros.errors import ErrorCode
from deep_tracking_ros.pipelines.pipeline import Reply
from deep_tracking_ros.pipelines.registry import PIPELINES
from deep_tracking_ros.ros import interfaces, messages
from deep_tracking_ros.types import Mask, State, TrackedBox, TrackedBoxes

FULL = TrackedBox(
    id=2**40,
    box=np.float32([10, 20, 50, 100]),
    state=State.UNCERTAIN,
    score=0.25,
    label="bus",
    velocity=np.float32([1, -2, 3, -4]),
    covariance=np.arange(16, dtype=np.float32).reshape(4, 4),
    contour=np.float32([[1, 2], [3, 4], [5, 6]]),
    mask=Mask(-3, 7, np.eye(5, 4, dtype=np.uint8) * 255),
    age=1.5,
    unseen=0.25,
)
BARE = TrackedBox(1, np.float32([0, 0, 4, 4]), State.LOST, -1.0)
ITEM = TrackedBoxes(1_700_000_000_123_456_789, "camera", 3, 1_700_000_000_223_456_789, 640, 480, "siamfc", (BARE, FULL))


def rclpy_maker():
    pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")
    return messages.new_message


@pytest.mark.parametrize("maker", [lambda: interfaces.make, pytest.param(rclpy_maker, marks=pytest.mark.ros)])
def test_boxes_become_a_message_and_come_back(maker):
    message = messages.to_message(ITEM, maker())
    box = message.boxes[1]
    assert (box.center_x, box.center_y, box.size_x, box.size_y) == (30, 60, 40, 80)
    assert message.boxes[0].covariance[0] == -1
    assert message.boxes[0].mask.height == 0
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)

    back = messages.from_message(TrackedBoxes, message)
    for field in ("stamp", "frame_id", "epoch", "valid_at", "width", "height", "model"):
        assert getattr(back, field) == getattr(ITEM, field)
    for before, after in zip(ITEM.boxes, back.boxes, strict=True):
        for field in ("id", "state", "score", "label", "age", "unseen"):
            assert getattr(after, field) == getattr(before, field)
        for field in ("box", "velocity", "covariance", "contour"):
            np.testing.assert_array_equal(getattr(after, field), getattr(before, field))
    assert back.boxes[0].mask is None
    assert (back.boxes[1].mask.x, back.boxes[1].mask.y) == (-3, 7)
    np.testing.assert_array_equal(back.boxes[1].mask.data, FULL.mask.data)


@pytest.mark.ros
def test_a_message_survives_serialisation():
    serialization = pytest.importorskip("rclpy.serialization")
    message = messages.to_message(ITEM, rclpy_maker())
    wire = serialization.serialize_message(message)
    assert serialization.deserialize_message(wire, type(message)) == message


def test_every_port_and_command_of_every_pipeline_can_travel():
    for pipeline in PIPELINES.values():
        assert set(pipeline.outputs.values()) <= set(messages.CONVERTERS)
        assert set(pipeline.commands.values()) <= set(messages.SERVICES)


def test_requests():
    time = SimpleNamespace(sec=5, nanosec=6)
    box = {"center_x": 30.0, "center_y": 60.0, "size_x": 40.0, "size_y": 80.0}
    request = messages.read_set_target(SimpleNamespace(stamp=time, label="bus", id=4, track_id=0, **box))
    assert request.box.tolist() == [10, 20, 50, 100]
    assert (request.stamp, request.label, request.id) == (5_000_000_006, "bus", 4)
    assert messages.read_set_target(SimpleNamespace(stamp=time, label="", track_id=0, **box)).id == 0  # a goal has none


@pytest.mark.parametrize(
    "kind", [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.DeepTrackingError)]
)
def test_errors_become_their_codes(kind):
    reply = messages.failure(kind("what to do"))
    assert (reply.code, reply.message) == (kind.code, "what to do")


def test_faults_become_internal_errors():
    reply = messages.failure(ZeroDivisionError("division by zero"))
    assert reply.code is ErrorCode.INTERNAL
    assert "ZeroDivisionError: division by zero" in reply.message


def test_replies_fill_the_fields_that_there_are():
    response = SimpleNamespace(success=None, code=None, message=None, id=0, removed=0)
    messages.write_reply(Reply("done", id=3, count=2), response)
    assert vars(response) == {"success": True, "code": 0, "message": "done", "id": 3, "removed": 2}
    plain = SimpleNamespace(success=None, code=None, message=None)
    messages.write_reply(Reply("no", ErrorCode.NO_FRAME), plain)
    assert vars(plain) == {"success": False, "code": 6, "message": "no"}


@pytest.mark.ros
def test_codes_and_states_are_those_of_the_interfaces():
    msg = pytest.importorskip("deep_tracking_ros.msg")
    assert all(getattr(msg.ErrorCode, code.name) == code for code in ErrorCode)
    assert all(getattr(msg.TrackedBox, f"STATE_{state.name}") == state for state in State)

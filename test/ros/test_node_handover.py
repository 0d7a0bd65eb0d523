"""Hand-over, targets that come and go, and the black box: the node in a process of its own, over real DDS."""

import re

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from rclpy.qos import QoSProfile
from rig import START, SetTarget, TrackedBoxArray, TrackObject, running
from template_tracker import HEIGHT, STEP, WIDTH, box_at
from typer.testing import CliRunner

from deep_tracking_ros.cli import main
from deep_tracking_ros.errors import ErrorCode
from deep_tracking_ros.ros.black_box import start_boxes
from deep_tracking_ros.ros.messages import stamp_of, to_message
from deep_tracking_ros.types import State, TrackedBox, TrackedBoxes

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    box = tmp_path_factory.mktemp("recordings") / "box"
    with running(folder, black_box=str(box), black_box_seconds=0.4) as (rig, process):
        rig.tracker = rig.node.create_publisher(TrackedBoxArray, "/tracks", QoSProfile(depth=10))
        rig.wait(rig.tracker.get_subscription_count)
        rig.ready()
        rig.process, rig.box = process, box
        yield rig


def tell(rig, stamp, **places):
    """Publish the tracks of an image, given as t7=(x, y)."""
    boxes = tuple(
        TrackedBox(int(name[1:]), box_at(*place), State.CONFIRMED, 0.9, "person") for name, place in places.items()
    )
    rig.tracker.publish(to_message(TrackedBoxes(stamp, "camera", 0, stamp, WIDTH, HEIGHT, "", boxes)))


def show_with_tracks(rig, number, speed=3, lag=2):
    """Images of an object that moves, and its tracks, late by some images; gives where it is next."""
    stamps = []
    for i in range(number):
        stamps.append(stamp_of(rig.show((40 + speed * i, 60)).header.stamp))
        if i >= lag:
            tell(rig, stamps[i - lag], t7=(40 + speed * (i - lag), 60))
    return 40 + speed * number, 60


def picked(rig, id_, done=lambda reply: reply.success, **fields):
    """The reply to `SetTarget` with a track id, asked again until the tracks have come."""
    replies = []

    def ask():
        replies.append(rig.call(SetTarget, "set_target", SetTarget.Request(track_id=id_, **fields)))
        return done(replies[-1])

    rig.wait(ask)
    return replies[-1]


def test_a_track_becomes_the_target_by_its_id(rig):
    place = show_with_tracks(rig, 8)
    reply = picked(rig, 7)
    message = rig.show(place)
    assert [box.id for box in message.boxes] == [reply.id]
    box = message.boxes[0]
    assert (box.label, box.state) == ("person", State.TRACKED)
    assert (box.center_x + 0.5, box.center_y + 0.5) == pytest.approx(place, abs=1)


def test_an_unknown_track_is_an_error_that_names_the_known_ones(rig):
    stamp = stamp_of(rig.show((40, 60)).header.stamp)
    tell(rig, stamp, t7=(40, 60), t9=(100, 60))
    reply = picked(rig, 8, lambda reply: "9" in reply.message)
    assert (reply.success, reply.code, reply.id) == (False, ErrorCode.UNKNOWN_TARGET, 0)
    assert re.search(r"there is no track 8; known ids of tracks are .*7, 9", reply.message)


def test_the_command_line_picks_a_track(rig):
    place = show_with_tracks(rig, 6)
    picked(rig, 7)
    rig.clear_targets()
    result = CliRunner().invoke(main.app, ["target", "set", "--track-id", "7", "--label", "Ann"])
    assert result.exit_code == 0, result.output
    (box,) = rig.show(place).boxes
    assert (box.label, box.state) == ("Ann", State.TRACKED)
    refused = CliRunner().invoke(main.app, ["target", "set", "1,2,30,40", "--track-id", "7"])
    assert "either a box x,y,w,h, or --track-id 7" in str(refused.exception)


def test_an_action_may_name_a_track(rig):
    place = show_with_tracks(rig, 6)
    picked(rig, 7)
    rig.clear_targets()
    rig.wait(rig.action.server_is_ready)
    feedback = []
    sent = rig.action.send_goal_async(
        TrackObject.Goal(track_id=7, label="Bob"), feedback_callback=lambda m: feedback.append(m.feedback)
    )
    rig.wait(lambda: sent.done())
    rig.diagnostics(lambda values: values["targets"] == "1")
    rig.show(place)
    rig.wait(lambda: feedback)
    assert (feedback[0].box.label, feedback[0].box.state) == ("Bob", State.TRACKED)
    done = sent.result().cancel_goal_async()
    rig.wait(done.done)


def test_silent_inputs_that_are_optional_are_no_warning(rig):
    rig.show()
    _, message, values = rig.diagnostics()
    assert "proposals" not in message
    assert "tracks" not in message
    assert values["targets"] == "0"


def test_targets_come_and_go_while_images_flow_and_each_has_its_result(rig):
    objects = [(30, 20), (80, 20), (130, 20), (30, 90)]
    expected, ids = [], []
    for i in range(40):
        if i % 8 == 2:
            reply = rig.set_target(objects[len(ids) % 4], 0 if i % 16 == 2 else START + (rig.index - 1) * STEP)
            assert reply.success, reply.message
            ids.append(reply.id)
        if i % 8 == 6:
            assert rig.remove_target(ids[-1]).success
        stamp = rig.send(*objects)
        expected.append((stamp, ids[-1:] if 2 <= i % 8 < 6 else []))
        rig.wait(lambda stamp=stamp: any(stamp_of(m.header.stamp) == stamp for m in rig.received))
    assert [(stamp_of(m.header.stamp), [box.id for box in m.boxes]) for m in rig.received] == expected
    assert {box.state for m in rig.received for box in m.boxes} == {State.TRACKED}


def test_a_loss_is_recorded_and_the_recording_is_replayed(rig, tmp_path):
    before = set(rig.box.glob("black_box_*.mcap"))
    rig.set_target((60, 60), label="cup")
    for i in range(14):
        rig.show((60 + i, 60))
    assert rig.show().boxes[0].state == State.LOST
    rig.wait(lambda: set(rig.box.glob("black_box_*.mcap")) - before)
    (path,) = set(rig.box.glob("black_box_*.mcap")) - before
    assert path.name.startswith("black_box_single_object_tracker_")
    ((_, box),) = start_boxes(path)
    assert box.label == "cup"
    _, _, values = rig.diagnostics(lambda values: values["black_box_written"] != "0")
    assert values["black_box_dropped"] == "0"
    assert f"was lost: {path}" in rig.process.text()


def test_a_folder_that_cannot_be_written_to_is_told_and_the_node_lives_on(rig, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    rig.changed = {"black_box": str(rig.box)}
    rig.restart(black_box=str(blocked / "box"))
    rig.ready()
    rig.set_target((60, 60))
    rig.show((60, 60))
    assert rig.show().boxes[0].state == State.LOST
    level, message, values = rig.diagnostics(lambda values: "cannot be written to" in values["message"])
    assert level == 1
    assert f"black box: {blocked / 'box'} cannot be written to (Not a directory)" in message
    assert rig.show((60, 60)).boxes[0].state == State.TRACKED
    assert values["lifecycle"] == "active"

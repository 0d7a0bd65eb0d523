"""Bags played and recorded by the nodes, each in a process of its own."""

import signal
import time
from io import StringIO

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from patience import PATIENCE
from test_bags import STEP, image_message

from deep_tracking_ros.ros import bags, interfaces
from deep_tracking_ros.ros.client import spin_until, temporary_node
from deep_tracking_ros.ros.nodes import NodeStart
from deep_tracking_ros.ros.runner import Processes

pytestmark = pytest.mark.ros
FRAMES = 26  # one second
START = 50 * 10**9
QUEUE = 1000  # messages: longer than any of these bags


def write_bag(path, width=320, height=240, others=None):
    with bags.BagWriter(path) as writer:
        for topic, type_ in (others or {}).items():
            writer.write_message(topic, interfaces.make(type_), START)
        for i in range(FRAMES):
            stamp = START + i * STEP
            writer.write_message("/camera/image", image_message(stamp, i, width, height), stamp)
    return path


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bag") / "camera")


@pytest.fixture(scope="module")
def small_bag(tmp_path_factory):
    """Of images so small that no socket or queue is full for seconds, however long somebody is held up."""
    return write_bag(tmp_path_factory.mktemp("bag") / "small", 16, 12)


def play(bag, enough=1000, **parameters):
    """All (stamp, arrival, raw bytes) of the images and the times on /clock, of a bag played to us."""
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image

    images, clocks = [], []
    with temporary_node("listener") as node, Processes() as processes:
        node.create_subscription(
            Image, "/camera/image", lambda d: images.append((bags.parse_stamp(d), time.monotonic(), d)), QUEUE, raw=True
        )
        node.create_subscription(Clock, "/clock", lambda m: clocks.append(m.clock.sec * 10**9 + m.clock.nanosec), 1000)
        common = {"bag": str(bag), "wait_for_subscribers": PATIENCE, "depth": QUEUE}
        start = NodeStart("bag_player", "bag_player", common | parameters)
        process = processes.start(start)
        assert spin_until(node, lambda: process.poll() is not None or len(images) >= enough, PATIENCE)
        before = -1
        while process.poll() is not None and before < (before := len(images) + len(clocks)):
            spin_until(node, lambda: False, 0.2)  # what has come, and waits for us
        return images, clocks, process.poll()


def lag(images, rate=1.0):
    """How much later than this rate says the second half of images came, s: by the promptest one of each half."""
    late = [arrival - (stamp - images[0][0]) / rate / 1e9 for stamp, arrival, _ in images]
    return min(late[len(late) // 2 :]) - min(late[: len(late) // 2])


def test_as_recorded_with_clock(bag):
    images, clocks, status = play(bag)
    assert status == 0
    assert [stamp for stamp, _, _ in images] == [START + i * STEP for i in range(FRAMES)]
    assert [data for _, _, data in images] == [m.data for m in bags.read_messages(bag)]  # not one byte is touched
    assert lag(images) == pytest.approx(0, abs=0.2)  # at half the rate it would be 0.52, at twice the rate -0.26
    assert clocks == sorted(clocks)
    assert (clocks[0], clocks[-1]) == (START, START + (FRAMES - 1) * STEP)
    assert set(clocks) >= {stamp for stamp, _, _ in images}  # one before each image
    assert np.isclose(np.diff(clocks), 10e6, atol=3e6).sum() >= 10  # 100 Hz, wherever nothing held it up


def test_rate_and_part(bag):
    images, _, _ = play(bag, rate=0.5, start_offset=0.4, end_offset=0.8, clock_rate=0.0)
    assert [stamp for stamp, _, _ in images] == [START + i * STEP for i in range(10, 20)]
    assert lag(images, rate=0.5) == pytest.approx(0, abs=0.15)  # as recorded it would be -0.2


def test_stamps_step_back_in_a_loop(small_bag):
    images, clocks, status = play(small_bag, enough=2 * FRAMES + 5, loop=True, rate=4.0)
    assert status is None  # it plays for ever
    stamps = np.array([stamp for stamp, _, _ in images])
    back = np.flatnonzero(np.diff(stamps) < 0)
    assert len(back) >= 2
    assert (stamps[back + 1] == START).all()
    assert (np.diff(clocks) < 0).sum() == pytest.approx(len(back), abs=1)


def test_interrupt_ends_it_quietly(bag):
    output = StringIO()
    with Processes() as processes:
        start = NodeStart("bag_player", "bag_player", {"bag": str(bag), "loop": True})
        process = processes.start(start, output=output)
        deadline = time.monotonic() + PATIENCE
        while "/camera/image" not in output.getvalue():  # it has begun
            assert time.monotonic() < deadline, output.getvalue()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert "Traceback" not in output.getvalue()


def test_recorded_results_are_left_out_and_told_once(tmp_path, capfd):
    path = write_bag(tmp_path / "demo", 16, 12, {"/it/boxes": "deep_tracking_ros/msg/TrackedBoxArray"})
    for parameters, told in [
        ({"results": False}, 1),
        ({"results": False, "inputs": "/it/boxes"}, 0),
        ({"results": False, "topics": "/camera/image,/it/boxes"}, 0),
        ({}, 0),
    ]:
        with Processes() as processes:
            start = NodeStart("bag_player", "bag_player", {"bag": str(path), "rate": 50.0, **parameters})
            assert processes.start(start).wait(PATIENCE) == 0
        output = capfd.readouterr().out
        assert output.count("left out: /it/boxes (") == told
        assert f"played {FRAMES + (not told)} messages" in output


def test_a_bag_of_results_alone_says_how_it_is_played(tmp_path, capfd):
    with bags.BagWriter(tmp_path / "results") as writer:
        writer.write_message("/it/boxes", interfaces.make("deep_tracking_ros/msg/TrackedBoxArray"), START)
    with Processes() as processes:
        start = NodeStart("bag_player", "bag_player", {"bag": str(tmp_path / "results"), "results": False})
        assert processes.start(start).wait(PATIENCE) == 1
    assert "holds only results: /it/boxes; play them with --all" in capfd.readouterr().out


def test_what_cannot_be_played(bag, tmp_path, capfd):
    for parameters, answer in [
        ({"bag": str(tmp_path / "none")}, "there is no bag"),
        ({"topics": "/front"}, "has no topic /front; it has /camera/image"),
        ({"rate": 0.0}, "rate"),
        ({"start_offset": 9.0}, "nothing to play from 9 to"),
    ]:
        with Processes() as processes:
            process = processes.start(NodeStart("bag_player", "bag_player", {"bag": str(bag), **parameters}))
            assert process.wait(PATIENCE) == 1
        output = capfd.readouterr().out
        assert answer in output
        assert "Traceback" not in output


def test_recorder_keeps_every_message_and_definitions(bag, tmp_path):
    out = tmp_path / "out.mcap"
    recorder = {"bag": str(out), "topics": "/camera/image,/never", "use_sim_time": True}
    player = {"bag": str(bag), "wait_for_subscribers": PATIENCE, "rate": 2.0, "depth": QUEUE}
    with Processes() as processes:
        recording = processes.start(NodeStart("bag_recorder", "bag_recorder", recorder))
        playing = processes.start(NodeStart("bag_player", "bag_player", player))
        assert playing.wait(PATIENCE) == 0
        recording.send_signal(signal.SIGINT)
        assert recording.wait(PATIENCE) == 0  # with a whole file
    messages = list(bags.read_messages(out))
    assert [bags.parse_stamp(m.data) for m in messages] == [START + i * STEP for i in range(FRAMES)]
    waits = [m.log_time - bags.parse_stamp(m.data) for m in messages]  # by /clock
    assert 0 <= min(waits) < STEP
    assert max(waits) < FRAMES * STEP
    from rosbags.highlevel import AnyReader

    with AnyReader([out]) as reader:
        connection, _, data = next(reader.messages())
        assert reader.deserialize(data, connection.msgtype).width == 320


@pytest.fixture
def recorder(tmp_path):
    """Makes a recorder in this process, which is served by hand."""
    import rclpy

    from deep_tracking_ros.ros.recorder import BagRecorder

    made = []

    def make(topics, bag="out.mcap"):
        values = (f"bag:={tmp_path / bag}", f"topics:={topics}", f"depth:={QUEUE}")
        rclpy.init(args=["--ros-args", *(part for value in values for part in ("-p", value))])
        made.append(BagRecorder())
        return made[-1]

    yield make
    for node in made:
        node.writer.close()
        node.destroy_node()
    rclpy.try_shutdown()


def test_recorder_hears_best_effort_publishers(recorder, small_bag, tmp_path):
    """From the first message on that comes, which is any: who does not know its sender yet cannot ask for it again."""
    import rclpy

    player = {"bag": str(small_bag), "wait_for_subscribers": PATIENCE, "reliable": False, "loop": True, "rate": 4.0}
    recording = recorder("/camera/image")
    with Processes() as processes:
        processes.start(NodeStart("bag_player", "bag_player", player))
        deadline = time.monotonic() + PATIENCE
        while recording.counts["/camera/image"] < 2 * FRAMES:
            assert time.monotonic() < deadline, recording.counts
            rclpy.spin_once(recording, timeout_sec=0.02)
    recording.writer.close()
    stamps = np.array([bags.parse_stamp(m.data) for m in bags.read_messages(tmp_path / "out.mcap")])
    assert (np.diff((stamps - START) // STEP) % FRAMES == 1).all()  # around and around


def publish_until(node, recorder, counts, **publishers):
    import rclpy

    deadline = time.monotonic() + PATIENCE
    while any(recorder.counts.get(topic, 0) < count for topic, count in counts.items()):
        assert time.monotonic() < deadline, recorder.counts
        for publisher in publishers.values():
            publisher.publish(publisher.msg_type())
        rclpy.spin_once(recorder, timeout_sec=0.02)


def test_a_type_that_is_not_known_costs_no_recording(recorder, tmp_path, monkeypatch, capfd):
    from sensor_msgs.msg import Image
    from std_msgs.msg import String

    from deep_tracking_ros.ros import recorder as module
    from deep_tracking_ros.ros.interfaces import message_class

    strange = "std_msgs/msg/String"
    monkeypatch.setattr(module, "message_class", lambda name: message_class("x/msg/X" if name == strange else name))
    recording = recorder("/images,/strange")
    with temporary_node("camera") as node:
        images = node.create_publisher(Image, "/images", 10)
        publish_until(node, recording, {"/images": 1}, images=images)
        strangers = node.create_publisher(String, "/strange", 10)  # comes later
        while recording.waiting:
            publish_until(node, recording, {"/images": recording.counts["/images"] + 1}, images=images, s=strangers)
        publish_until(node, recording, {"/images": recording.counts["/images"] + 20}, images=images, s=strangers)
    recording.writer.close()
    (topic,) = bags.describe(tmp_path / "out.mcap").topics
    assert (topic.name, topic.count) == ("/images", recording.counts["/images"])
    told = "/strange is not recorded: the type x/msg/X is not installed here: source the workspace that has it, or sudo"
    assert capfd.readouterr().err.count(told) == 1


def test_what_came_before_the_interrupt_is_in_the_bag(recorder, tmp_path):
    from rclpy.duration import Duration
    from sensor_msgs.msg import Image

    recording = recorder("/images")
    with temporary_node("camera") as node:
        images = node.create_publisher(Image, "/images", 50)
        publish_until(node, recording, {"/images": 1}, images=images)
        recording._take_rest()
        before = recording.counts["/images"]
        for _ in range(20):
            images.publish(Image())
        assert images.wait_for_all_acked(Duration(seconds=PATIENCE))
        recording._take_rest()
    recording.writer.close()
    (topic,) = bags.describe(tmp_path / "out.mcap").topics
    assert topic.count == recording.counts["/images"] == before + 20


def test_topics_are_recorded_by_their_whole_names(recorder, tmp_path):
    from sensor_msgs.msg import Image

    recording = recorder("camera/image")
    with temporary_node("camera") as node:
        publish_until(node, recording, {"/camera/image": 1}, images=node.create_publisher(Image, "/camera/image", 10))
    recording.writer.close()
    assert [t.name for t in bags.describe(tmp_path / "out.mcap").topics] == ["/camera/image"]


def test_a_recording_is_never_overwritten(recorder, tmp_path):
    from deep_tracking_ros.errors import DataError

    (tmp_path / "old.mcap").write_text("dear")
    with pytest.raises(DataError, match=r"old\.mcap exists already"):
        recorder("/x", "old.mcap")
    assert (tmp_path / "old.mcap").read_text() == "dear"


@pytest.mark.parametrize("topic", ["two words", "/a//b"])
def test_names_that_are_none(recorder, topic):
    from deep_tracking_ros.errors import InvalidRequestError

    with pytest.raises(InvalidRequestError, match="topic name must not contain"):
        recorder(f"'{topic}'")


def test_parameters_out_of_range_and_whole_numbers_for_floats():
    import rclpy

    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.ros.parameters import DeclaredParameters
    from deep_tracking_ros.ros.player import PlayerParameters

    def declare(*overrides):
        context = rclpy.Context()
        rclpy.init(args=["--ros-args", *overrides], context=context)
        node = rclpy.create_node("n", context=context)
        try:
            return DeclaredParameters(node, PlayerParameters, read_only=True).read(PlayerParameters)
        finally:
            node.destroy_node()
            rclpy.try_shutdown(context=context)

    assert declare("-p", "rate:=2").rate == 2.0
    assert declare("-p", "loop:=true").loop is True
    with pytest.raises(InvalidRequestError, match="parameter loop is 'yep', it must be a bool"):
        declare("-p", "loop:=yep")
    with pytest.raises(InvalidRequestError, match="rate"):
        declare("-p", "rate:=0.001")


def test_interfaces_in_the_bag_are_those_that_were_built():
    from deep_tracking_ros.msg import TrackedBoxArray

    names = interfaces.make("deep_tracking_ros/msg/TrackedBoxArray").__dataclass_fields__
    assert list(TrackedBoxArray.get_fields_and_field_types()) == [n for n in names if n[0] != "_"]

"""Bags written and read without ROS, and opened by foreign readers."""

from pathlib import Path

import numpy as np
import pytest

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.ros import bags, interfaces

BOXES = "deep_tracking_ros/msg/TrackedBoxArray"
STEP = 40_000_000  # ns, 25 frames per second


def image_message(stamp: int, value: int = 0, width: int = 40, height: int = 30):
    message = interfaces.make(bags.IMAGE)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
    message.header.frame_id = "camera"
    message.height, message.width, message.encoding, message.step = height, width, "bgr8", width * 3
    message.data = np.full(height * width * 3, value, np.uint8)
    return message


def boxes_message(stamp: int, number: int):
    message = interfaces.make(BOXES)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
    message.model = "siamfc"
    for i in range(number):
        box = interfaces.make("deep_tracking_ros/msg/TrackedBox")
        box.id, box.label, box.center_x, box.contour = i + 1, f"t{i}", 10.5 + i, np.arange(4, dtype=np.float32)
        message.boxes.append(box)
    return message


def write_bag(path: Path, frames: int = 5, topics=("/camera/image",), **options) -> Path:
    with bags.BagWriter(path, **options) as bag:
        for i in range(frames):
            for topic in topics:
                bag.write_message(topic, image_message(10**9 + i * STEP, i), 10**9 + i * STEP)
            bag.write_message("/boxes", boxes_message(10**9 + i * STEP, i), 10**9 + i * STEP)
    return path


@pytest.mark.parametrize("name", ["bag", "bag.mcap"])
@pytest.mark.parametrize("compress", [True, False])
def test_round_trip(tmp_path, name, compress):
    path = write_bag(tmp_path / name, compress=compress)
    described = bags.describe(path)
    assert [(t.name, t.type, t.count) for t in described.topics] == [
        ("/boxes", BOXES, 5),
        ("/camera/image", bags.IMAGE, 5),
    ]
    assert (described.start, described.end) == (10**9, 10**9 + 4 * STEP)
    frames = list(bags.read_frames(path))
    assert [f.stamp for f in frames] == [10**9 + i * STEP for i in range(5)]
    assert [f.frame_id for f in frames] == ["camera"] * 5
    assert all(f.image.shape == (30, 40, 3) and (f.image == i).all() for i, f in enumerate(frames))
    boxes = [interfaces.deserialize(m.data, m.type) for m in bags.read_messages(path, ["/boxes"])]
    assert [len(b.boxes) for b in boxes] == [0, 1, 2, 3, 4]
    assert boxes[4].boxes[3].label == "t3"
    assert boxes[4].boxes[3].center_x == 13.5


@pytest.mark.parametrize("name", ["bag", "bag.mcap"])
def test_what_is_there_is_not_overwritten(tmp_path, name):
    path = write_bag(tmp_path / name)
    with pytest.raises(DataError, match="exists already"):
        bags.BagWriter(path)
    assert len(list(bags.read_frames(path))) == 5
    assert bags.describe(write_bag(tmp_path / "bag.mcap", 2, overwrite=True)).topics[0].count == 2


def test_part_of_a_bag(tmp_path):
    path = write_bag(tmp_path / "bag.mcap")
    cut = bags.read_messages(path, ["/camera/image"], 10**9 + STEP, 10**9 + 3 * STEP)
    assert [m.log_time for m in cut] == [10**9 + STEP, 10**9 + 2 * STEP]


def test_same_calls_give_the_same_bytes(tmp_path):
    first, second = write_bag(tmp_path / "a.mcap"), write_bag(tmp_path / "b.mcap")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["bag", "bag.mcap"])
def test_opens_in_readers_that_know_nothing_of_our_types(tmp_path, name):
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory
    from rosbags.highlevel import AnyReader

    path = write_bag(tmp_path / name)
    with AnyReader([path]) as reader:  # a bare store: only what the bag itself says
        last = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages() if c.topic == "/boxes"][-1]
    assert [b.id for b in last.boxes] == [1, 2, 3, 4]
    file = path if path.is_file() else path / "bag_0.mcap"
    with file.open("rb") as stream:
        decoded = list(make_reader(stream, decoder_factories=[DecoderFactory()]).iter_decoded_messages(["/boxes"]))
    schema, channel, _, message = decoded[-1]
    assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
    assert "MSG: deep_tracking_ros/TrackedBox\n" in schema.data.decode()
    assert "MSG: sensor_msgs/Image\n" in schema.data.decode()
    assert [b.label for b in message.boxes] == ["t0", "t1", "t2", "t3"]
    assert list(message.boxes[0].contour) == [0, 1, 2, 3]


def test_a_bag_is_valid_when_writing_was_broken_off(tmp_path):
    def interrupted() -> None:
        with bags.BagWriter(tmp_path / "bag") as bag:
            bag.write_message("/camera/image", image_message(1), 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(list(bags.read_frames(tmp_path / "bag"))) == 1


def test_sqlite3_bags_and_compressed_images(tmp_path):
    import cv2
    from rosbags.rosbag2 import StoragePlugin, Writer

    picture = np.full((30, 40, 3), 77, np.uint8)
    message = interfaces.make(bags.COMPRESSED)
    message.header.stamp.sec, message.format = 3, "bgr8; png compressed bgr8"
    message.data = cv2.imencode(".png", picture)[1].reshape(-1)
    with Writer(tmp_path / "old", version=9, storage_plugin=StoragePlugin.SQLITE3) as bag:
        name = bags.COMPRESSED
        connection = bag.add_connection("/camera/image/compressed", name, typestore=interfaces.typestore())
        bag.write(connection, 5, interfaces.serialize(message, name))
    for topic in (None, "/camera/image", "/camera/image/compressed"):
        (frame,) = bags.read_frames(tmp_path / "old", topic)
        assert frame.stamp == 3 * 10**9
        assert (frame.image == picture).all()
    with pytest.raises(DataError, match="there is no topic /camera/image"):
        list(bags.read_frames(tmp_path / "old", "/camera/image", "raw"))


def test_a_wrong_topic_is_answered_with_the_right_ones(tmp_path):
    path = write_bag(tmp_path / "bag.mcap", topics=("/left/image", "/right/image"))
    with pytest.raises(
        DataError, match=r"several topics of images.*/left/image \(sensor_msgs/msg/Image, 5 messages\), /r"
    ):
        list(bags.read_frames(path))
    with pytest.raises(DataError, match=r"no topic /image;.*/left/image"):
        list(bags.read_frames(path, "/image"))
    with pytest.raises(DataError, match=r"/boxes is a deep_tracking_ros/msg/TrackedBoxArray"):
        list(bags.read_frames(path, "/boxes"))
    with pytest.raises(DataError, match=r"has no topic /x; it has .*/boxes"):
        list(bags.read_messages(path, ["/x"]))


def test_what_is_no_bag(tmp_path):
    with pytest.raises(DataError, match="there is no bag"):
        bags.describe(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mcap").write_text("hello")
    good = write_bag(tmp_path / "good.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(good[: len(good) // 2])
    damaged = bytearray(good)
    damaged[len(good) // 3 : len(good) // 2] = bytes(len(good) // 2 - len(good) // 3)
    (tmp_path / "damaged.mcap").write_bytes(damaged)
    for name in ("empty", "text.mcap", "cut.mcap", "damaged.mcap"):
        with pytest.raises(DataError, match=name):
            list(bags.read_messages(tmp_path / name))


@pytest.mark.parametrize("cut", [3, 11, 20, 60])
def test_an_image_message_that_is_cut_off(cut):
    whole = interfaces.serialize(image_message(1), bags.IMAGE)
    assert bags.parse_image(whole).width == 40
    with pytest.raises(DataError, match=r"cut off|follow"):
        bags.parse_image(whole[:cut])


def test_big_endian_messages():
    store = interfaces.typestore()
    message = image_message(7 * 10**9 + 5, 9)
    data = bytes(store.serialize_cdr(message, bags.IMAGE, little_endian=False))
    parsed = bags.parse_image(data)
    assert (parsed.height, parsed.width, parsed.step, parsed.encoding) == (30, 40, 120, "bgr8")
    assert bags.parse_stamp(data) == 7 * 10**9 + 5


def test_messages_of_rclpy_and_of_rosbags_are_the_same_bytes():
    rclpy = pytest.importorskip("rclpy.serialization")
    module = pytest.importorskip("deep_tracking_ros.msg")
    message = module.TrackedBoxArray(model="siamfc", boxes=[module.TrackedBox(id=4, label="bus", contour=[1.0, 2.0])])
    message.header.frame_id = "camera"
    ours = interfaces.serialize(message, BOXES)
    assert rclpy.deserialize_message(ours, module.TrackedBoxArray) == message
    again = interfaces.deserialize(rclpy.serialize_message(message), BOXES)
    assert (again.boxes[0].id, again.boxes[0].label, again.header.frame_id) == (4, "bus", "camera")


def test_results_of_a_pipeline(tmp_path):
    from deep_tracking_ros.ros.messages import from_message
    from deep_tracking_ros.types import Mask, State, TrackedBox, TrackedBoxes

    mask = Mask(3, 4, np.eye(5, dtype=np.uint8) * 255)
    contour = np.arange(6, dtype=np.float32).reshape(3, 2)
    box = TrackedBox(7, np.float32([1, 2, 30, 40]), State.UNCERTAIN, 0.4, "car", contour=contour, mask=mask)
    item = TrackedBoxes(5, "camera", 2, 6, 64, 48, "siamfc", (box,))
    for name in ("a.mcap", "b.mcap"):
        with bags.ResultWriter(tmp_path / name) as writer:
            writer.write("/tracker/boxes", item, 5)
            writer.write("/camera/image", image_message(5), 5)
    assert (tmp_path / "a.mcap").read_bytes() == (tmp_path / "b.mcap").read_bytes()
    (message,) = bags.read_messages(tmp_path / "a.mcap", ["/tracker/boxes"])
    back = from_message(TrackedBoxes, interfaces.deserialize(message.data, message.type))
    assert (back.stamp, back.epoch, back.valid_at, back.frame_id, back.model) == (5, 2, 6, "camera", "siamfc")
    assert (back.boxes[0].id, back.boxes[0].label, back.boxes[0].state) == (7, "car", State.UNCERTAIN)
    assert back.boxes[0].box == pytest.approx(box.box)
    assert (back.boxes[0].contour == contour).all()
    assert (back.boxes[0].mask.data == mask.data).all()


def test_results_are_written_without_ros(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys\nsys.modules['rclpy'] = sys.modules['deep_tracking_ros.msg'] = None\n"
        "from deep_tracking_ros.ros.bags import ResultWriter\nfrom deep_tracking_ros.types import TrackedBoxes\n"
        f"with ResultWriter({str(tmp_path / 'r.mcap')!r}) as w:\n"
        "    w.write('/boxes', TrackedBoxes(1, 'c', 0, 1, 2, 2, 'm'), 1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert bags.describe(tmp_path / "r.mcap").topics == (bags.Topic("/boxes", BOXES, 1),)


def test_types_of_other_packages_come_from_their_workspace(tmp_path, monkeypatch):
    folder = tmp_path / "share" / "farm_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Cow.msg").write_text("# a cow\nstd_msgs/Header header\nBell[] bells\n")
    (folder / "Bell.msg").write_text("float32 pitch  # Hz\n")
    with pytest.raises(DataError, match=r"farm_msgs/msg/Cow: source its workspace"):
        interfaces.definition("farm_msgs/msg/Cow")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    text, _ = interfaces.definition("farm_msgs/msg/Cow")
    assert "MSG: farm_msgs/Bell\nfloat32 pitch" in text
    assert "MSG: std_msgs/Header\n" in text

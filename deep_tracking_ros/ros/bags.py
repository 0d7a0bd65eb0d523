"""Bags without ROS: rosbag2 folders and bare ``.mcap`` files, read and written through CDR bytes."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.ros import interfaces
from deep_tracking_ros.types import Frame

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CLOUD = "sensor_msgs/msg/PointCloud2"
_TRANSPORTS = {"raw": (IMAGE,), "compressed": (COMPRESSED,), "auto": (IMAGE, COMPRESSED)}


@dataclass(frozen=True)
class Topic:
    """One topic of a bag."""

    name: str
    type: str  # package/msg/Name
    count: int  # messages


@dataclass(frozen=True, eq=False)
class Message:
    """One message of a bag as it was recorded."""

    topic: str
    type: str
    log_time: int  # ns
    data: bytes  # CDR


@dataclass(frozen=True)
class Bag:
    """What a bag holds."""

    topics: tuple[Topic, ...]
    start: int  # ns, log time of the first message
    end: int  # ns, log time of the last message

    def listing(self, types: Collection[str] | None = None) -> str:
        """The topics in words, for error messages."""
        chosen = [t for t in self.topics if types is None or t.type in types]
        return ", ".join(f"{t.name} ({t.type}, {t.count} messages)" for t in chosen) or "none"


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """The reader of a bag; every way in which it can be damaged becomes one `DataError`."""
    from rosbags.rosbag2 import Reader

    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no bag {path}")
    try:
        with Reader(path) as reader:
            yield reader
    except DataError:
        raise
    except Exception as error:  # zstandard, lz4, sqlite, struct and yaml each have their own for damaged files
        kind = "a rosbag2 folder or an .mcap or .db3 file"
        raise DataError(f"{path} cannot be read as {kind}: {error or type(error).__name__}") from error


def describe(path: str | Path) -> Bag:
    """Topics and times of a bag. Raises `DataError` where it is none."""
    with _opened(path) as reader:
        topics = sorted((c.topic, c.msgtype, c.msgcount) for c in reader.connections)
        last = reader.end_time - 1  # rosbags gives the first time after the last message
        return Bag(tuple(Topic(*t) for t in topics), reader.start_time, max(reader.start_time, last))


def read_messages(
    path: str | Path, topics: Collection[str] | None = None, start: int | None = None, end: int | None = None
) -> Iterator[Message]:
    """The messages of a bag in order of log time, not decoded.

    ``start`` and ``end`` (ns, log time; start <= t < end) cut a part out. Raises `DataError` for a topic that is not
    there, with those that are.
    """
    if missing := sorted(set(topics or ()) - {t.name for t in describe(path).topics}):
        raise DataError(f"{path} has no topic {', '.join(missing)}; it has {describe(path).listing()}")
    with _opened(path) as reader:
        chosen = [c for c in reader.connections if topics is None or c.topic in topics]
        if not chosen:
            return
        for connection, stamp, data in reader.messages(chosen, start, end):
            yield Message(connection.topic, connection.msgtype, stamp, bytes(data))


def image_topic(path: str | Path, topic: str | None = None, transport: str = "auto") -> Topic:
    """The one topic of images that is meant; `DataError` with the right ones where that is none or several."""
    if transport not in _TRANSPORTS:
        raise DataError(f"the image transport is {transport!r}, it must be one of {', '.join(_TRANSPORTS)}")
    bag, types = describe(path), _TRANSPORTS[transport]
    images = [t for t in bag.topics if t.type in types]
    if topic is not None:
        names = (topic, f"{topic.rstrip('/')}/compressed")
        found = [t for name in names for t in images if t.name == name]
        if not found:
            other = next((t for t in bag.topics if t.name == topic), None)
            what = f"topic {topic} is a {other.type}" if other else f"there is no topic {topic}"
            raise DataError(f"{path}: {what}; topics of images are {bag.listing(types)}; all topics: {bag.listing()}")
        return found[0]
    raw = {t.name for t in images if t.type == IMAGE}
    images = [t for t in images if t.name.removesuffix("/compressed") not in raw or t.name in raw]
    if len(images) != 1:
        which = "no topic of images" if not images else "several topics of images, name one"
        raise DataError(f"{path} has {which}: {bag.listing(types if images else None)}")
    return images[0]


def read_frames(path: str | Path, topic: str | None = None, transport: str = "auto") -> Iterator[Frame]:
    """The images of a bag as frames, decoded when they are first looked at.

    ``topic`` may be left out where the bag has one stream of images; ``transport`` is raw, compressed or auto. Raises
    `DataError` for a wrong or ambiguous topic, with the right ones.
    """
    from deep_tracking_ros.ros import images

    chosen = image_topic(path, topic, transport)
    parse = parse_image if chosen.type == IMAGE else parse_compressed_image
    for message in read_messages(path, [chosen.name]):
        yield images.frame(parse(message.data))


def read_items(path: str | Path, kind: type, topic: str | None = None) -> Iterator[Any]:
    """The messages of a bag that hold a dataclass of the house, such as `Detections`, as such.

    ``topic`` may be left out where the bag has one of that type. Raises `DataError` for a wrong or ambiguous topic,
    with the right ones.
    """
    from deep_tracking_ros.ros.bag_inputs import read_inputs

    for _, item in read_inputs(path, {kind.__name__: kind}, {kind.__name__: topic} if topic else {}):
        yield item


def learn_types(path: str | Path, types: Collection[str]) -> None:
    """Take the definitions of types from a bag that has them in it, for those that no workspace here defines."""
    with _opened(path) as reader:
        for connection in reader.connections:
            if connection.msgtype in types and connection.msgdef.format.name == "MSG":
                interfaces.learn(connection.msgtype, connection.msgdef.data)


class _Cdr:
    """Reads the few primitive types that image messages are made of."""

    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.order = "<" if data[1] & 1 else ">"
        self.at = 4  # after the encapsulation header, from which alignment counts

    def number(self, code: str) -> int:
        size = struct.calcsize(code)
        self.at += -(self.at - 4) % size
        (value,) = struct.unpack_from(self.order + code, self.data, self.at)
        self.at += size
        return int(value)

    def bytes(self) -> memoryview:
        size = self.number("I")
        if self.at + size > len(self.data):
            raise DataError(f"an image message says {size} bytes, but only {len(self.data) - self.at} follow")
        self.at += size
        return self.data[self.at - size : self.at]

    def string(self) -> str:
        return str(self.bytes()[:-1], "utf-8", "replace")

    def header(self) -> SimpleNamespace:
        stamp = SimpleNamespace(sec=self.number("i"), nanosec=self.number("I"))
        return SimpleNamespace(stamp=stamp, frame_id=self.string())


def parse_image(data: bytes) -> SimpleNamespace:
    """CDR of a ``sensor_msgs/Image`` as an object with its fields; ``data`` is a view, nothing is copied."""
    try:
        cdr = _Cdr(data)
        return SimpleNamespace(
            header=cdr.header(),
            height=cdr.number("I"),
            width=cdr.number("I"),
            encoding=cdr.string(),
            is_bigendian=cdr.number("B"),
            step=cdr.number("I"),
            data=cdr.bytes(),
        )
    except (struct.error, IndexError) as error:
        raise DataError(f"an image message of {len(data)} bytes is cut off: {error}") from error


def parse_compressed_image(data: bytes) -> SimpleNamespace:
    """CDR of a ``sensor_msgs/CompressedImage`` as an object with its fields; ``data`` is a view."""
    try:
        cdr = _Cdr(data)
        return SimpleNamespace(header=cdr.header(), format=cdr.string(), data=cdr.bytes())
    except (struct.error, IndexError) as error:
        raise DataError(f"an image message of {len(data)} bytes is cut off: {error}") from error


def parse_cloud(data: bytes) -> SimpleNamespace:
    """CDR of a ``sensor_msgs/PointCloud2`` as an object with its fields; ``data`` is a view."""
    try:
        cdr = _Cdr(data)
        header, height, width = cdr.header(), cdr.number("I"), cdr.number("I")
        fields = [
            SimpleNamespace(name=cdr.string(), offset=cdr.number("I"), datatype=cdr.number("B"), count=cdr.number("I"))
            for _ in range(cdr.number("I"))
        ]
        return SimpleNamespace(
            header=header,
            height=height,
            width=width,
            fields=fields,
            is_bigendian=bool(cdr.number("B")),
            point_step=cdr.number("I"),
            row_step=cdr.number("I"),
            data=cdr.bytes(),
        )
    except (struct.error, IndexError) as error:
        raise DataError(f"a point cloud message of {len(data)} bytes is cut off: {error}") from error


def parse_stamp(data: bytes) -> int:
    """Stamp (ns) of any serialised message that begins with a ``std_msgs/Header``."""
    stamp = _Cdr(data).header().stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class BagWriter:
    """Writes a rosbag2 folder (``path/`` with ``metadata.yaml``), or one bare file where ``path`` ends in ``.mcap``.

    Definitions of all types are embedded, so that readers need not know them. The same calls give the same bytes.
    With ``compress``, chunks are zstd (storage mode, which every mcap reader knows). What was written is a valid
    bag also when the block is left by an exception. Raises `DataError` where ``path`` exists; with ``overwrite`` a file
    is replaced by a file, but no folder, nor a file by a folder.
    """

    def __init__(self, path: str | Path, compress: bool = True, overwrite: bool = False) -> None:
        from mcap.writer import CompressionType, Writer

        self.path = Path(path)
        self.folder = None if self.path.suffix == ".mcap" else self.path
        if self.path.is_dir() or (self.path.exists() and not (overwrite and self.folder is None)):
            raise DataError(f"{self.path} exists already; name another bag or remove it")
        file = self.path if self.folder is None else self.path / f"{self.path.name}_0.mcap"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self._stream = file.open("wb")
        self._writer = Writer(self._stream, compression=CompressionType.ZSTD if compress else CompressionType.NONE)
        self._writer.start(profile="ros2", library="deep_tracking_ros")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, tuple[int, str]] = {}
        self._counts: dict[str, int] = {}
        self._start, self._end = 2**63 - 1, 0  # log times of the first and last message

    def add_topic(self, topic: str, type_: str) -> None:
        """Announce a topic; `write` does so by itself. Raises `DataError` for a type whose definition is unknown."""
        if topic in self._channels:
            if self._channels[topic][1] != type_:
                raise DataError(f"topic {topic} holds {self._channels[topic][1]}, not {type_}")
            return
        if type_ not in self._schemas:
            text, _ = interfaces.definition(type_)
            self._schemas[type_] = self._writer.register_schema(type_, "ros2msg", text.encode())
        metadata = {"offered_qos_profiles": "", "topic_type_hash": interfaces.definition(type_)[1]}
        channel = self._writer.register_channel(topic, "cdr", self._schemas[type_], metadata)
        self._channels[topic] = (channel, type_)
        self._counts[topic] = 0

    def write(self, topic: str, type_: str, data: bytes, log_time: int, publish_time: int | None = None) -> None:
        """Append one message (CDR); times in ns."""
        self.add_topic(topic, type_)
        channel = self._channels[topic][0]
        published = log_time if publish_time is None else publish_time
        self._writer.add_message(channel, log_time, data, published, self._counts[topic])
        self._counts[topic] += 1
        self._start, self._end = min(self._start, log_time), max(self._end, log_time)

    def write_message(self, topic: str, message: Any, log_time: int) -> None:
        """Append a message object, of rclpy or made by `interfaces.make`."""
        name = interfaces.type_name(message)
        self.write(topic, name, interfaces.serialize(message, name), log_time)

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Say something about the whole bag, which ``mcap get metadata`` shows; players pass over it."""
        self._writer.add_metadata(name, dict(values))

    def close(self) -> None:
        """Write the index (and ``metadata.yaml``); further calls do nothing."""
        if self._stream.closed:
            return
        self._writer.finish()
        self._stream.close()
        if self.folder is not None:
            (self.folder / "metadata.yaml").write_text(self._metadata())

    def _metadata(self) -> str:
        import yaml

        count = sum(self._counts.values())
        start, end = (self._start, self._end) if count else (0, 0)
        span = {"starting_time": {"nanoseconds_since_epoch": start}, "duration": {"nanoseconds": end - start}}
        topics = [
            {
                "topic_metadata": {
                    "name": topic,
                    "type": type_,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [],
                    "type_description_hash": interfaces.definition(type_)[1],
                },
                "message_count": self._counts[topic],
            }
            for topic, (_, type_) in self._channels.items()
        ]
        information = {
            "version": 9,
            "storage_identifier": "mcap",
            **span,
            "message_count": count,
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self.file.name],
            "files": [{"path": self.file.name, **span, "message_count": count}],
            "custom_data": None,
            "ros_distro": "jazzy",
        }
        return yaml.dump({"rosbag2_bagfile_information": information}, sort_keys=False)

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ResultWriter:
    """Writes results of pipelines to a bag: the offline place of the publishers. Needs no ROS."""

    def __init__(self, path: str | Path) -> None:
        """``path`` as `BagWriter` takes it; raises its `DataError`. A file is replaced: the same run gives it again."""
        self.bag = BagWriter(path, overwrite=True)

    def write(self, topic: str, item: Any, log_time: int) -> None:
        """Append a result, such as `TrackedBoxes`, or a message; ``log_time`` in ns."""
        from deep_tracking_ros.ros import messages

        message = item if interfaces.is_message(item) else messages.to_message(item, interfaces.make)
        self.bag.write_message(topic, message, log_time)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bag.close()

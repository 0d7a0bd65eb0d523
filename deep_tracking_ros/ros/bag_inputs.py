"""All inputs of a pipeline from a bag, in the order in which they were recorded: the offline place of `Intake`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.ros import bags, interfaces
from deep_tracking_ros.types import Frame

Read = Callable[[bags.Message], Any]


def read_inputs(
    path: str | Path,
    inputs: Mapping[str, type],
    topics: Mapping[str, str],
    optional: Collection[str] = (),
    transport: str = "auto",
) -> Iterator[tuple[str, Any]]:
    """Port and item of every message that is an input.

    Args:
        path: of the bag.
        inputs: port -> type of item, as a `Pipeline` has them.
        topics: port -> topic; ports that are left out have the only topic in the bag of their type, or the one that
            ROS has by convention. Detections may be ``vision_msgs`` too.
        optional: ports of which nothing need be in the bag. Those that are left out of ``topics`` have the topic of
            their own name, ``/PORT``, as live: any of their type might be a result of the same pipeline.
        transport: of images, raw, compressed or auto.

    Raises `DataError` for a wrong or ambiguous topic, with the right ones.
    """
    readers: dict[str, tuple[str, Read]] = {}
    for port, kind in inputs.items():
        found = _reader(path, port, kind, topics.get(port), port in optional, transport)
        if found is not None:
            topic, read = found
            readers[topic] = (port, read)
    for message in bags.read_messages(path, list(readers)):
        port, read = readers[message.topic]
        yield port, read(message)


def _reader(
    path: str | Path, port: str, kind: type, topic: str | None, optional: bool, transport: str
) -> tuple[str, Read] | None:
    """The topic of a port and how its messages are read; None where there is none and none is needed."""
    if kind is Frame:
        return _image_reader(path, topic, transport)
    from deep_tracking_ros.ros.messages import CONVERTERS
    from deep_tracking_ros.ros.vision_bridge import DETECTIONS

    converters = {c.type: c for c in (CONVERTERS[kind], DETECTIONS.get(kind)) if c is not None}
    usual = CONVERTERS[kind].topic or (f"/{port}" if optional else "")
    bag = bags.describe(path)
    found = [t for t in bag.topics if t.type in converters and t.name in {topic or usual or t.name}]
    if not found and topic is None and usual:
        return None
    if len(found) != 1:
        which = f"topic {topic} is none" if topic else f"{len(found)} topics are, name one" if found else "no topic is"
        types = " or ".join(converters)
        raise DataError(f"{path}: {which} of type {types}, for {port}; all topics: {bag.listing()}")
    type_ = found[0].type
    bags.learn_types(path, [type_])
    read = converters[type_].read
    return found[0].name, lambda message: read(interfaces.deserialize(message.data, type_))


def _image_reader(path: str | Path, topic: str | None, transport: str) -> tuple[str, Read]:
    from deep_tracking_ros.ros import images

    found = bags.image_topic(path, topic, transport)
    parse = bags.parse_image if found.type == bags.IMAGE else bags.parse_compressed_image
    return found.name, lambda message: images.frame(parse(message.data))

"""All inputs of a pipeline from a bag, in the order in which they were recorded: the offline place of `Intake`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.pipelines.sources import merged
from deep_tracking_ros.ros import bags, interfaces
from deep_tracking_ros.types import Frame

Read = Callable[[bags.Message], Any]


def read_inputs(
    path: str | Path,
    inputs: Mapping[str, type],
    topics: Mapping[str, str],
    optional: Collection[str] = (),
    transport: str = "auto",
    beside: Sequence[str | Path] = (),
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
        beside: further bags, in which inputs other than images are sought too; see `merged` for the order.

    Raises `DataError` for a wrong or ambiguous topic, with the right ones, and for a bag of which nothing is taken.
    """
    paths = (path, *beside)
    readers: list[dict[str, tuple[str, Read]]] = [{} for _ in paths]
    for port, kind in inputs.items():
        if kind is Frame:
            topic, read = _image_reader(path, topics.get(port), transport)
            readers[0][topic] = (port, read)
        elif (found := _reader(paths, port, kind, topics.get(port), port in optional)) is not None:
            number, topic, read = found
            readers[number][topic] = (port, read)
    for bag, taken in zip(paths, readers, strict=True):
        if beside and not taken:
            raise DataError(
                f"nothing in {bag} is taken; name what is meant, such as {next(iter(inputs))}:=TOPIC (inputs are "
                f"{', '.join(inputs)}); it has {bags.describe(bag).listing()}"
            )
    streams = [_stream(bag, taken) for bag, taken in zip(paths, readers, strict=True)]
    yield from merged(streams) if beside else streams[0]


def _stream(path: str | Path, readers: Mapping[str, tuple[str, Read]]) -> Iterator[tuple[str, Any]]:
    for message in bags.read_messages(path, list(readers)):
        port, read = readers[message.topic]
        yield port, read(message)


def _reader(
    paths: Sequence[str | Path], port: str, kind: type, topic: str | None, optional: bool
) -> tuple[int, str, Read] | None:
    """Number of the bag and topic of a port, and how its messages are read; None where none is and none is needed."""
    from deep_tracking_ros.ros.messages import CONVERTERS
    from deep_tracking_ros.ros.vision_bridge import DETECTIONS

    converters = {c.type: c for c in (CONVERTERS[kind], DETECTIONS.get(kind)) if c is not None}
    usual = CONVERTERS[kind].topic or (f"/{port}" if optional else "")
    every = [(number, t) for number, path in enumerate(paths) for t in bags.describe(path).topics]
    found = [(n, t) for n, t in every if t.type in converters and t.name in {topic or usual or t.name}]
    if not found and topic is None and usual:
        return None
    if len(found) != 1:
        which = f"topic {topic} is none" if topic else "no topic is"
        if found:
            which = f"{len(found)} topics are{' called so' if topic else ', name one'}"
        types = " or ".join(converters)
        listing = ", ".join(bags.describe(path).listing() for path in paths)
        raise DataError(f"{' and '.join(map(str, paths))}: {which} of type {types}, for {port}; all topics: {listing}")
    number, chosen = found[0]
    type_ = chosen.type
    bags.learn_types(paths[number], [type_])
    read = converters[type_].read
    return number, chosen.name, lambda message: read(interfaces.deserialize(message.data, type_))


def _image_reader(path: str | Path, topic: str | None, transport: str) -> tuple[str, Read]:
    from deep_tracking_ros.ros import images

    found = bags.image_topic(path, topic, transport)
    parse = bags.parse_image if found.type == bags.IMAGE else bags.parse_compressed_image
    return found.name, lambda message: images.frame(parse(message.data))

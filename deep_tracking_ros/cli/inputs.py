"""What a pipeline takes that does not begin with images, from a bag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deep_tracking_ros.pipelines.pipeline import Pipeline


def read_topics(texts: Sequence[str], kind: type[Pipeline]) -> dict[str, str]:
    """Port -> topic, from texts such as ``/boxes`` (the first port) or ``odometry:=/odom``.

    Raises `InvalidRequestError` for a port that there is not.
    """
    from deep_tracking_ros.errors import InvalidRequestError

    topics: dict[str, str] = {}
    for text in texts:
        port, assigned, topic = text.partition(":=")
        if not assigned:
            port, topic = next(iter(kind.inputs)), text
        if port not in kind.inputs:
            raise InvalidRequestError(
                f"--topic {text!r}: {kind.name} has no input {port!r}; it has {', '.join(kind.inputs)}"
            )
        topics[port] = topic
    return topics


def open_inputs(source: str, pipeline: Pipeline, topics: Mapping[str, str]) -> Iterator[Any]:
    """What a pipeline takes that does not begin with images, from a bag: items of its first port, others beside them.

    Raises `DataError`.
    """
    from deep_tracking_ros.pipelines.sources import Beside
    from deep_tracking_ros.ros.bag_inputs import read_inputs

    first = next(iter(pipeline.inputs))
    for port, item in read_inputs(source, pipeline.inputs, topics, pipeline.optional):
        yield item if port == first else Beside(port, item)

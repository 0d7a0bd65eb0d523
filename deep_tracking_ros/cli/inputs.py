"""What an offline run takes: images of any source, or whatever is in a bag."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deep_tracking_ros.pipelines.pipeline import Pipeline
    from deep_tracking_ros.pipelines.sources import Beside
    from deep_tracking_ros.types import Frame


def is_bag(path: Path) -> bool:
    """Whether this looks like a bag from outside."""
    return path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").is_file()


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


def open_inputs(
    source: str, pipeline: Pipeline, topics: Mapping[str, str], beside: Sequence[Path] = ()
) -> Iterator[Any]:
    """What a pipeline takes that does not begin with images, from bags: items of its first port, others beside them.

    Raises `DataError`.
    """
    from deep_tracking_ros.pipelines.sources import Beside
    from deep_tracking_ros.ros.bag_inputs import read_inputs

    first = next(iter(pipeline.inputs))
    for port, item in read_inputs(source, pipeline.inputs, topics, pipeline.optional, beside=beside):
        yield item if port == first else Beside(port, item)


def open_images(
    source: str,
    kind: type[Pipeline],
    topics: Mapping[str, str],
    transport: str = "auto",
    fps: float = 30.0,
    needed: Collection[str] = (),
    beside: Sequence[Path] = (),
) -> tuple[Iterator[Frame | Beside], int | None]:
    """Frames of a bag, a video or images, and how many there are where that is known.

    With them come the other inputs of the pipeline, from that bag and those ``beside`` it: of the optional ones, those
    in ``topics``, in ``needed``, or of the name that the node listens to, such as ``/tracks``.

    Raises `DataError`, and `InvalidRequestError` for topics where there is no bag.
    """
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.pipelines import sources
    from deep_tracking_ros.ros.bag_inputs import read_inputs

    path, first = Path(source), next(iter(kind.inputs))
    optional = kind.optional - set(needed)
    inputs: Iterator[tuple[str, Any]]
    if is_bag(path):
        from deep_tracking_ros.ros import bags

        inputs = read_inputs(path, kind.inputs, topics, optional, transport, beside)
        length: int | None = bags.image_topic(path, topics.get(first), transport).count
    else:
        frames, length = _open_pictures(source, fps)
        if (topics or needed) and not beside:
            wanted = ", ".join(topics.values()) or " and ".join(needed)
            raise InvalidRequestError(
                f"{source} is no bag, so there is no topic of {wanted} in it; name a bag that has it with --beside"
            )
        others = {port: item for port, item in kind.inputs.items() if port != first}
        inputs = ((first, frame) for frame in frames)
        if beside:
            inputs = sources.merged([inputs, read_inputs(beside[0], others, topics, optional, beside=beside[1:])])
            inputs = _of_one_camera(inputs, first)
    return (item if port == first else sources.Beside(port, item) for port, item in inputs), length


def _of_one_camera(inputs: Iterator[tuple[str, Any]], images: str) -> Iterator[tuple[str, Any]]:
    """Pictures that were never messages have no frame id that others could know: what is beside them gets theirs."""
    frame_id = None
    for port, item in inputs:
        if port == images:
            frame_id = item.frame_id
        elif frame_id is not None:
            item = replace(item, frame_id=frame_id)
        yield port, item


def _open_pictures(source: str, fps: float) -> tuple[Iterator[Frame], int | None]:
    """Frames of a video or images, and how many there are where that is known. Raises `DataError`."""
    from deep_tracking_ros.pipelines import sources

    path = Path(source)
    if path.is_dir() or re.search(r"[*?\[]", source) or path.suffix.lower() in sources.IMAGE_SUFFIXES:
        return sources.read_images(path, fps), len(sources.image_files(path))
    return sources.read_video(path), sources.video_length(path)

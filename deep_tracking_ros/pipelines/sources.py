"""Frames from video files and folders of images; bags are read in ``ros/bags.py``."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError, InvalidImageError
from deep_tracking_ros.files import natural_order
from deep_tracking_ros.types import NANOSECONDS, Frame, StaticTransforms, nanoseconds

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".exr", ".jp2")

STEP_BACK = NANOSECONDS
"""A recording whose stamps fall by more than this begins again, ns."""


def read_video(path: str | Path) -> Iterator[Frame]:
    """The pictures of a video file, with the times that the file gives them; the first one is at 0 ns.

    Raises `DataError` for a file that is missing, is no video or ends in damage.
    """
    import av

    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no video {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path} has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first = None
            for number, picture in enumerate(container.decode(stream)):
                time = _picture_time(picture, stream, number)
                first = time if first is None else first
                yield Frame(np.asarray(picture.to_ndarray(format="bgr24"), np.uint8), time - first, path.stem)
            if first is None:
                raise DataError(f"{path} holds no pictures")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a video: {error}") from error


def _picture_time(picture: Any, stream: Any, number: int) -> int:
    """ns; from the picture's own time stamp, or from the stream's rate where it has none (a raw stream)."""
    if picture.pts is not None and picture.time_base is not None:
        return int(picture.pts * picture.time_base * 1_000_000_000)
    rate = stream.average_rate or stream.guessed_rate or 25
    return int(number * 1_000_000_000 / rate)


def image_files(path: str | Path) -> list[Path]:
    """The images of a folder, or those that a pattern such as ``day1/*.png`` matches, in natural order (2 before 10).

    Raises `DataError` where there are none.
    """
    folder = Path(path)
    if folder.is_dir():
        files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
        kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        wanted = f"the folder {folder} holds no image ({kinds})"
    else:
        root = Path(folder.anchor)
        files = [file for file in root.glob(str(folder.relative_to(root))) if file.is_file()]
        wanted = f"no file matches {folder}"
    if not files:
        raise DataError(wanted)
    return natural_order(files)


def read_images(path: str | Path, fps: float = 30.0) -> Iterator[Frame]:
    """The images of a folder or pattern as a stream of ``fps`` frames per second; the first one is at 0 ns.

    A file is read when its frame is first looked at; `InvalidImageError` then names one that is no image. Raises
    `DataError` where there are no images.
    """
    if not 0 < fps < 1e6:
        raise DataError(f"the frame rate is {fps:g}, it must be above 0 and below a million per second")
    for number, file in enumerate(image_files(path)):
        yield Frame(lambda file=file: _read_image(file), nanoseconds(number / fps), file.parent.name)  # type: ignore[misc]


def _read_image(file: Path) -> NDArray[np.uint8]:
    import cv2

    # through numpy, since cv2.imread prints warnings and cannot take every name on every system
    data = np.fromfile(file, np.uint8) if file.is_file() else np.empty(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise InvalidImageError(f"{file} cannot be read as an image")
    return np.asarray(image, np.uint8)


def video_length(path: str | Path) -> int | None:
    """Number of pictures that a video file says it has, None where it says nothing."""
    import av

    try:
        with av.open(str(path)) as container:
            return int(container.streams.video[0].frames) or None
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True, eq=False)
class Beside:
    """In a stream of frames, or of whatever a pipeline works on: an input of another of its ports, such as odometry."""

    port: str
    item: Any


def merged(streams: Sequence[Iterable[tuple[str, Any]]]) -> Iterator[tuple[str, Any]]:
    """Port and item of several recordings as one stream: each in its own order, and of what is next the earliest.

    Times are stamps, since recordings made at different times have nothing else in common; of equal ones the stream
    named first goes first. What has no time, or holds at all times, goes with what was before it. Where stamps step
    back, as when a bag was recorded while another one was played again, streams wait for each other to do so.
    """
    for _, port, item in heapq.merge(*map(_timed, streams), key=itemgetter(0)):
        yield port, item


def _timed(stream: Iterable[tuple[str, Any]]) -> Iterator[tuple[tuple[int, int], str, Any]]:
    """With (steps back so far, ns) of each; what is late by less than `STEP_BACK` is no step back."""
    round_, newest = 0, -1
    for port, item in stream:
        stamp = None if isinstance(item, StaticTransforms) else getattr(item, "stamp", None)
        if stamp is not None and stamp < newest - STEP_BACK:
            round_, newest = round_ + 1, stamp
        newest = newest if stamp is None else max(newest, stamp)
        yield (round_, newest), port, item


def cut(frames: Iterator[Any], start: float = 0.0, end: float | None = None) -> Iterator[Any]:
    """The frames from ``start`` up to ``end`` seconds after the first one (None = all), and all that is beside them."""
    first = None
    for frame in frames:
        if isinstance(frame, Beside):
            yield frame
            continue
        first = frame.stamp if first is None else first
        elapsed = frame.stamp - first
        if end is not None and elapsed > nanoseconds(end):
            return
        if elapsed >= nanoseconds(start):
            yield frame

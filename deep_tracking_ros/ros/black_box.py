"""Recordings of lost targets as mcap files that ``deep-tracking process`` replays, and the thread that writes them."""

from __future__ import annotations

import fcntl
import filecmp
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from queue import Full, Queue
from threading import Thread
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError, DeepTrackingError
from deep_tracking_ros.geometry.boxes import clip, cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.pipelines.black_box import Moment, Place, Recording
from deep_tracking_ros.pipelines.frame_buffer import time_text
from deep_tracking_ros.ros import bags, interfaces
from deep_tracking_ros.ros.messages import from_message, set_stamp
from deep_tracking_ros.single_object.tracker import SingleObjectTracker
from deep_tracking_ros.types import FloatArray, Mask, State, TrackedBox, TrackedBoxes

IMAGES, BOXES, TARGETS = "/black_box/image/compressed", "/black_box/boxes", "/black_box/targets"
"""Topics of a recording: images, what was published of them, and where each target was first, to start it there."""
PREFIX = "black_box_"
AROUND = 6.0
"""A recording shows so many widths and heights of its targets around them: all that a tracker looked at."""
LARGEST = 960
"""px, longer side of a recorded image; larger ones are made smaller."""
LEAST = 2 * SingleObjectTracker.smallest
"""px that each side of a target keeps of what it has where it starts: too small ones could not be started again."""
QUALITY = 90
"""Of the JPEG files."""
WAITING = 2
"""Recordings that wait to be written at most; each holds the images of some seconds in memory."""


@dataclass(frozen=True)
class Window:
    """The part of the images that is recorded, the same in all of them."""

    left: int  # px
    top: int
    width: int
    height: int
    scale: float  # recorded px per px, at most 1

    @classmethod
    def around(cls, boxes: Sequence[FloatArray], starts: Sequence[FloatArray], size: tuple[int, int]) -> Window:
        """The window that shows boxes (4,) xyxy px and what is `AROUND` them, within an image of this size.

        It becomes no smaller than keeps `LEAST` of the boxes with which the targets start.
        """
        places = xyxy_to_cxcywh(np.stack(boxes))
        places[:, 2:] *= AROUND
        shown = clip(cxcywh_to_xyxy(places), *size) + 0.5
        left, top = (int(v) for v in np.floor(shown[:, :2].min(0)))
        right, bottom = (int(v) for v in np.ceil(shown[:, 2:].max(0)))
        width, height = max(right - left, 1), max(bottom - top, 1)
        sides = clip(np.stack(starts), *size).reshape(-1, 2, 2)
        least = float(np.maximum(sides[:, 1] - sides[:, 0], 1).min())
        # a side of the window is whole px, half a px less of it at most
        needed = LEAST / least + 0.5 / min(width, height)
        return cls(left, top, width, height, min(1.0, max(LARGEST / max(width, height), needed)))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the recorded images, px."""
        return max(round(self.width * self.scale), 1), max(round(self.height * self.scale), 1)

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The window (h, w, 3) of an image (H, W, 3)."""
        import cv2

        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        return part if self.scale == 1 else np.asarray(cv2.resize(part, self.size, interpolation=cv2.INTER_AREA))

    def points(self, points: FloatArray) -> FloatArray:
        """(..., 2k) x, y in px of the image as px of the window."""
        pairs = points.shape[-1] // 2
        ratio = np.tile(np.divide(self.size, (self.width, self.height)), pairs)
        corner = np.tile((self.left, self.top), pairs)
        return np.asarray((points + 0.5 - corner) * ratio - 0.5, np.float32)

    def box(self, box: TrackedBox) -> TrackedBox:
        """A box in px of the window, with all that belongs to it."""
        ratio = np.tile(np.divide(self.size, (self.width, self.height)), 2).astype(np.float32)
        return replace(
            box,
            box=self.points(box.box),
            velocity=box.velocity * ratio,
            covariance=None if box.covariance is None else box.covariance * np.outer(ratio, ratio),
            contour=None if box.contour is None else self.points(box.contour),
            mask=box.mask and self.mask(box.mask),
        )

    def mask(self, mask: Mask) -> Mask:
        """A mask in px of the window."""
        import cv2

        height, width = mask.data.shape
        edges = np.array([mask.x, mask.y, mask.x + width, mask.y + height], np.float32) - 0.5
        x0, y0, x1, y1 = (round(float(v)) for v in self.points(edges) + 0.5)
        size = max(x1 - x0, 1), max(y1 - y0, 1)
        return Mask(x0, y0, np.asarray(cv2.resize(mask.data, size, interpolation=cv2.INTER_NEAREST), np.uint8))

    def boxes(self, item: TrackedBoxes) -> TrackedBoxes:
        """A result in px of the window."""
        width, height = self.size
        return replace(item, width=width, height=height, boxes=tuple(self.box(box) for box in item.boxes))


def write(recording: Recording, path: Path) -> None:
    """Write a recording to an ``.mcap`` file; raises `DataError` or `OSError` where that cannot be."""
    wanted = [
        box.box
        for moment in recording.moments
        for box in moment.result.boxes
        if box.id in recording.lost and (box.state is not State.LOST or moment is recording.moments[-1])
    ]
    last = recording.moments[-1].result
    starts = recording.starts()
    window = Window.around(wanted, [box.box for _, box in starts], (last.width, last.height))
    with bags.ResultWriter(path) as results:
        for stamp, box in starts:
            first = replace(last, stamp=stamp, valid_at=stamp, boxes=(box,))
            results.write(TARGETS, window.boxes(first), recording.moments[0].result.stamp)
        for moment in recording.moments:
            results.bag.write(IMAGES, bags.COMPRESSED, _image(moment, window), moment.result.stamp)
            results.write(BOXES, window.boxes(moment.result), moment.result.stamp)
        about = {
            "lost": " ".join(map(str, recording.lost)),
            "stamp": str(recording.stamp),
            "model": last.model,
            "image": f"{last.width}x{last.height}",
            "window": f"{window.width}x{window.height}+{window.left}+{window.top}",
            "scale": f"{window.scale:.6g}",
        }
        results.bag.add_metadata("black_box", about)


def _image(moment: Moment, window: Window) -> bytes:
    """CDR of a ``CompressedImage``."""
    import cv2

    frame = moment.frame
    done, data = cv2.imencode(".jpg", window.cut(frame.image), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    frame.release()
    if not done:
        raise DataError(f"the image of stamp {time_text(frame.stamp)} cannot be encoded as JPEG")
    header = SimpleNamespace(stamp=SimpleNamespace(), frame_id=frame.frame_id)
    set_stamp(header.stamp, frame.stamp)
    return interfaces.serialize(SimpleNamespace(header=header, format="jpeg", data=data.tobytes()), bags.COMPRESSED)


def start_boxes(path: str | Path) -> list[tuple[int, TrackedBox]]:
    """Where the targets of a recording start (stamp in ns, box), none for other bags. Raises `DataError` for no bag."""
    topics = {topic.name: topic.type for topic in bags.describe(path).topics}
    type_ = "deep_tracking_ros/msg/TrackedBoxArray"
    if topics.get(TARGETS) != type_:
        return []
    items = [
        from_message(TrackedBoxes, interfaces.deserialize(message.data, type_))
        for message in bags.read_messages(path, [TARGETS])
    ]
    return [(item.stamp, box) for item in items for box in item.boxes]


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """Lock a file while it is written. The lock ends with the process, however that ends, in any container."""
    with part.open("wb") as handle:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_abandoned(part: Path) -> bool:
    """Whether nobody writes a file that is not finished."""
    with part.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


class BlackBoxFolder:
    """A folder of recordings whose size is bounded; it may be shared by several nodes."""

    def __init__(self, place: Place, node: str) -> None:
        """``node`` names the files; slashes in it become underscores."""
        self.folder = Path(place.folder).expanduser()
        self.limit = place.limit
        self.node = node.strip("/").replace("/", "_")

    def check(self) -> None:
        """Make the folder, see whether files can be written to it, and bring it below the limit.

        Raises `DataError` saying why that cannot be.
        """
        probe = self.folder / f".{PREFIX}{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
            self._remove_oldest(probe)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, recording: Recording) -> Path:
        """Write a recording, whole or not at all, and remove the oldest ones above the limit.

        A file of the same name and other content stays, the new one gets a number: a bag that is played again has the
        same stamps. Raises `DataError` where it cannot be written, or is larger than the limit by itself; the others
        stay then.
        """
        ids = "-".join(map(str, recording.lost))
        stamp = f"{recording.stamp // 10**9}.{recording.stamp % 10**9:09d}"
        name = f"{PREFIX}{self.node}_{stamp}_target{ids}"
        part = self.folder / f".{name}.{os.getpid()}.mcap"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _held(part):
                write(recording, part)
                if (size := part.stat().st_size) > self.limit:
                    raise DataError(
                        f"a recording of {size / 1e6:.3g} MB is larger than black_box_mb, {self.limit / 1e6:g} MB, and "
                        "was not kept; raise black_box_mb, or lower black_box_seconds"
                    )
                path = self._free(name, part)
                part.replace(path)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        self._remove_oldest(path)
        return path

    def _free(self, name: str, part: Path) -> Path:
        """The first path of this name, or of this name and a number, where no other recording is."""
        paths = (self.folder / f"{name}{f'_{n}' if n > 1 else ''}.mcap" for n in count(1))
        return next(path for path in paths if not path.exists() or filecmp.cmp(path, part, shallow=False))

    def _remove_oldest(self, newest: Path) -> None:
        """Bring the folder below the limit: what nobody finished goes, then the oldest recordings, never the newest."""
        total = 0
        for part in self.folder.glob(f".{PREFIX}*.mcap"):
            with suppress(OSError):  # it has just been finished
                if _is_abandoned(part):
                    part.unlink(missing_ok=True)
                else:
                    total += part.stat().st_size
        files = sorted(self._files(), key=lambda file: (file[1] == newest, *file), reverse=True)
        for _, path, size in files:
            total += size
            if total > self.limit and path != newest:
                path.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[int, Path, int]]:
        """Time of writing (ns), path and size (bytes) of all recordings."""
        for path in self.folder.glob(f"{PREFIX}*.mcap"):
            with suppress(OSError):  # another node has just removed it
                stat = path.stat()
                yield stat.st_mtime_ns, path, stat.st_size

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(
            f"black box: {self.folder} cannot be written to ({error.strerror or error}); set black_box to a folder "
            "that can, or to nothing"
        )


class BlackBoxWriter:
    """Writes recordings in a thread of its own; whoever hands one over never waits."""

    def __init__(self, folder: BlackBoxFolder, log: Callable[[str], None], warn: Callable[[str], None]) -> None:
        """``log`` is told of each file, ``warn`` of what fails, in sentences."""
        self.folder = folder
        self.error = ""  # why the newest recording is not there; empty = it is
        self.written = self.dropped = 0
        self._log, self._warn = log, warn
        self._queue: Queue[Recording | None] = Queue(WAITING + 1)
        try:
            folder.check()
        except DataError as error:
            self._fail(error)
        self._thread = Thread(target=self._work, name="black_box", daemon=True)
        self._thread.start()

    def put(self, recording: Recording) -> None:
        """Have a recording written; it is dropped, and counted, while too many wait."""
        if self._queue.qsize() >= WAITING:
            self.dropped += 1
            self._warn(
                f"black box: {WAITING} recordings wait to be written, another one was dropped; is the disk slow?"
            )
            return
        self._queue.put_nowait(recording)

    def status(self) -> dict[str, int]:
        """For diagnostics; may be called from any thread."""
        return {"black_box_written": self.written, "black_box_dropped": self.dropped}

    def close(self, seconds: float = 10.0) -> None:
        """Write what waits, for so long, and end the thread."""
        with suppress(Full):
            self._queue.put_nowait(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while (recording := self._queue.get()) is not None:
            try:
                path = self.folder.add(recording)
            except Exception as error:  # whatever it is, it must not end the thread
                self._fail(error)
                continue
            self.error = ""
            self.written += 1
            self._log(f"target {' and '.join(map(str, recording.lost))} was lost: {path}")

    def _fail(self, error: Exception) -> None:
        known = isinstance(error, DeepTrackingError)
        self.error = str(error) if known else f"black box: a recording failed ({type(error).__name__}: {error})"
        self._warn(self.error)

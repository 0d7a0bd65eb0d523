"""The last frames of a stream, so that a target can be started on the frame that the operator saw."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from deep_tracking_ros.errors import NoFrameError, StampNotBufferedError
from deep_tracking_ros.pipelines.time_keeper import Arrival, TimeRules
from deep_tracking_ros.types import Frame, seconds


class FrameBuffer:
    """Recent frames in order of their stamps, bounded by seconds and by bytes; the newest one is always kept.

    One thread may append while another reads. There is no lock, since none is needed: each operation on a deque is
    atomic in CPython, readers take one ``tuple(deque)`` (which runs no Python code) and work on that, and a frame is
    complete before it is appended.
    """

    def __init__(self, span: int, max_bytes: int, rules: TimeRules) -> None:
        """Keep frames up to ``span`` ns older than the newest, and no more than ``max_bytes`` of them."""
        self.span = span
        self.max_bytes = max_bytes
        self.rules = rules
        self._frames: deque[Frame] = deque()
        self._began = 0  # ns, stamp of the first frame since the last time jump; it may be gone by now

    def append(self, frame: Frame) -> None:
        """Keep a frame. A duplicate or late one is left out; a time jump first empties the buffer."""
        newest = self.newest
        arrival = self.rules.classify(newest, frame.stamp)
        if arrival in (Arrival.DUPLICATE, Arrival.LATE):
            return
        if arrival is Arrival.JUMP:
            self._frames.clear()
        if arrival is Arrival.JUMP or newest is None:
            self._began = frame.stamp
        self._frames.append(frame)
        frames = self.frames()
        # counted anew each time, since a frame costs more once it was decoded
        nbytes = sum(kept.nbytes for kept in frames)
        for kept in frames[:-1]:
            if frame.stamp - kept.stamp <= self.span and nbytes <= self.max_bytes:
                break
            nbytes -= kept.nbytes
            with suppress(IndexError):  # the other thread has just cleared the buffer
                self._frames.popleft()

    def frames(self) -> tuple[Frame, ...]:
        """All frames kept, oldest first."""
        return tuple(self._frames)

    @property
    def newest(self) -> int | None:
        """Stamp (ns) of the newest frame, None if there is none."""
        frames = self.frames()
        return frames[-1].stamp if frames else None

    def unbroken(self, first: int, last: int) -> bool:
        """Whether frames are known to have come from stamp ``first`` to ``last`` (ns) without a time jump between."""
        newest = self.newest
        return newest is not None and self._began <= first <= last <= newest

    @property
    def nbytes(self) -> int:
        """What all frames cost, bytes."""
        return sum(frame.nbytes for frame in self.frames())

    def since(self, stamp: int) -> tuple[Frame, ...]:
        """The frame of exactly this stamp (ns) and all after it, oldest first.

        Raises `NoFrameError` while the buffer is empty, and `StampNotBufferedError` naming the range that is kept.
        """
        frames = self.frames()
        if not frames:
            raise NoFrameError(
                f"no image has arrived yet, so there is none of stamp {time_text(stamp)}; try again later"
            )
        for i, frame in enumerate(frames):
            if frame.stamp == stamp:
                return frames[i:]
        first, last = frames[0].stamp, frames[-1].stamp
        kept = f"{len(frames)} images from {time_text(first)} to {time_text(last)} are kept"
        if stamp < first:
            advice = f"this is {seconds(first - stamp):.3f} s too old; use a newer image, or raise frame_buffer"
        elif stamp > last:
            advice = f"this is {seconds(stamp - last):.3f} s too new; is the image from this camera and clock?"
        else:
            advice = "none of them has this stamp; copy the stamp of the image's header as it is"
        raise StampNotBufferedError(f"the image of stamp {time_text(stamp)} is not kept: {kept}; {advice}")

    def clear(self) -> None:
        """Drop all frames."""
        self._frames.clear()


def time_text(stamp: int) -> str:
    """Nanoseconds as seconds with all digits, as in '12.040000000 s'."""
    sign, value = ("-", -stamp) if stamp < 0 else ("", stamp)
    whole, rest = divmod(value, 1_000_000_000)
    return f"{sign}{whole}.{rest:09d} s"

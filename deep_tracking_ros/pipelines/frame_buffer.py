"""The last frames of a stream, so that a target can be started on the frame that the operator saw."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from weakref import WeakKeyDictionary

from deep_tracking_ros.errors import NoFrameError, StampNotBufferedError
from deep_tracking_ros.pipelines.time_keeper import Arrival, TimeRules
from deep_tracking_ros.types import Frame, seconds


class FrameBuffer:
    """Recent frames in order of their stamps, bounded by seconds and by bytes; the newest one is always kept.

    Frames without a time jump between them are a run. Only those of the newest run are kept; which run a frame came in
    is known as long as the frame lives, since whoever works on frames may be far behind the one who appends them.

    One thread appends, another may read and clear. There is no lock, since none is needed: each operation on a deque is
    atomic in CPython, readers take one ``tuple(deque)`` (which runs no Python code) and work on that, and a frame is
    complete before it is appended.
    """

    def __init__(self, span: int, max_bytes: int, rules: TimeRules) -> None:
        """Keep frames up to ``span`` ns older than the newest, and no more than ``max_bytes`` of them."""
        self.span = span
        self.max_bytes = max_bytes
        self.rules = rules
        self._frames: deque[Frame] = deque()
        self._newest: int | None = None  # ns, of the newest frame that was kept; it may be cleared by now
        self._run = 0
        self._runs: WeakKeyDictionary[Frame, int] = WeakKeyDictionary()

    def append(self, frame: Frame) -> None:
        """Keep a frame. A duplicate or late one is left out; a time jump first empties the buffer."""
        arrival = self.rules.classify(self._newest, frame.stamp)
        if arrival is Arrival.JUMP:
            self._frames.clear()
            self._run += 1
        self._runs[frame] = self._run
        if arrival in (Arrival.DUPLICATE, Arrival.LATE):
            return
        self._newest = frame.stamp
        self._frames.append(frame)
        frames = self.frames()
        # counted anew each time, since a frame costs more while it is decoded
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

    def run_of(self, frame: Frame) -> int | None:
        """Number of the run in which a frame came, counted up at each time jump; None if it never came here."""
        return self._runs.get(frame)

    def between(self, first: Frame, last: int) -> tuple[Frame, ...]:
        """The frames kept of the run of ``first`` that are after it and not after stamp ``last`` (ns), oldest first."""
        run = self.run_of(first)
        return tuple(f for f in self.frames() if first.stamp < f.stamp <= last and self.run_of(f) == run)

    @property
    def nbytes(self) -> int:
        """What all frames cost, bytes."""
        return sum(frame.nbytes for frame in self.frames())

    def find(self, stamp: int) -> Frame:
        """The frame of exactly this stamp (ns).

        Raises `NoFrameError` while the buffer is empty, and `StampNotBufferedError` naming the range that is kept.
        """
        frames = self.frames()
        if not frames:
            raise NoFrameError(
                f"no image has arrived yet, so there is none of stamp {time_text(stamp)}; try again later"
            )
        for frame in frames:
            if frame.stamp == stamp:
                return frame
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

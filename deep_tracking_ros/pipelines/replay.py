"""Run a pipeline over a recorded stream: every frame, or only those that a live node would have had time for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from deep_tracking_ros.errors import (
    DataError,
    InvalidImageError,
    InvalidRequestError,
    NoFrameError,
    StampNotBufferedError,
    UnknownTargetError,
)
from deep_tracking_ros.geometry.boxes import check_box
from deep_tracking_ros.pipelines.black_box import Recording
from deep_tracking_ros.pipelines.pipeline import Output, Pipeline
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.pipelines.sources import Beside
from deep_tracking_ros.types import NANOSECONDS, Frame

NOT_YET = (NoFrameError, UnknownTargetError, StampNotBufferedError, InvalidRequestError)
"""What the pipeline answers where a track has not come, or was not seen (or not lately)."""


@dataclass(frozen=True)
class TimedTarget:
    """A target to be set when the stream comes to a frame; of the three places one is given.

    With a ``track_id`` in the request it is set as soon as that track was seen, from there on.
    """

    request: SetTarget  # its stamp is filled in
    index: int | None = None  # number of the frame, 0 = the first
    offset: int | None = None  # ns after the first frame: the first frame from there on
    stamp: int | None = None  # ns: the first frame from there on

    def is_due(self, index: int, stamp: int, first: int) -> bool:
        """Whether a frame (its number, its stamp and the first frame's stamp, ns) is the one meant, or after it."""
        if self.index is not None:
            return index >= self.index
        return stamp >= (self.stamp if self.stamp is not None else first + (self.offset or 0))

    def __str__(self) -> str:
        place = f"{(self.offset or 0) / NANOSECONDS:g} s after the first frame"
        if self.index is not None:
            place = f"frame {self.index}"
        elif self.stamp is not None:
            place = f"stamp {self.stamp / NANOSECONDS:.9f} s"
        return f"track {self.request.track_id} from {place} on" if self.request.track_id else f"at {place}"


@dataclass(frozen=True, eq=False)
class Step:
    """What came of one frame of the stream."""

    frame: Frame
    outputs: tuple[Output, ...] = ()
    recordings: tuple[Recording, ...] = ()  # of the black box, for files of their own
    dropped: bool = False  # the pipeline was busy until a newer frame came
    error: InvalidImageError | None = None  # it could not be decoded
    warnings: tuple[str, ...] = ()  # of the pipeline, after it
    beside: bool = False  # an input of another port, from which results followed
    cost: int = 0  # ns that the step took, by the clock given
    latency: int = 0  # ns from the frame to its result, with waiting


def replay(
    pipeline: Pipeline,
    frames: Iterable[Frame | Beside],
    targets: Sequence[TimedTarget] = (),
    *,
    port: str = "image",
    clock: Callable[[], int] = lambda: 0,
    realtime: float | None = None,
    latency: int | None = None,
) -> Iterator[Step]:
    """Take a pipeline through a stream of frames, setting targets on the way.

    Args:
        pipeline: takes frames at ``port`` and `SetTarget` commands.
        frames: in the order in which they arrive; what is `Beside` them is given to the pipeline as it comes.
        targets: each is set on the frame that it names (with that frame's stamp, as an operator's window does), and
            one with a ``track_id`` when what was seen of the track has come.
        port: input port of the frames.
        clock: ns; what a step costs is read from it.
        realtime: simulate a live run at this many times the recorded speed: a frame that arrives while the pipeline is
            busy waits, and is dropped when a newer one arrives; setting a target keeps it busy too. None = every frame,
            one after the other.
        latency: cost of every step in ns in place of the measured one, for a live run that is the same each time;
            setting a target then costs nothing, nor does what is beside the frames and gives no result.

    Yields:
        One `Step` per frame, in order, and one for each input beside them from which results follow.

    Raises:
        DataError: the stream ended before a target's frame.
        DeepTrackingError: a target could not be set.
    """
    waiting = list(targets)
    missing: dict[TimedTarget, str] = {}  # why tracks are not there yet
    first: int | None = None
    mailbox: Frame | None = None  # newest frame that was not processed yet
    free = 0  # ns of stream time at which the pipeline has nothing to do
    previous = 0

    def occupy(stamp: int, cost: int) -> int:
        """Give the pipeline work that arrives at ``stamp`` and takes ``cost`` ns; gives when it starts."""
        nonlocal free
        start = max(free, stamp)
        free = start + round(cost * (realtime or 0))
        return start

    def process(frame: Frame, beside: str = "") -> Step:
        began = clock()
        outputs: tuple[Output, ...] = ()
        error = None
        try:
            outputs = tuple(pipeline.step(beside or port, frame))
        except InvalidImageError as invalid:
            error = invalid
        cost = clock() - began if latency is None else latency if outputs or not beside else 0
        arrived = previous if beside else frame.stamp
        start = occupy(arrived, cost)
        age = round((start - arrived) / realtime) + cost if realtime else cost
        return Step(
            frame,
            tuple(output for output in outputs if not isinstance(output.item, Recording)),
            tuple(output.item for output in outputs if isinstance(output.item, Recording)),
            error=error,
            warnings=tuple(pipeline.warnings()),
            beside=bool(beside),
            cost=cost,
            latency=age,
        )

    def command(request: SetTarget, stamp: int) -> None:
        began = clock()
        pipeline.command(request)
        occupy(stamp, clock() - began if latency is None else 0)

    def pick(targets: Sequence[TimedTarget], stamp: int) -> None:
        """Set those that are tracks, where these have come; they begin where the track was seen last."""
        for target in [t for t in targets if t.request.track_id]:
            try:
                command(target.request, stamp)
                waiting.remove(target)
            except NOT_YET as error:
                missing[target] = f" ({error})"

    index = -1
    for frame in frames:
        if isinstance(frame, Beside):
            pipeline.remember(frame.port, frame.item)
            step = process(frame.item, frame.port)
            if step.outputs or step.recordings:
                yield step
            if first is not None:
                pick([t for t in waiting if t.is_due(index, previous, first)], previous)
            continue
        index += 1
        if mailbox is not None and (free < frame.stamp or frame.stamp < previous):
            yield process(mailbox)
            mailbox = None
        if frame.stamp < previous:  # time jumped back: nothing is known of how long the stream paused there
            free = frame.stamp
        previous = frame.stamp
        first = frame.stamp if first is None else first
        pipeline.remember(port, frame)
        if mailbox is not None:
            yield Step(mailbox, dropped=True)
            mailbox = None
        due = [t for t in waiting if t.is_due(index, frame.stamp, first)]
        for target in [t for t in due if not t.request.track_id]:
            waiting.remove(target)
            # A stream may begin with stamp 0, which asks for the next image, whose size the pipeline does not know yet.
            check_box(target.request.box, *frame.image.shape[1::-1])
            command(replace(target.request, stamp=frame.stamp), frame.stamp)
        pick(due, frame.stamp)
        if realtime is None:
            yield process(frame)
        else:
            mailbox = frame
    if mailbox is not None:
        yield process(mailbox)
    if waiting:
        places = ", ".join(f"{target}{missing.get(target, '')}" for target in waiting)
        raise DataError(f"the stream ended before a target could be set: {places}")

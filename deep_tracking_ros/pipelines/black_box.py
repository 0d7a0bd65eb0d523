"""The black box: the last seconds before targets were lost, kept so that somebody can see why.

The pipeline only hands out what is to be kept; who runs it writes that to a file (``ros/black_box.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deep_tracking_ros.types import Frame, State, TrackedBox, TrackedBoxes


@dataclass(frozen=True)
class Place:
    """Where recordings are kept."""

    folder: str
    limit: int  # bytes of all recordings in it; the oldest go first


@dataclass(frozen=True, eq=False)
class Moment:
    """One image of a recording, and what was published of it."""

    frame: Frame
    result: TrackedBoxes


@dataclass(frozen=True, eq=False)
class Recording:
    """Images up to the one in which targets were lost, oldest first; frames are shared with the frame buffer."""

    lost: tuple[int, ...]  # ids of targets that were lost in the last image
    moments: tuple[Moment, ...]

    @property
    def stamp(self) -> int:
        """ns, of the image in which the targets were lost."""
        return self.moments[-1].result.stamp

    def starts(self) -> list[tuple[int, TrackedBox]]:
        """For each target the first image of the recording (its stamp, ns) in which it was followed, and its box."""
        found: dict[int, tuple[int, TrackedBox]] = {}
        for moment in self.moments:
            for box in _followed(moment.result):
                if box.id in self.lost:
                    found.setdefault(box.id, (moment.result.stamp, box))
        return [found[id_] for id_ in sorted(found)]


class BlackBox:
    """Watches the results of a pipeline, and gives a recording where targets are lost."""

    def __init__(self, span: int) -> None:
        """Recordings begin ``span`` ns before the loss, as far as images are kept."""
        self.span = span
        self._results: deque[TrackedBoxes] = deque()
        self._recorded: dict[int, int] = {}  # id -> stamp of the newest recording in which it was lost, ns

    def clear(self) -> None:
        """As after a time jump: nothing of before belongs to what comes, and targets are not lost by themselves."""
        self._results.clear()
        self._recorded.clear()

    def take(self, result: TrackedBoxes, before: Mapping[int, State], frames: Sequence[Frame]) -> Recording | None:
        """Take note of a result.

        A target that was recorded is not recorded again before ``span`` is over: the images would be the same.

        Args:
            result: what is published of the newest frame.
            before: states of the targets before that frame; one that was LOST already is not lost again.
            frames: those kept, oldest first, the newest one too.

        Returns:
            The recording of all targets that were lost in this frame, if any.
        """
        self._results.append(result)
        while result.stamp - self._results[0].stamp > self.span:
            self._results.popleft()
        lost = tuple(id_ for id_ in _lost(result.boxes, before) if self._is_new(id_, result.stamp))
        if not lost:
            return None
        kept = {frame.stamp: frame for frame in frames}
        moments = [Moment(kept[r.stamp], r) for r in self._results if r.stamp in kept]
        while moments and not any(box.id in lost for box in _followed(moments[0].result)):
            del moments[0]  # there is nothing in it to start from
        if not moments:
            return None
        self._recorded |= dict.fromkeys(lost, result.stamp)
        return Recording(lost, tuple(moments))

    def _is_new(self, id_: int, stamp: int) -> bool:
        return id_ not in self._recorded or stamp - self._recorded[id_] >= self.span


def _lost(boxes: Iterable[TrackedBox], before: Mapping[int, State]) -> list[int]:
    return [box.id for box in boxes if box.state is State.LOST and before.get(box.id, State.LOST) is not State.LOST]


def _followed(result: TrackedBoxes) -> list[TrackedBox]:
    return [box for box in result.boxes if box.state is not State.LOST]

"""Whose turn it is: stamped input once and in the order of its stamps, and where what came before is of no use."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.pipelines.frame_buffer import time_text
from deep_tracking_ros.pipelines.time_keeper import Arrival, TimeKeeper, TimeRules
from deep_tracking_ros.types import nanoseconds

HELD = 100
"""Most items that wait for earlier ones; the oldest are taken then."""


class Stamped(Protocol):
    """What has a time and a place."""

    @property
    def stamp(self) -> int: ...
    @property
    def frame_id(self) -> str: ...


T = TypeVar("T", bound=Stamped)


@dataclass(frozen=True, eq=False)
class Turn(Generic[T]):
    """An item whose turn has come."""

    item: T
    epoch: int
    jump: str = ""  # why it cannot be compared with what came before; empty = it follows on


class Turns(Generic[T]):
    """Puts the items of one stream into order.

    Items with the stamp of an earlier one are duplicates, older ones are late: both are counted and dropped. With
    ``reorder_wait`` items are held until newer ones show that none before them is to come, so late ones find their
    place. A time jump, or another frame id, counts the epoch up; what is held has its turn before a jump.
    """

    def __init__(self, reorder_wait: float, reorder_tolerance: float, max_gap: float) -> None:
        """Limits in seconds, see `TimeRules`. Raises `InvalidRequestError` where they contradict each other."""
        if reorder_wait > reorder_tolerance:
            raise InvalidRequestError(
                f"reorder_wait is {reorder_wait:g} s, it must not be above reorder_tolerance, {reorder_tolerance:g} s: "
                "what is older than that is a time jump"
            )
        self.time = TimeKeeper(TimeRules.of_seconds(reorder_tolerance, max_gap))
        self._wait = nanoseconds(reorder_wait)
        self._held: list[T] = []  # in order of their stamps
        self._frame_id: str | None = None

    def take(self, item: T) -> Iterator[Turn[T]]:
        """Of the new and the held items those whose turn it is, in order. To be taken to the end."""
        newest = self._held[-1].stamp if self._held else self.time.newest
        arrival = self.time.rules.classify(newest, item.stamp)
        if arrival is Arrival.JUMP:
            held, self._held = self._held, []
            for ready in (*held, item):
                yield self._turn(ready)
            return
        processed = self.time.newest
        if item.stamp in (processed, *(held.stamp for held in self._held)):
            self.time.take(item.stamp, Arrival.DUPLICATE)
            return
        if processed is not None and arrival is Arrival.LATE and item.stamp < processed:
            self.time.take(item.stamp, Arrival.LATE)
            return
        self._held.insert(bisect([held.stamp for held in self._held], item.stamp), item)
        due = self._held[-1].stamp - self._wait
        while self._held and (self._held[0].stamp <= due or len(self._held) > HELD):
            yield self._turn(self._held.pop(0))

    def _turn(self, item: T) -> Turn[T]:
        arrival, jump = self.time.classify(item.stamp), ""
        if arrival is Arrival.JUMP:
            assert self.time.newest is not None
            jump = f"time jumped from {time_text(self.time.newest)} to {time_text(item.stamp)}"
        elif self._frame_id not in (None, item.frame_id):
            jump = f"the frame id changed from {self._frame_id!r} to {item.frame_id!r}"
            self.time.reset()
        self._frame_id = item.frame_id
        self.time.take(item.stamp, arrival)
        return Turn(item, self.time.epoch, jump)

    def reset(self) -> None:
        """Drop what is held and begin a new epoch."""
        self._held.clear()
        self.time.reset()

    def status(self) -> Mapping[str, int]:
        """Counts for the status of a pipeline; may be called from another thread."""
        counts = self.time.counts
        return {
            "duplicates": counts[Arrival.DUPLICATE],
            "late": counts[Arrival.LATE],
            "jumps": counts[Arrival.JUMP],
            "epoch": self.time.epoch,
            "held": len(self._held),
        }

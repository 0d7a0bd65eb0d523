"""What the stamp of a new frame says about time: the next one, a duplicate, too late, or a jump."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from deep_tracking_ros.types import nanoseconds


class Arrival(Enum):
    """How a stamp follows the newest one before it."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same stamp
    LATE = "late"  # older, within the reorder tolerance
    JUMP = "jump"  # a larger step back, or a gap


@dataclass(frozen=True)
class TimeRules:
    """Where late ends and a time jump begins."""

    reorder_tolerance: int  # ns
    max_gap: int  # ns

    @classmethod
    def of_seconds(cls, reorder_tolerance: float, max_gap: float) -> TimeRules:
        """Rules from limits in seconds."""
        return cls(nanoseconds(reorder_tolerance), nanoseconds(max_gap))

    def classify(self, newest: int | None, stamp: int) -> Arrival:
        """How ``stamp`` (ns) follows ``newest`` (ns), the newest one so far; None = there is none."""
        if newest is None:
            return Arrival.NEW
        if stamp == newest:
            return Arrival.DUPLICATE
        if newest - self.reorder_tolerance <= stamp < newest:
            return Arrival.LATE
        return Arrival.NEW if newest < stamp <= newest + self.max_gap else Arrival.JUMP


class TimeKeeper:
    """Newest stamp of a stream, its epoch, and counts of how stamps arrived."""

    def __init__(self, rules: TimeRules) -> None:
        self.rules = rules
        self.newest: int | None = None  # ns
        self.epoch = 0
        self.counts: Counter[Arrival] = Counter()

    def classify(self, stamp: int) -> Arrival:
        """How a stamp would arrive now; nothing changes."""
        return self.rules.classify(self.newest, stamp)

    def take(self, stamp: int, arrival: Arrival) -> None:
        """Take a stamp that arrived so: counted, and the newest from now on unless it is a duplicate or late."""
        self.counts[arrival] += 1
        if arrival is Arrival.JUMP:
            self.reset()
        if arrival in (Arrival.NEW, Arrival.JUMP):
            self.newest = stamp

    def reset(self) -> None:
        """Begin a new epoch; whatever stamp comes next is NEW."""
        self.newest = None
        self.epoch += 1

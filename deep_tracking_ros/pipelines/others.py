"""What others see in the same images: the tracks of a multi-object tracker, and the detections of a detector."""

from __future__ import annotations

from collections import deque

import numpy as np

from deep_tracking_ros.errors import InvalidRequestError, NoFrameError, UnknownTargetError
from deep_tracking_ros.pipelines.frame_buffer import time_text
from deep_tracking_ros.pipelines.time_keeper import Arrival, TimeRules
from deep_tracking_ros.types import NANOSECONDS, Detections, FloatArray, State, TrackedBox, TrackedBoxes

KEPT = 1000
"""Most messages kept of each kind."""
FRESH = NANOSECONDS // 2
"""What was seen longer ago is no hint where to look, ns."""


class Others:
    """The last messages of others, in order of their stamps. One thread appends, another may read and clear."""

    def __init__(self, span: int, rules: TimeRules) -> None:
        """Keep messages up to ``span`` ns older than the newest of their kind."""
        self.span = max(span, FRESH)
        self.rules = rules
        self._kept: dict[type, deque[TrackedBoxes | Detections]] = {
            kind: deque(maxlen=KEPT) for kind in (TrackedBoxes, Detections)
        }

    def append(self, item: TrackedBoxes | Detections) -> None:
        """Keep a message. A duplicate or late one is left out; a time jump first drops all of its kind."""
        kept = self._kept[type(item)]
        newest = kept[-1].stamp if kept else None
        arrival = self.rules.classify(newest, item.stamp)
        if arrival is Arrival.JUMP:
            kept.clear()
        if arrival in (Arrival.DUPLICATE, Arrival.LATE):
            return
        kept.append(item)
        while item.stamp - kept[0].stamp > self.span:
            kept.popleft()

    def clear(self) -> None:
        """Drop all."""
        for kept in self._kept.values():
            kept.clear()

    def proposals(self, stamp: int) -> FloatArray:
        """(N, 4) xyxy px of the objects that were seen last up to ``stamp`` (ns), where that is not too long ago."""
        boxes: list[FloatArray] = []
        for kept in self._kept.values():
            item = next((one for one in reversed(tuple(kept)) if one.stamp <= stamp), None)
            if item is None or stamp - item.stamp > FRESH:
                continue
            if isinstance(item, Detections):
                boxes += [detection.box for detection in item.detections]
            else:
                boxes += [box.box for box in item.boxes if box.state is not State.LOST]
        return np.array([box for box in boxes if _usable(box)], np.float32).reshape(-1, 4)

    def track(self, id_: int, stamp: int = 0) -> tuple[TrackedBox, int]:
        """The newest box of a track that was seen, or that of ``stamp`` (ns, 0 = any), and its stamp.

        Raises `NoFrameError` where no tracks came, `UnknownTargetError` with the known ids, and `InvalidRequestError`
        where the track was not seen.
        """
        kept = [item for item in tuple(self._kept[TrackedBoxes]) if isinstance(item, TrackedBoxes)]
        if not kept:
            raise NoFrameError(
                f"there is no track {id_}, since no tracks have come; remap the input `tracks` to the boxes of a "
                "multi-object tracker (launch argument tracks)"
            )
        asked = [item for item in kept if stamp in (0, item.stamp)]
        if not asked:
            raise NoFrameError(
                f"no tracks of the image of stamp {time_text(stamp)} have come; there are some from "
                f"{time_text(kept[0].stamp)} to {time_text(kept[-1].stamp)}"
            )
        known = sorted({box.id for item in asked for box in item.boxes})
        found = [(box, item.stamp) for item in asked for box in item.boxes if box.id == id_]
        if not found:
            listing = ", ".join(map(str, known)) or "none, since nothing is tracked"
            raise UnknownTargetError(f"there is no track {id_}; known ids of tracks are {listing}")
        seen = [(box, at) for box, at in found if box.state is not State.LOST]
        if not seen:
            raise InvalidRequestError(f"track {id_} is LOST since {found[-1][0].unseen:.1f} s; name one that is seen")
        return seen[-1]


def _usable(box: FloatArray) -> bool:
    return bool(np.isfinite(box).all() and (box[2:] > box[:2]).all())

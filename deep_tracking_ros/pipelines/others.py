"""What others see in the same images: the tracks of a multi-object tracker, and the detections of a detector."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from deep_tracking_ros.errors import InvalidRequestError, NoFrameError, UnknownTargetError
from deep_tracking_ros.pipelines.frame_buffer import time_text
from deep_tracking_ros.pipelines.time_keeper import Arrival, TimeRules
from deep_tracking_ros.types import NANOSECONDS, Detections, FloatArray, State, TrackedBox, TrackedBoxes, seconds

KEPT = 1000
"""Most messages kept of each kind."""
FRESH = NANOSECONDS // 2
"""What was seen longer ago is no hint where to look, ns."""
UNSEEN = (State.OCCLUDED, State.LOST)
"""Where such a box is, there is something else, or nothing."""


class Others:
    """The last messages of others, in order of their stamps. One thread appends, another may read and clear.

    Only those of the camera's own frame id are about its images.
    """

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
        kept.append(_as_seen(item) if isinstance(item, TrackedBoxes) else item)
        while item.stamp - kept[0].stamp > self.span:
            kept.popleft()

    def clear(self) -> None:
        """Drop all."""
        for kept in self._kept.values():
            kept.clear()

    def strangers(self, frame_id: str) -> set[str]:
        """Frame ids of the newest of each kind where it is not that of the camera; may be called from any thread."""
        newest = [tuple(kept)[-1:] for kept in self._kept.values()]
        return {item.frame_id for items in newest for item in items} - {frame_id}

    def proposals(self, stamp: int, frame_id: str) -> FloatArray:
        """(N, 4) xyxy px of the objects that were seen last up to ``stamp`` (ns), where that is not too long ago."""
        boxes: list[FloatArray] = []
        for kept in self._kept.values():
            before = (one for one in reversed(tuple(kept)) if one.stamp <= stamp and one.frame_id == frame_id)
            item = next(before, None)
            if item is None or stamp - item.stamp > FRESH:
                continue
            if isinstance(item, Detections):
                boxes += [detection.box for detection in item.detections]
            else:
                boxes += [box.box for box in item.boxes if box.state not in UNSEEN]
        return np.array([box for box in boxes if _usable(box)], np.float32).reshape(-1, 4)

    def track(self, id_: int, stamp: int = 0, frame_id: str | None = None) -> tuple[TrackedBox, int]:
        """The newest box of a track that was seen, or that of ``stamp`` (ns, 0 = any), and its stamp.

        ``frame_id`` is that of the camera; None = not known yet. Raises `NoFrameError` where no tracks came,
        `UnknownTargetError` with the known ids, and `InvalidRequestError` where the track was not seen.
        """
        kept = [item for item in tuple(self._kept[TrackedBoxes]) if isinstance(item, TrackedBoxes)]
        if not kept:
            raise NoFrameError(
                f"there is no track {id_}, since no tracks have come; remap the input `tracks` to the boxes of a "
                "multi-object tracker (launch argument tracks)"
            )
        if frame_id is not None and all(item.frame_id != frame_id for item in kept):
            raise NoFrameError(
                f"there is no track {id_} in these images, of frame {frame_id!r}: the tracks are of frame "
                f"{kept[-1].frame_id!r}; take those of a tracker that looks at the same images"
            )
        kept = [item for item in kept if frame_id in (None, item.frame_id)]
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
        seen = [(box, at) for box, at in found if box.state not in UNSEEN]
        if not seen:
            box = found[-1][0]
            where = f" in the image of stamp {time_text(stamp)}" if stamp else ""
            raise InvalidRequestError(
                f"track {id_} is {box.state.name} since {box.unseen:.1f} s{where}; name one that is seen"
                + (", or leave the stamp out for where it was seen last" if stamp else "")
            )
        return seen[-1]


def _as_seen(item: TrackedBoxes) -> TrackedBoxes:
    """Tracks where they were in their image: those that were moved on to the time of publishing go back."""
    ahead = seconds(item.valid_at - item.stamp)
    if ahead <= 0:
        return item
    back = [np.tile(box.velocity[:2] * np.float32(-ahead), 2) for box in item.boxes]
    boxes = tuple(replace(box, box=box.box + shift) for box, shift in zip(item.boxes, back, strict=True))
    return replace(item, boxes=boxes, valid_at=item.stamp)


def _usable(box: FloatArray) -> bool:
    return bool(np.isfinite(box).all() and (box[2:] > box[:2]).all())

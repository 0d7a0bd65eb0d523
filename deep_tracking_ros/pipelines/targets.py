"""The targets of a single-object pipeline: those that are followed, and those that wait for their first image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from deep_tracking_ros.errors import DeepTrackingError, InvalidImageError, OutsideImageError, UnknownTargetError
from deep_tracking_ros.geometry.boxes import check_box
from deep_tracking_ros.pipelines.followed import Followed, Search, follow, image_size
from deep_tracking_ros.pipelines.frame_buffer import FrameBuffer
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.pipelines.states import Thresholds
from deep_tracking_ros.single_object.tracker import SingleObjectTracker
from deep_tracking_ros.types import FloatArray, Frame, State, TrackedBox


@dataclass(frozen=True, eq=False)
class Waiting:
    """A target that is asked for and starts when its image, or one after it, is processed."""

    request: SetTarget
    frame: Frame | None  # on which the box was drawn; None = on whatever comes next


class Targets:
    """Targets by id; ids are never used twice. What is known of one belongs to the image in which it was seen last.

    A target that is set on an image which was processed starts at once and is followed up to the newest one. Set on
    an image that is still to come it waits, so that no image of before, and no time jump or change of the image size
    before it, can touch it.
    """

    def __init__(
        self, tracker: SingleObjectTracker, thresholds: Thresholds, buffer: FrameBuffer, catch_up_frames: int
    ) -> None:
        self.tracker = tracker
        self.thresholds = thresholds
        self.buffer = buffer
        self.catch_up_frames = catch_up_frames
        self.followed: dict[int, Followed] = {}
        self.waiting: dict[int, Waiting] = {}
        self.last_error = ""
        self._failed: list[TrackedBox] = []  # could not be started, and not published yet
        self.last_id = 0

    @property
    def ids(self) -> list[int]:
        """All that are known, in order."""
        return sorted({*self.followed, *self.waiting})

    def check_known(self, id_: int) -> None:
        """Raises `UnknownTargetError` with the known ids."""
        if id_ not in self.ids:
            listing = ", ".join(map(str, self.ids)) or "none, since no target is followed"
            raise UnknownTargetError(f"there is no target {id_}; known ids are {listing}")

    def check_box(self, box: FloatArray, size: tuple[int, int] | None) -> FloatArray:
        """The box cut to the image; where the image's size is not known yet, checked for all but its place."""
        if size is not None:
            return check_box(box, *size, self.tracker.smallest)
        with suppress(OutsideImageError):
            check_box(box, 1, 1, self.tracker.smallest)
        return np.asarray(box, np.float32)

    def wait(self, request: SetTarget, frame: Frame | None) -> int:
        """Start a target (anew, where it has an id) when ``frame`` is processed, or with the next image; its id."""
        id_ = self._id(request)
        self.waiting[id_] = Waiting(replace(request, id=id_), frame)
        return id_

    def start(self, request: SetTarget, frame: Frame, newest: int) -> tuple[Followed, int]:
        """Start a target on a past frame and follow it up to stamp ``newest`` (ns), the newest that was processed.

        Gives it and the number of frames through which it was followed. Nothing changes where that raises.
        """
        target = self._start(request, frame)
        used = self._catch_up(target, self.buffer.between(frame, newest))
        target.id = self._id(request)
        self.waiting.pop(target.id, None)
        self.followed[target.id] = target
        return target, used

    def remove(self, id_: int) -> None:
        """Forget one. Raises `UnknownTargetError`."""
        self.check_known(id_)
        self.followed.pop(id_, None)
        self.waiting.pop(id_, None)

    def clear(self) -> int:
        """Forget all; gives how many they were."""
        count = len(self.ids)
        self.followed.clear()
        self.waiting.clear()
        self._failed.clear()
        return count

    def forget_time(self) -> None:
        """After a time jump: those followed are LOST until they are found; those waiting are beyond it."""
        for target in self.followed.values():
            target.forget_time()

    def states(self) -> dict[int, State]:
        """State of each that is followed."""
        return {id_: target.sighting.state for id_, target in self.followed.items()}

    def step(self, frame: Frame, search: Search | None = None) -> tuple[TrackedBox, ...]:
        """Start those whose image has come, follow the others in one batch; gives all as published, in order.

        Lost ones are looked for as ``search`` says.
        """
        for id_, waiting in list(self.waiting.items()):
            if waiting.frame is None or self.has_come(waiting.frame, frame):
                del self.waiting[id_]  # first, so that one that cannot be started is not tried for ever
                self._start_waiting(waiting, frame)
        known = [t for t in self.followed.values() if t.stamp != frame.stamp]
        follow(self.tracker, self.thresholds, known, frame, search)
        boxes = [t.box() for t in self.followed.values()] + self._failed
        self._failed = []
        return tuple(sorted(boxes, key=lambda box: box.id))

    def _id(self, request: SetTarget) -> int:
        self.last_id = max(self.last_id, request.id or self.last_id + 1)
        return request.id or self.last_id

    def _start(self, request: SetTarget, frame: Frame) -> Followed:
        size = image_size(frame)
        box = self.check_box(request.box, size)
        (target,) = self.tracker.start(frame.image, box[None])
        old = self.followed.get(request.id)
        return Followed.start(request.id, request.label or (old.label if old else ""), target, frame.stamp, size, box)

    def _start_waiting(self, waiting: Waiting, frame: Frame) -> None:
        """Start a target, and follow it to just before ``frame``; LOST once where it cannot be, unless it goes on."""
        request, first = waiting.request, waiting.frame or frame
        try:
            target = self._start(request, first)
            self._catch_up(target, self.buffer.between(first, frame.stamp - 1) if self._same_run(first, frame) else ())
        except DeepTrackingError as error:
            self.last_error = f"target {request.id}: {error}"
            if request.id not in self.followed:
                box = np.asarray(request.box, np.float32)
                self._failed.append(TrackedBox(request.id, box, State.LOST, 0.0, request.label))
            return
        finally:
            if first is not frame:
                first.release()
        if not self._same_run(first, frame):
            target.forget_time()
        self.followed[request.id] = target

    def _catch_up(self, target: Followed, frames: Sequence[Frame]) -> int:
        """Follow a new target through kept frames, oldest first; gives how many were used."""
        # evenly thinned out, and always with the last, so that the target then stands where all others do
        stride = -(-len(frames) // self.catch_up_frames) or 1
        used = 0
        for frame in frames[::-1][::stride][::-1]:
            with suppress(InvalidImageError):  # step could not use it either
                follow(self.tracker, self.thresholds, [target], frame)
                used += 1
            frame.release()
        return used

    def _same_run(self, first: Frame, frame: Frame) -> bool:
        return first is frame or self.buffer.run_of(first) == self.buffer.run_of(frame)

    def has_come(self, first: Frame, frame: Frame) -> bool:
        """Whether ``frame`` is ``first``, or arrived after it."""
        run, now = self.buffer.run_of(first), self.buffer.run_of(frame)
        return run is None or now is None or (run, first.stamp) <= (now, frame.stamp)

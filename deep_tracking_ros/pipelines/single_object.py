"""Follow objects that an operator points out: a box in one image, then the object in every image after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import (
    InvalidImageError,
    InvalidRequestError,
    OutsideImageError,
    TooManyTargetsError,
    UnknownTargetError,
)
from deep_tracking_ros.geometry.boxes import check_box
from deep_tracking_ros.inference.engine import Engine
from deep_tracking_ros.pipelines.followed import Followed, follow, predicted
from deep_tracking_ros.pipelines.frame_buffer import FrameBuffer, time_text
from deep_tracking_ros.pipelines.parameters import parameter
from deep_tracking_ros.pipelines.pipeline import Output, Pipeline, Reply
from deep_tracking_ros.pipelines.requests import ClearTargets, RemoveTarget, SetTarget
from deep_tracking_ros.pipelines.states import Thresholds
from deep_tracking_ros.pipelines.time_keeper import Arrival, TimeKeeper, TimeRules
from deep_tracking_ros.single_object.tracker import SingleObjectTracker
from deep_tracking_ros.types import FloatArray, Frame, State, TrackedBox, TrackedBoxes, nanoseconds, seconds


@dataclass(frozen=True)
class SingleObjectParameters:
    """Parameters of `SingleObjectPipeline`."""

    model: str = parameter("siamfc", "Name of a model (deep-tracking models list), or the path of a model's folder.")
    backend: str = parameter(
        "auto",
        "What runs the network; auto takes the first of tensorrt, onnxruntime and torch that works here.",
        choices=("auto", "tensorrt", "onnxruntime", "torch"),
    )
    precision: str = parameter(
        "fp32", "Number type of the network; the smaller ones need a GPU.", choices=("fp32", "fp16", "bf16")
    )
    threads: int = parameter(
        0, "CPU threads of the network; 0 = as many as the backend likes.", minimum=0, maximum=1024
    )
    max_targets: int = parameter(16, "Most targets followed at a time.", minimum=1, maximum=1024)
    tracked_threshold: float = parameter(
        -1.0, "Score from which a target counts as TRACKED; -1 = as the model's card says.", minimum=-1, maximum=1
    )
    lost_threshold: float = parameter(
        -1.0, "Score below which a target counts as LOST; -1 = as the model's card says.", minimum=-1, maximum=1
    )
    frame_buffer: float = parameter(
        3.0, "How old an image may be on which a target is set.", unit="s", minimum=0, maximum=600
    )
    frame_buffer_mb: int = parameter(
        256, "Most memory for images kept for that; the oldest go first.", unit="MB", minimum=1, maximum=65536
    )
    catch_up_frames: int = parameter(
        30,
        "Most kept images through which a target set on a past image is followed; of more every n-th is used.",
        minimum=1,
        maximum=10000,
    )
    reorder_tolerance: float = parameter(
        0.1,
        "An image older than the one before it by up to this is dropped as late; one still older is a time jump.",
        unit="s",
        minimum=0,
        maximum=60,
    )
    max_gap: float = parameter(
        2.0, "A longer pause between two images is a time jump.", unit="s", minimum=0.001, maximum=3600
    )
    predict_to_now: bool = parameter(
        False, "Move the boxes along their velocity to the time at which they are published (valid_at)."
    )
    max_prediction: float = parameter(
        0.5, "Boxes are moved no further into the future than this.", unit="s", minimum=0, maximum=60
    )


class SingleObjectPipeline(Pipeline):
    """Boxes in, boxes out: one `TrackedBoxes` per processed image, also while there is no target.

    Time. An image with the stamp of the newest one is a duplicate, an older one is late: both are counted and give
    nothing. After a time jump the epoch counts up, all targets are LOST until found and their motion is forgotten.
    A change of the image size counts as a jump too, since boxes before and after it cannot be compared; the places of
    the targets are scaled to the new size.

    Targets. With a stamp, `SetTarget` starts a target on that kept image and follows it through the kept images up to
    the newest processed one before it returns. With stamp 0 it starts on the next image. Its box is checked at once
    where the size of the images is known, else on that image: should it lie outside, the target is published once as
    LOST with score 0 and is gone, and ``last_error`` in the status says why. Ids are never used twice.
    """

    name = "single_object_tracker"
    Parameters = SingleObjectParameters
    inputs: ClassVar[Mapping[str, type]] = {"image": Frame}
    outputs: ClassVar[Mapping[str, type]] = {"boxes": TrackedBoxes}
    commands: ClassVar[Mapping[str, type]] = {
        "set_target": SetTarget,
        "remove_target": RemoveTarget,
        "clear_targets": ClearTargets,
    }

    def __init__(
        self, parameters: SingleObjectParameters, tracker: SingleObjectTracker, *, owns_tracker: bool = False
    ) -> None:
        """A pipeline over a tracker, which several pipelines may share; ``close`` closes only a tracker it owns.

        Raises `ModelError` where the card lacks a threshold, `InvalidRequestError` where lost is above tracked.
        """
        self.parameters: SingleObjectParameters = parameters
        self.tracker = tracker
        self.thresholds = Thresholds.choose(
            tracker.card.thresholds, parameters.tracked_threshold, parameters.lost_threshold
        )
        rules = TimeRules.of_seconds(parameters.reorder_tolerance, parameters.max_gap)
        self.time = TimeKeeper(rules)
        self.buffer = FrameBuffer(nanoseconds(parameters.frame_buffer), parameters.frame_buffer_mb * 10**6, rules)
        self._owns_tracker = owns_tracker
        self._followed: dict[int, Followed] = {}
        self._pending: dict[int, SetTarget] = {}  # to be started on the next image
        self._last_id = 0
        self._size: tuple[int, int] | None = None  # (width, height) of the images
        self._frames = 0
        self._states: Counter[State] = Counter()
        self._last_reset = self._last_error = ""

    @classmethod
    def make(cls, parameters: Any, log: Callable[[str], None] | None = None) -> SingleObjectPipeline:
        """A pipeline with the tracker that its parameters name; see `Pipeline.make`."""
        from deep_tracking_ros.single_object.registry import make_tracker

        tracker = make_tracker(parameters.model, parameters.backend, parameters.precision, parameters.threads, log)
        return cls(parameters, tracker, owns_tracker=True)

    def remember(self, port: str, item: Frame) -> None:
        """Keep an image for `SetTarget` on a past stamp; may be called from another thread."""
        self.buffer.append(item)

    def step(self, port: str, item: Frame) -> Iterable[Output]:
        """Follow all targets into the next image.

        Raises `InvalidImageError` for one that cannot be decoded; everything is then as if it had not come.
        """
        arrival = self._arrival(item)
        if arrival in (Arrival.DUPLICATE, Arrival.LATE):
            self.time.take(item.stamp, arrival)
            return ()
        height, width = item.image.shape[:2]
        if arrival is Arrival.JUMP:
            assert self.time.newest is not None
            self._forget(f"time jumped from {time_text(self.time.newest)} to {time_text(item.stamp)}")
        if self._size not in (None, (width, height)):
            self._resize(width, height)
        self._size = (width, height)
        self.buffer.append(item)

        # a target may have been set on an image that came after this one
        present = [t for t in self._followed.values() if t.stamp is None or t.stamp <= item.stamp]
        follow(self.tracker, self.thresholds, [t for t in present if t.stamp != item.stamp], item)
        boxes = [t.box() for t in present]
        for id_, request in list(self._pending.items()):
            boxes = [box for box in boxes if box.id != id_] + self._start_pending(id_, request, item)

        self.time.take(item.stamp, arrival)
        self._frames += 1
        self._states = Counter(box.state for box in boxes)
        ordered = tuple(sorted(boxes, key=lambda box: box.id))
        result = TrackedBoxes(
            stamp=item.stamp,
            frame_id=item.frame_id,
            epoch=self.time.epoch,
            valid_at=item.stamp,
            width=width,
            height=height,
            model=self.tracker.card.name,
            boxes=ordered,
        )
        return (Output("boxes", result),)

    def command(self, request: Any) -> Reply:
        """Carry out a request; see `Pipeline.command`."""
        if isinstance(request, SetTarget):
            return self._set_target(request)
        if isinstance(request, RemoveTarget):
            self._check_known(request.id)
            self._followed.pop(request.id, None)
            self._pending.pop(request.id, None)
            return Reply(f"target {request.id} was removed", id=request.id, count=1)
        if isinstance(request, ClearTargets):
            count = len({*self._followed, *self._pending})
            self._followed.clear()
            self._pending.clear()
            return Reply(f"{count} targets were removed", count=count)
        raise InvalidRequestError(f"{type(request).__name__} is no command of {self.name}")

    def reset(self, reason: str) -> None:
        """As after a time jump; kept images are dropped too."""
        self._forget(reason)
        self.time.reset()
        self.buffer.clear()

    def predict(self, output: Output, stamp: int) -> Output:
        """With ``predict_to_now``: boxes that were found, moved to ``stamp`` (ns); LOST ones stay where they are."""
        item: TrackedBoxes = output.item
        limit = nanoseconds(self.parameters.max_prediction)
        dt = min(stamp - item.stamp, limit)
        if not self.parameters.predict_to_now or dt <= 0:
            return output
        beliefs = {t.id: t.motion for t in self._followed.values() if t.stamp == item.stamp}
        boxes = predicted(item.boxes, [beliefs.get(box.id) for box in item.boxes], seconds(dt))
        return Output(output.port, replace(item, boxes=boxes, valid_at=item.stamp + dt))

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Those of the tracker."""
        return self.tracker.engines

    def status(self) -> Mapping[str, str | int | float]:
        """Model, backend and counts; may be called from another thread."""
        counts, states, frames = self.time.counts, self._states, self.buffer.frames()
        return {
            "model": self.tracker.card.name,
            "backend": ", ".join(sorted({engine.backend for engine in self.tracker.engines})),
            "precision": ", ".join(sorted({engine.precision for engine in self.tracker.engines})),
            "frames": self._frames,
            "duplicates": counts[Arrival.DUPLICATE],
            "late": counts[Arrival.LATE],
            "jumps": counts[Arrival.JUMP],
            "epoch": self.time.epoch,
            "targets": len(self._followed),
            "pending": len(self._pending),
            "tracked": states[State.TRACKED],
            "uncertain": states[State.UNCERTAIN],
            "lost": states[State.LOST],
            "buffered_frames": len(frames),
            "buffered_s": seconds(frames[-1].stamp - frames[0].stamp) if frames else 0.0,
            "buffered_mb": sum(frame.nbytes for frame in frames) / 10**6,
            "last_reset": self._last_reset,
            "last_error": self._last_error,
        }

    def close(self) -> None:
        """Drop all targets and images, and the tracker's engines where it is this pipeline's own."""
        self._followed.clear()
        self._pending.clear()
        self.buffer.clear()
        if self._owns_tracker:
            for engine in self.tracker.engines:
                engine.close()

    def _arrival(self, frame: Frame) -> Arrival:
        """How a frame follows the last one processed; a busy node that let many go by has seen no time jump."""
        arrival, newest = self.time.classify(frame.stamp), self.time.newest
        if arrival is Arrival.JUMP and newest is not None and self.buffer.unbroken(newest, frame.stamp):
            return Arrival.NEW
        return arrival

    def _set_target(self, request: SetTarget) -> Reply:
        """Start a target, or one anew; nothing changes where that raises."""
        if request.id:
            self._check_known(request.id)
        elif len({*self._followed, *self._pending}) >= self.parameters.max_targets:
            raise TooManyTargetsError(
                f"{self.parameters.max_targets} targets are followed, which is the parameter max_targets; remove one "
                "first, or raise it"
            )
        if request.stamp < 0:
            raise InvalidRequestError(
                f"the stamp is {request.stamp} ns; it must be that of an image, or 0 for the next"
            )
        frames = self.buffer.since(request.stamp) if request.stamp else ()
        width, height = frames[0].image.shape[1::-1] if frames else self._size or (None, None)
        box = self._check_box(request, width, height)
        followed = self._start(request, box, frames[0]) if frames else None
        id_ = request.id or self._last_id + 1
        caught_up = self._catch_up(followed, frames) if followed else 0

        self._last_id = max(self._last_id, id_)
        self._pending.pop(id_, None)
        if followed is None:
            self._pending[id_] = replace(request, id=id_)
            return Reply(f"target {id_} starts on the next image", id=id_, count=1)
        followed.id = id_
        self._followed[id_] = followed
        text = f"target {id_} was started on the image of stamp {time_text(request.stamp)}"
        if caught_up:
            text += f" and followed through {caught_up} images since; it is {followed.sighting.state.name} now"
        return Reply(text, id=id_, count=1)

    def _check_known(self, id_: int) -> None:
        known = sorted({*self._followed, *self._pending})
        if id_ not in known:
            listing = ", ".join(map(str, known)) or "none, since no target is followed"
            raise UnknownTargetError(f"there is no target {id_}; known ids are {listing}")

    def _check_box(self, request: SetTarget, width: int | None, height: int | None) -> FloatArray:
        """The box cut to the image; where the image's size is not known yet, checked for all but its place."""
        if width is not None and height is not None:
            return check_box(request.box, width, height, self.tracker.smallest)
        with suppress(OutsideImageError):
            check_box(request.box, 1, 1, self.tracker.smallest)
        return np.asarray(request.box, np.float32)

    def _start(self, request: SetTarget, box: FloatArray, frame: Frame) -> Followed:
        (target,) = self.tracker.start(frame.image, box[None])
        old = self._followed.get(request.id)
        label = request.label or (old.label if old else "")
        return Followed.start(request.id, label, target, frame.stamp, box)

    def _catch_up(self, followed: Followed, frames: Sequence[Frame]) -> int:
        """Follow a new target from ``frames[0]`` to the newest processed frame; gives how many frames were used.

        Frames that no `step` has seen yet are left to `step`.
        """
        newest = self.time.newest
        later = [frame for frame in frames[1:] if newest is not None and frame.stamp <= newest]
        # evenly thinned out, and always with the last, so that the target then stands where all others do
        stride = -(-len(later) // self.parameters.catch_up_frames) if later else 1
        chosen = later[::-1][::stride][::-1]
        used = 0
        for frame in chosen:
            with suppress(InvalidImageError):  # step could not use it either
                follow(self.tracker, self.thresholds, [followed], frame)
                used += 1
        return used

    def _start_pending(self, id_: int, request: SetTarget, frame: Frame) -> list[TrackedBox]:
        """Start a target on the image that it waited for; gives what is to be published of it."""
        height, width = frame.image.shape[:2]
        try:
            box = self._check_box(request, width, height)
        except OutsideImageError as error:
            del self._pending[id_]
            self._last_error = f"target {id_}: {error}"
            if id_ in self._followed:  # it was to be started anew, and goes on as it is
                return [self._followed[id_].box()]
            return [TrackedBox(id_, np.asarray(request.box, np.float32), State.LOST, 0.0, request.label)]
        self._followed[id_] = self._start(request, box, frame)
        del self._pending[id_]
        return [self._followed[id_].box()]

    def _forget(self, reason: str) -> None:
        """Drop what depends on time: targets stay known, LOST and without motion."""
        self._last_reset = reason
        for t in self._followed.values():
            t.forget_time()

    def _resize(self, width: int, height: int) -> None:
        assert self._size is not None
        self.reset(f"the image size changed from {self._size[0]}x{self._size[1]} to {width}x{height}")
        ratio = np.tile(np.divide([width, height], self._size), 2)
        for t in self._followed.values():
            t.target.box = _scaled(t.target.box, ratio)
            t.sighting = replace(t.sighting, box=_scaled(t.sighting.box, ratio))


def _scaled(box: FloatArray, ratio: NDArray[np.float64]) -> FloatArray:
    """A box after the image was resized; the outer edges of both images fall together."""
    return ((box + 0.5) * ratio - 0.5).astype(np.float32)

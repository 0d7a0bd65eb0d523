"""Follow objects that an operator points out: a box in one image, then the object in every image after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from deep_tracking_ros.errors import (
    InvalidRequestError,
    TooManyTargetsError,
)
from deep_tracking_ros.inference.engine import Engine
from deep_tracking_ros.pipelines.black_box import BlackBox, Place
from deep_tracking_ros.pipelines.followed import Search, image_size, predicted
from deep_tracking_ros.pipelines.frame_buffer import FrameBuffer, time_text
from deep_tracking_ros.pipelines.others import Others
from deep_tracking_ros.pipelines.pipeline import Memory, Output, Pipeline, Reply
from deep_tracking_ros.pipelines.requests import ClearTargets, RemoveTarget, SetTarget
from deep_tracking_ros.pipelines.search import SearchRules
from deep_tracking_ros.pipelines.single_object_parameters import SingleObjectParameters
from deep_tracking_ros.pipelines.states import Thresholds
from deep_tracking_ros.pipelines.targets import Targets
from deep_tracking_ros.pipelines.time_keeper import Arrival, TimeKeeper, TimeRules
from deep_tracking_ros.single_object.tracker import SingleObjectTracker
from deep_tracking_ros.types import Detections, Frame, State, TrackedBoxes, nanoseconds, seconds


class SingleObjectPipeline(Pipeline):
    """Boxes in, boxes out: one `TrackedBoxes` per processed image, also while there is no target.

    Time. An image with the stamp of the newest one is a duplicate, an older one is late: both are counted and give
    nothing. After a time jump the epoch counts up, all targets are LOST until found and their motion is forgotten.
    A change of the image size counts as a jump too, since boxes before and after it cannot be compared; the places of
    the targets are scaled to the new size. Images of before it are kept.

    Targets. With a stamp, `SetTarget` starts a target on that kept image and follows it through the kept images up to
    the newest processed one before it returns; on a kept image that was not processed yet it starts when that is, or
    one after it. With stamp 0 it starts on the next image. Its box is checked at once where the size of the images is
    known, else on that image. A target that cannot be started then is published once as LOST with score 0 and is gone,
    and ``last_error`` in the status says why. Ids are never used twice.

    Images. All are kept as they came by `remember`; decoded is only the newest one that was processed.
    """

    name = "single_object_tracker"
    Parameters = SingleObjectParameters
    inputs: ClassVar[Mapping[str, type]] = {"image": Frame, "tracks": TrackedBoxes, "proposals": Detections}
    optional: ClassVar[frozenset[str]] = frozenset({"tracks", "proposals"})
    remembered: ClassVar[frozenset[str]] = optional
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
            tracker.card.thresholds,
            parameters.tracked_threshold,
            parameters.lost_threshold,
            parameters.confirm_frames,
            parameters.doubt_frames,
        )
        self.search = SearchRules(parameters.search_windows, parameters.search_speed)
        rules = TimeRules.of_seconds(parameters.reorder_tolerance, parameters.max_gap)
        self.time = TimeKeeper(rules)
        span = nanoseconds(parameters.frame_buffer)
        if parameters.black_box:
            self.black_box = Place(parameters.black_box, parameters.black_box_mb * 10**6)
            span = max(span, nanoseconds(parameters.black_box_seconds))
        self.recorder = BlackBox(nanoseconds(parameters.black_box_seconds))
        self.buffer = FrameBuffer(span, parameters.frame_buffer_mb * 10**6, rules)
        self.others = Others(self.buffer.span, rules)
        self._owns_tracker = owns_tracker
        self.targets = Targets(tracker, self.thresholds, self.buffer, parameters.catch_up_frames)
        self._newest: Frame | None = None  # of those processed
        self._size: tuple[int, int] | None = None  # (width, height) of the images
        self._frames = 0
        self._states: Counter[State] = Counter()
        self._last_reset = ""

    @classmethod
    def make(cls, parameters: Any, log: Callable[[str], None] | None = None) -> SingleObjectPipeline:
        """A pipeline with the tracker that its parameters name; see `Pipeline.make`."""
        from deep_tracking_ros.single_object.registry import make_tracker

        tracker = make_tracker(parameters.model, parameters.backend, parameters.precision, parameters.threads, log)
        return cls(parameters, tracker, owns_tracker=True)

    def remember(self, port: str, item: Any) -> None:
        """Keep an image for `SetTarget` on a past stamp, or what others saw; may be called from one other thread."""
        if port == "image":
            self.buffer.append(item)
        else:
            self.others.append(item)

    def step(self, port: str, item: Any) -> Iterable[Output]:
        """Follow all targets into the next image; tracks and proposals serve by `remember` alone and give nothing.

        Raises `InvalidImageError` for one that cannot be decoded; everything is then as if it had not come.
        """
        if port != "image":
            return ()
        arrival = self._arrival(item)
        if arrival in (Arrival.DUPLICATE, Arrival.LATE):
            self.time.take(item.stamp, arrival)
            return ()
        size = image_size(item)
        # here, not where newer images arrive, since nobody works on the image before this one any more
        if self._newest is not None and self._newest is not item:
            self._newest.release()
        self._take(item, arrival, size)
        before = self.targets.states()
        boxes = self.targets.step(item, Search(self.search, self.others.proposals(item.stamp, item.frame_id)))
        self._frames += 1
        self._states = Counter(box.state for box in boxes)
        width, height = size
        result = TrackedBoxes(
            stamp=item.stamp,
            frame_id=item.frame_id,
            epoch=self.time.epoch,
            valid_at=item.stamp,
            width=width,
            height=height,
            model=self.tracker.card.name,
            boxes=boxes,
        )
        outputs = [Output("boxes", result)]
        if self.black_box is not None:
            recording = self.recorder.take(result, before, self.buffer.frames())
            outputs += [] if recording is None else [Output("black_box", recording)]
        return outputs

    def command(self, request: Any) -> Reply:
        """Carry out a request; see `Pipeline.command`."""
        if isinstance(request, SetTarget):
            return self._set_target(request)
        if isinstance(request, RemoveTarget):
            self.targets.remove(request.id)
            return Reply(f"target {request.id} was removed", id=request.id, count=1)
        if isinstance(request, ClearTargets):
            count = self.targets.clear()
            return Reply(f"{count} targets were removed", count=count)
        return super().command(request)

    def reset(self, reason: str) -> None:
        """As after a time jump; kept images are dropped too."""
        self._last_reset = reason
        self.targets.forget_time()
        self.recorder.clear()
        self.time.reset()
        self.buffer.clear()
        self.others.clear()

    def predict(self, output: Output, stamp: int) -> Output:
        """With ``predict_to_now``: boxes that were found, moved to ``stamp`` (ns); LOST ones stay where they are."""
        item: TrackedBoxes = output.item
        limit = nanoseconds(self.parameters.max_prediction)
        dt = min(stamp - item.stamp, limit)
        if not self.parameters.predict_to_now or dt <= 0:
            return output
        beliefs = {t.id: t.measured_motion() for t in self.targets.followed.values() if t.stamp == item.stamp}
        boxes = predicted(item.boxes, [beliefs.get(box.id) for box in item.boxes], seconds(dt))
        return Output(output.port, replace(item, boxes=boxes, valid_at=item.stamp + dt))

    def memory(self) -> Memory:
        """See `Pipeline.memory`."""
        return Memory(self.targets.last_id, self.time.epoch + 1)

    def resume(self, memory: Memory) -> None:
        """See `Pipeline.resume`."""
        self.targets.last_id, self.time.epoch = memory.last_id, memory.epoch

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
            "targets": len(self.targets.followed),
            "pending": len(self.targets.waiting),
            "tracked": states[State.TRACKED],
            "uncertain": states[State.UNCERTAIN],
            "lost": states[State.LOST],
            "buffered_frames": len(frames),
            "buffered_s": seconds(frames[-1].stamp - frames[0].stamp) if frames else 0.0,
            "buffered_mb": sum(frame.nbytes for frame in frames) / 10**6,
            "last_reset": self._last_reset,
            "last_error": self.targets.last_error,
        }

    def warnings(self) -> tuple[str, ...]:
        """See `Pipeline.warnings`: what others see in images of another camera."""
        if (newest := self._newest) is None:
            return ()
        return tuple(
            f"tracks or proposals of frame {name!r} are of no use: the images are of frame {newest.frame_id!r}"
            for name in sorted(self.others.strangers(newest.frame_id))
        )

    def close(self) -> None:
        """Drop all targets and images, and the tracker's engines where it is this pipeline's own."""
        self.targets.clear()
        self.buffer.clear()
        self.others.clear()
        self._newest = None
        if self._owns_tracker:
            for engine in self.tracker.engines:
                engine.close()

    def _arrival(self, frame: Frame) -> Arrival:
        """How a frame follows the last one processed; the buffer knows of those between, which were dropped."""
        arrival, newest = self.time.classify(frame.stamp), self.time.newest
        if newest is None or self._newest is None:
            return arrival
        before, now = self.buffer.run_of(self._newest), self.buffer.run_of(frame)
        if before is None or now is None:
            return arrival
        if before != now:
            return Arrival.JUMP
        busy = arrival is Arrival.JUMP and frame.stamp > newest  # many were dropped, and time did not jump
        return Arrival.NEW if busy else arrival

    def _take(self, frame: Frame, arrival: Arrival, size: tuple[int, int]) -> None:
        """Count a frame that can be used; after a time jump or with another size, all that is known is of before."""
        reasons = []
        if arrival is Arrival.JUMP:
            assert self.time.newest is not None
            reasons.append(f"time jumped from {time_text(self.time.newest)} to {time_text(frame.stamp)}")
        if self._size is not None and size != self._size:
            reasons.append("the image size changed from {}x{} to {}x{}".format(*self._size, *size))
            if arrival is Arrival.NEW:
                self.time.reset()
        if reasons:
            self.targets.forget_time()
            self.recorder.clear()
            self._last_reset = " and ".join(reasons)
        self.time.take(frame.stamp, arrival)
        self._newest, self._size = frame, size

    def _set_target(self, request: SetTarget) -> Reply:
        """Start a target, or one anew; nothing changes where that raises."""
        if request.id:
            self.targets.check_known(request.id)
        elif len(self.targets.ids) >= self.parameters.max_targets:
            raise TooManyTargetsError(
                f"{self.parameters.max_targets} targets are followed, which is the parameter max_targets; remove one "
                "first, or raise it"
            )
        if request.stamp < 0:
            raise InvalidRequestError(
                f"the stamp is {request.stamp} ns; it must be that of an image, or 0 for the next"
            )
        if request.track_id:
            request = self._of_track(request)
        if not request.stamp:
            self.targets.check_box(request.box, self._size)
            id_ = self.targets.wait(request, None)
            return Reply(f"target {id_} starts on the next image", id=id_, count=1)
        frame = self.buffer.find(request.stamp)
        try:
            return self._set_target_on(frame, request)
        finally:
            if frame is not self._newest:
                frame.release()

    def _of_track(self, request: SetTarget) -> SetTarget:
        """The request with box, stamp and label of the track that it names."""
        if (request.box[2:] > request.box[:2]).any():
            raise InvalidRequestError(
                f"the request names track {request.track_id} and gives a box too; give one of them, with size 0 of the "
                "box beside a track"
            )
        images = self.buffer.frames()
        frame_id = images[-1].frame_id if images else None
        box, stamp = self.others.track(request.track_id, request.stamp, frame_id)
        return replace(request, box=box.box, stamp=stamp, label=request.label or box.label)

    def _set_target_on(self, frame: Frame, request: SetTarget) -> Reply:
        self.targets.check_box(request.box, image_size(frame))
        newest = self.time.newest
        if newest is None or self._newest is None or not self.targets.has_come(frame, self._newest):
            id_ = self.targets.wait(request, frame)
            text = (
                f"target {id_} starts on the image of stamp {time_text(request.stamp)}, which is still to be processed"
            )
            return Reply(text, id=id_, count=1)
        target, used = self.targets.start(request, frame, newest)
        text = f"target {target.id} was started on the image of stamp {time_text(request.stamp)}"
        if used:
            text += f" and followed through {used} images since; it is {target.sighting.state.name} now"
        return Reply(text, id=target.id, count=1)


__all__ = ["SingleObjectParameters", "SingleObjectPipeline"]

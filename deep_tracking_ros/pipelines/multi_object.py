"""Give the detections of a detector ids that stay with their objects, from image to image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from deep_tracking_ros.errors import InvalidImageError, InvalidRequestError, NoFrameError
from deep_tracking_ros.multi_object.parts.camera_motion import CameraMotion
from deep_tracking_ros.multi_object.parts.kalman import SMALLEST
from deep_tracking_ros.multi_object.parts.labels import Labels
from deep_tracking_ros.multi_object.tracker import FAR, Boxes, MultiObjectTracker, Settings, Tracks
from deep_tracking_ros.parameters import parameter, part
from deep_tracking_ros.pipelines import timing
from deep_tracking_ros.pipelines.frame_buffer import FrameBuffer, time_text
from deep_tracking_ros.pipelines.pipeline import Memory, Output, Pipeline
from deep_tracking_ros.pipelines.turns import Turn, Turns
from deep_tracking_ros.types import (
    Detections,
    FloatArray,
    Frame,
    Matrix,
    State,
    TrackedBox,
    TrackedBoxes,
    nanoseconds,
    seconds,
)

IMAGES_S, IMAGES_MB = 1.0, 256
"""Images that wait for their detections: span in s beyond ``reorder_wait``, memory in MB."""


@dataclass(frozen=True)
class MultiObjectParameters:
    """Parameters of `MultiObjectPipeline`. Overlaps are intersections over union."""

    high_score: float = parameter(0.6, "Detections from this score on are associated first.", minimum=0, maximum=1)
    low_score: float = parameter(0.1, "Detections below this score are not looked at.", minimum=0, maximum=1)
    start_score: float = parameter(0.7, "Detections from this score on may begin a track.", minimum=0, maximum=1)
    overlap: float = parameter(
        0.2, "Least overlap times score of a detection and the place where a track is expected.", minimum=0, maximum=1
    )
    low_overlap: float = parameter(0.5, "The same for detections of low score, overlap alone.", minimum=0, maximum=1)
    tentative_overlap: float = parameter(
        0.3, "The same for tentative tracks, overlap times score.", minimum=0, maximum=1
    )
    confirm_after: int = parameter(2, "Detections until a track is CONFIRMED.", minimum=1, maximum=1000)
    occluded_time: float = parameter(
        0.3, "Time without a detection after which an OCCLUDED track is LOST.", unit="s", minimum=0, maximum=3600
    )
    memory: float = parameter(
        1.0, "Time without a detection after which a track is forgotten.", unit="s", minimum=0, maximum=3600
    )
    camera_motion: bool = parameter(
        False, "Subscribe to the images, and take the camera's motion out of that of the objects."
    )
    reorder_wait: float = timing.reorder_wait("Detections")
    reorder_tolerance: float = timing.reorder_tolerance("Detections")
    max_gap: float = timing.max_gap("images")
    predict_to_now: bool = timing.predict_to_now("velocity")
    max_prediction: float = timing.max_prediction()


class MultiObjectPipeline(Pipeline):
    """Detections in, boxes with ids out: one `TrackedBoxes` per `Detections`, also while there is nothing in them.

    Time is as in `Turns`: results are late by ``reorder_wait``. After a time jump, or with another frame id, all tracks
    are forgotten, since boxes before and after it cannot be compared. Ids are never used twice.

    Images are used for the camera's motion only. An image must come before the detections that were found in it, with
    their stamp and frame id. Where it is missing or cannot be decoded, the camera counts as still, and `warnings` says
    why.
    """

    name = "multi_object_tracker"
    Parameters = MultiObjectParameters
    inputs: ClassVar[Mapping[str, type]] = {"detections": Detections, "image": Frame}
    outputs: ClassVar[Mapping[str, type]] = {"boxes": TrackedBoxes}
    commands: ClassVar[Mapping[str, type]] = {}
    remembered = frozenset({"image"})

    def __init__(self, parameters: MultiObjectParameters) -> None:
        """Raises `InvalidRequestError` where parameters contradict each other."""
        if parameters.low_score > parameters.high_score:
            raise InvalidRequestError(
                f"low_score is {parameters.low_score:g}, it must not be above high_score, {parameters.high_score:g}"
            )
        if parameters.start_score < parameters.high_score:
            raise InvalidRequestError(
                f"start_score is {parameters.start_score:g}, it must not be below high_score, "
                f"{parameters.high_score:g}: boxes between them would begin tracks that no such box continues"
            )
        self.parameters: MultiObjectParameters = parameters
        self.turns: Turns[Detections] = Turns(parameters.reorder_wait, parameters.reorder_tolerance, parameters.max_gap)
        self.tracker = MultiObjectTracker(part(Settings, parameters))
        span = nanoseconds(IMAGES_S + parameters.reorder_wait)
        self.images = FrameBuffer(span, IMAGES_MB * 10**6, self.turns.time.rules)
        if not parameters.camera_motion:
            self.inputs = {"detections": Detections}  # type: ignore[misc]  # images are not asked for
        self._camera = CameraMotion()
        self._labels = Labels()
        self._kinds = np.zeros(0, np.intp)  # of the tracks, numbers of labels
        self._size = (0, 0)  # width, height of the images, px; 0 = unknown
        self._given: list[tuple[TrackedBoxes, Tracks]] = []  # results of the last step
        self._frames = self._unusable = self._without_image = 0
        self._states: Counter[State] = Counter()
        self._problems: tuple[str, ...] = ()  # of the newest detections
        self._last_problem = self._last_reset = ""

    def remember(self, port: str, item: Any) -> None:
        """Keep an image for its detections; may be called from another thread."""
        if port == "image" and self.parameters.camera_motion:
            self.images.append(item)

    def step(self, port: str, item: Any) -> Iterable[Output]:
        """Take detections (port ``detections``); images serve by `remember` alone and give no output of their own."""
        if port == "image":
            return ()
        self._given = [self._process(turn) for turn in self.turns.take(item)]
        return tuple(Output("boxes", result) for result, _ in self._given)

    def reset(self, reason: str) -> None:
        """As after a time jump; detections that wait are dropped too."""
        self._forget(reason)
        self.turns.reset()
        self.images.clear()

    def predict(self, output: Output, stamp: int) -> Output:
        """With ``predict_to_now``: boxes moved to ``stamp`` (ns) along their velocity, with the doubt of then.

        LOST ones stay. Only what the last `step` gave is moved.
        """
        item: TrackedBoxes = output.item
        dt = min(stamp - item.stamp, nanoseconds(self.parameters.max_prediction))
        tracks = next((tracks for result, tracks in self._given if result.boxes is item.boxes), None)
        if not self.parameters.predict_to_now or dt <= 0 or tracks is None:
            return output
        later = self.tracker.predicted(tracks, seconds(dt))
        moved = zip(item.boxes, later.boxes.astype(np.float32), _doubt(later), strict=True)
        boxes = tuple(
            box if box.state is State.LOST else replace(box, box=place, covariance=doubt) for box, place, doubt in moved
        )
        return Output(output.port, replace(item, boxes=boxes, valid_at=item.stamp + dt))

    def memory(self) -> Memory:
        """See `Pipeline.memory`."""
        return Memory(self.tracker.last_id, self.turns.time.epoch + 1)

    def resume(self, memory: Memory) -> None:
        """See `Pipeline.resume`."""
        self.tracker.last_id, self.turns.time.epoch = memory.last_id, memory.epoch

    def status(self) -> Mapping[str, str | int | float]:
        """Counts; may be called from another thread."""
        states = self._states
        return {
            "frames": self._frames,
            **self.turns.status(),
            "unusable_detections": self._unusable,
            "without_image": self._without_image,
            "tentative": states[State.TENTATIVE],
            "confirmed": states[State.CONFIRMED],
            "occluded": states[State.OCCLUDED],
            "lost": states[State.LOST],
            "last_problem": self._last_problem,
            "last_reset": self._last_reset,
        }

    def warnings(self) -> tuple[str, ...]:
        """See `Pipeline.warnings`: what of the newest detections could not be used, and why not their image."""
        return self._problems

    def _process(self, turn: Turn[Detections]) -> tuple[TrackedBoxes, Tracks]:
        item = turn.item
        if turn.jump:
            self._forget(turn.jump)
        self._problems = ()
        found = self._boxes(item)
        tracks = self.tracker.step(item.stamp, found, self._camera_motion(item, found))
        self._kinds = tracks.kinds
        self._frames += 1
        boxes = self._tracked(tracks)
        self._states = Counter(box.state for box in boxes)
        width, height = self._size
        return TrackedBoxes(item.stamp, item.frame_id, turn.epoch, item.stamp, width, height, "", boxes), tracks

    def _boxes(self, item: Detections) -> Boxes:
        """What the tracker takes; detections that cannot be used are left out and told of."""
        detections = item.detections
        boxes = np.array([d.box for d in detections], np.float64).reshape(-1, 4)
        scores = np.array([d.score for d in detections], np.float64)
        near, large = np.abs(boxes) < FAR, boxes[:, :2] + SMALLEST <= boxes[:, 2:]  # false for nan
        good = near.all(1) & large.all(1) & (scores >= 0) & (scores <= 1)
        if count := int(np.count_nonzero(~good)):
            self._unusable += count
            self._note(f"{count} of {len(detections)} detections cannot be used: {_reasons(boxes, scores)}")
            detections = tuple(d for d, use in zip(detections, good, strict=True) if use)
            boxes, scores = boxes[good], scores[good]
        looks, problem = _looks([d.embedding for d in detections])
        if problem:
            self._note(problem)
        return Boxes(
            boxes=boxes,
            scores=scores,
            kinds=self._labels.number([d.label for d in detections], self._kinds),
            embeddings=looks,
        )

    def _note(self, problem: str) -> None:
        self._problems = (*self._problems, problem)
        self._last_problem = problem

    def _camera_motion(self, item: Detections, found: Boxes) -> Any:
        """(2, 3) motion of the camera since the last detections; None where images are missing, which is told."""
        if not self.parameters.camera_motion:
            return None
        try:
            frame = self._image_of(item)
            height, width = frame.image.shape[:2]
        except (NoFrameError, InvalidImageError) as error:
            self._without_image += 1
            self._note(f"the camera counts as still: {error}")
            self._camera.reset()
            return None
        self._size = (width, height)
        return self._camera.step(frame.image, found.boxes)

    def _image_of(self, item: Detections) -> Frame:
        """The image in which the detections were found. Raises `NoFrameError` that says why there is none."""
        frames, stamp = self.images.frames(), time_text(item.stamp)
        if not frames:
            raise NoFrameError("no images have come; camera_motion needs those in which the detections are found")
        frame = next((f for f in frames if f.stamp == item.stamp), None)
        if frame is None:
            first, last = time_text(frames[0].stamp), time_text(frames[-1].stamp)
            raise NoFrameError(
                f"no image has the stamp of the detections, {stamp}; {len(frames)} are kept, from {first} to {last}. "
                "Detections must carry the stamp of their image as it is"
            )
        if frame.frame_id != item.frame_id:
            raise NoFrameError(
                f"the image of stamp {stamp} has the frame id {frame.frame_id!r} and the detections {item.frame_id!r}: "
                "are they of another camera?"
            )
        return frame

    def _tracked(self, tracks: Tracks) -> tuple[TrackedBox, ...]:
        boxes, velocities = tracks.boxes.astype(np.float32), tracks.velocities.astype(np.float32)
        covariances = _doubt(tracks)
        return tuple(
            TrackedBox(
                id=id_,
                box=boxes[row],
                state=State(state),
                score=score,
                label=self._labels.names[kind],
                velocity=velocities[row],
                covariance=covariances[row] if state != State.LOST else None,
                age=age,
                unseen=unseen,
            )
            for row, (id_, state, score, kind, age, unseen) in enumerate(
                zip(
                    tracks.ids.tolist(),
                    tracks.states.tolist(),
                    tracks.scores.tolist(),
                    tracks.kinds.tolist(),
                    tracks.ages.tolist(),
                    tracks.unseen.tolist(),
                    strict=True,
                )
            )
        )

    def _forget(self, reason: str) -> None:
        self.tracker.forget()
        self._kinds = self._kinds[:0]
        self._camera.reset()
        self._states = Counter()
        self._last_reset = reason


def _reasons(boxes: Matrix, scores: Matrix) -> str:
    """Why some of the detections cannot be used; one may be small and of a wrong score."""
    finite = np.isfinite(boxes).all(1) & np.isfinite(scores)
    wrong = {
        "not finite": ~finite,
        f"further off than {FAR:g} px": (np.abs(boxes) >= FAR).any(1) & finite,
        "smaller than a pixel (are they in px?)": (boxes[:, :2] + SMALLEST > boxes[:, 2:]).any(1) & finite,
        "of a score outside of 0 to 1": ((scores < 0) | (scores > 1)) & finite,
    }
    return ", ".join(f"{np.count_nonzero(rows)} {reason}" for reason, rows in wrong.items() if rows.any())


def _looks(embeddings: Sequence[FloatArray | None]) -> tuple[Matrix | None, str]:
    """(N, D) embeddings of unit length, of zeros where there is none; and what is wrong, empty = nothing."""
    lengths = sorted({len(look) for look in embeddings if look is not None})
    if len(lengths) > 1:
        return None, f"embeddings of {' and '.join(map(str, lengths))} numbers cannot be compared, so none is looked at"
    if not lengths:
        return None, ""
    looks = np.array([np.zeros(lengths[0]) if look is None else look for look in embeddings], np.float64)
    finite = np.asarray(np.isfinite(looks).all(1))
    looks[~finite] = 0
    norms = np.linalg.norm(looks, axis=1, keepdims=True)
    count = np.count_nonzero(~finite)
    problem = f"{count} of {len(embeddings)} embeddings are not finite" if count else ""
    return looks / np.where(norms > 0, norms, 1), problem


def _doubt(tracks: Tracks) -> FloatArray:
    """(N, 4, 4) covariances of the boxes of tracks, as messages have them."""
    return np.asarray(tracks.covariance[0][:, None, None] * np.eye(4), np.float32)

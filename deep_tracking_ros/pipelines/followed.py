"""One followed target, and the step that takes all of them through an image in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes import area, cxcywh_to_xyxy
from deep_tracking_ros.pipelines import motion
from deep_tracking_ros.pipelines.motion import Motion
from deep_tracking_ros.pipelines.search import Progress, SearchRules, hypotheses, shares
from deep_tracking_ros.pipelines.states import Sighting, Thresholds
from deep_tracking_ros.single_object.tracker import Estimate, SingleObjectTracker, Target
from deep_tracking_ros.types import FloatArray, Frame, State, TrackedBox, seconds


@dataclass(eq=False)
class Followed:
    """One target and all that is known of it."""

    id: int
    label: str
    target: Target
    stamp: int | None  # ns, of the last image in which it was looked for; None after a time jump
    size: tuple[int, int]  # px, (width, height) of that image: boxes are in its pixels
    sighting: Sighting
    estimate: Estimate
    motion: Motion | None  # None while LOST
    age: int = 0  # ns
    progress: Progress = field(default_factory=Progress)  # of the search since it was lost

    @classmethod
    def start(
        cls, id_: int, label: str, target: Target, stamp: int, size: tuple[int, int], box: FloatArray
    ) -> Followed:
        """A target in its first image, where it is at the box that the operator drew."""
        sighting = Sighting(State.TRACKED, box)
        return cls(id_, label, target, stamp, size, sighting, Estimate(box, 1.0), motion.start(box))

    def forget_time(self) -> None:
        """As after a time jump: LOST, without motion or score, and the time to the next image is unknown."""
        self.sighting = self.sighting.lost()
        self.estimate = replace(self.estimate, score=-1.0)
        self.motion = None
        self.stamp = None

    def resize(self, size: tuple[int, int]) -> None:
        """As after a time jump where images have another size from now on; the place is scaled to it."""
        if size == self.size:
            return
        self.forget_time()
        ratio = np.tile(np.divide(size, self.size), 2)
        self.target.box = _scaled(self.target.box, ratio)
        self.sighting = replace(self.sighting, box=_scaled(self.sighting.box, ratio))
        self.size = size

    def measured_motion(self) -> Motion | None:
        """Belief about the box as it is published, which is the measured one; None while LOST."""
        return self.motion and motion.measured(self.motion, self.estimate.box, self.estimate.score)

    def box(self) -> TrackedBox:
        """The target as it is published: a lost one stands still where it was last found.

        The box of one that is not lost is what the tracker measured, not filtered, with the variance of that.
        """
        common = TrackedBox(
            id=self.id,
            box=self.sighting.box,
            state=self.sighting.state,
            score=self.estimate.score,
            label=self.label,
            age=seconds(self.age),
            unseen=seconds(self.sighting.unseen),
        )
        belief = self.measured_motion()
        if belief is None:
            return common
        return replace(
            common,
            box=self.estimate.box,
            velocity=belief.velocity,
            covariance=belief.position_covariance,
            contour=self.estimate.contour,
            mask=self.estimate.mask,
        )


@dataclass(frozen=True, eq=False)
class Search:
    """What is done to find lost targets again: the rules, and boxes (N, 4) xyxy px of objects that somebody sees."""

    rules: SearchRules
    proposals: FloatArray


def follow(
    tracker: SingleObjectTracker,
    thresholds: Thresholds,
    targets: Sequence[Followed],
    frame: Frame,
    search: Search | None = None,
) -> None:
    """Look for targets in a frame, all in one batch, and update what is known of them.

    With a ``search``, lost ones are looked for elsewhere too, in the same batch; one goes on where its score is best.
    """
    if not targets:
        return
    for t in targets:
        t.resize(image_size(frame))
    probes = [] if search is None else _probes(tracker, targets, frame, search)
    estimates = tracker.track(frame.image, [*(t.target for t in targets), *(probe for _, probe in probes)])
    moving: list[tuple[Followed, Motion, float]] = []
    for t, estimate in zip(targets, estimates, strict=False):
        t.estimate = estimate
    for (t, probe), estimate in zip(probes, estimates[len(targets) :], strict=True):
        if estimate.score >= thresholds.lost and not estimate.score <= t.estimate.score:
            t.target, t.estimate = probe, estimate
    for t in targets:
        dt = 0 if t.stamp is None else frame.stamp - t.stamp
        t.sighting = t.sighting.next(thresholds, t.estimate.box, t.estimate.score, dt)
        t.stamp = frame.stamp
        t.age += dt
        if t.sighting.state is State.LOST:
            t.motion = None
            continue
        t.progress = Progress()
        if t.motion is None:
            t.motion = motion.start(t.estimate.box, t.estimate.score)
        else:
            moving.append((t, t.motion, seconds(dt)))
    if moving:
        followed, motions, elapsed = zip(*moving, strict=True)
        boxes = np.stack([t.estimate.box for t in followed])
        scores = [t.estimate.score for t in followed]
        after = motion.update(motion.predict(motion.stack(motions), elapsed), boxes, scores)
        for i, t in enumerate(followed):
            t.motion = after[i]


def _probes(
    tracker: SingleObjectTracker, targets: Sequence[Followed], frame: Frame, search: Search
) -> list[tuple[Followed, Target]]:
    """Copies of lost targets at the places where they are looked for in this frame.

    One that has just scored well is not: whether it does so again is the question.
    """
    lost = [t for t in targets if t.sighting.state is State.LOST and not t.sighting.run]
    probes = []
    for t, count in zip(lost, shares(search.rules.windows, [t.progress for t in lost]), strict=True):
        unseen = t.sighting.unseen + (0 if t.stamp is None else frame.stamp - t.stamp)
        box = t.sighting.box
        radius = float(np.sqrt(area(box))) * (tracker.reach + search.rules.speed * seconds(unseen))
        places, t.progress = hypotheses(
            box, image_size(frame), tracker.reach, radius, search.proposals, count, t.progress
        )
        probes += [(t, t.target.at(place)) for place in places]
    return probes


def image_size(frame: Frame) -> tuple[int, int]:
    """(width, height), px."""
    height, width = frame.image.shape[:2]
    return width, height


def _scaled(box: FloatArray, ratio: NDArray[np.float64]) -> FloatArray:
    """A box after the image was resized; the outer edges of both images fall together."""
    return ((box + 0.5) * ratio - 0.5).astype(np.float32)


def predicted(boxes: Sequence[TrackedBox], beliefs: Sequence[Motion | None], dt: float) -> tuple[TrackedBox, ...]:
    """Published boxes moved ``dt`` seconds along their velocity, with what is drawn on them; covariances grow.

    ``beliefs`` are about the boxes as published (`Followed.measured_motion`). A box without one (its target is LOST)
    stays as it is.
    """
    moving = {i: belief for i, belief in enumerate(beliefs) if belief is not None}
    if not moving:
        return tuple(boxes)
    before = motion.stack(list(moving.values()))
    after = motion.predict(before, dt)
    later = cxcywh_to_xyxy(after.position)
    result = list(boxes)
    for row, i in enumerate(moving):
        box, shift = boxes[i], after.position[row, :2] - before.position[row, :2]
        x, y = (round(float(v)) for v in shift)
        result[i] = replace(
            box,
            box=later[row],
            covariance=after.position_covariance[row],
            contour=None if box.contour is None else box.contour + shift,
            mask=None if box.mask is None else replace(box.mask, x=box.mask.x + x, y=box.mask.y + y),
        )
    return tuple(result)

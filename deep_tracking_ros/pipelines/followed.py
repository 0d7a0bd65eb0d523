"""One followed target, and the step that takes all of them through an image in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.pipelines import motion
from deep_tracking_ros.pipelines.motion import Motion
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
    sighting: Sighting
    estimate: Estimate
    motion: Motion | None  # None while LOST
    age: int = 0  # ns

    @classmethod
    def start(cls, id_: int, label: str, target: Target, stamp: int, box: FloatArray) -> Followed:
        """A target in its first image, where it is at the box that the operator drew."""
        return cls(id_, label, target, stamp, Sighting(State.TRACKED, box), Estimate(box, 1.0), motion.start(box))

    def forget_time(self) -> None:
        """As after a time jump: LOST, without motion, and the time to the next image is unknown."""
        self.sighting = self.sighting.lost()
        self.motion = None
        self.stamp = None

    def box(self) -> TrackedBox:
        """The target as it is published: a lost one stands still where it was last found."""
        common = TrackedBox(
            id=self.id,
            box=self.sighting.box,
            state=self.sighting.state,
            score=self.estimate.score,
            label=self.label,
            age=seconds(self.age),
            unseen=seconds(self.sighting.unseen),
        )
        if self.motion is None:
            return common
        return replace(
            common,
            box=self.estimate.box,
            velocity=self.motion.velocity,
            covariance=self.motion.position_covariance,
            contour=self.estimate.contour,
            mask=self.estimate.mask,
        )


def follow(tracker: SingleObjectTracker, thresholds: Thresholds, targets: Sequence[Followed], frame: Frame) -> None:
    """Look for targets in a frame, all in one batch, and update what is known of them."""
    if not targets:
        return
    estimates = tracker.track(frame.image, [t.target for t in targets])
    moving: list[tuple[Followed, Motion, float]] = []
    for t, estimate in zip(targets, estimates, strict=True):
        dt = 0 if t.stamp is None else frame.stamp - t.stamp
        t.estimate = estimate
        t.sighting = t.sighting.next(thresholds, estimate.box, estimate.score, dt)
        t.stamp = frame.stamp
        t.age += dt
        if t.sighting.state is State.LOST:
            t.motion = None
        elif t.motion is None:
            t.motion = motion.start(estimate.box, estimate.score)
        else:
            moving.append((t, t.motion, seconds(dt)))
    if moving:
        followed, motions, elapsed = zip(*moving, strict=True)
        boxes = np.stack([t.estimate.box for t in followed])
        scores = [t.estimate.score for t in followed]
        after = motion.update(motion.predict(motion.stack(motions), elapsed), boxes, scores)
        for i, t in enumerate(followed):
            t.motion = after[i]


def predicted(box: TrackedBox, belief: Motion | None, dt: float) -> TrackedBox:
    """A published box moved ``dt`` seconds along its velocity, with what is drawn on it; its covariance grows.

    Without a belief about its motion (the target is LOST) the box stays as it is.
    """
    if belief is None:
        return box
    before = xyxy_to_cxcywh(box.box)
    after = before + box.velocity * np.float32(dt)
    after[2:] = np.maximum(after[2:], motion.SMALLEST)
    shift = after[:2] - before[:2]
    x, y = (round(float(v)) for v in shift)
    return replace(
        box,
        box=cxcywh_to_xyxy(after),
        covariance=motion.predict(belief, dt).position_covariance,
        contour=None if box.contour is None else box.contour + shift,
        mask=None if box.mask is None else replace(box.mask, x=box.mask.x + x, y=box.mask.y + y),
    )

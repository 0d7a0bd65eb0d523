"""Objects in space followed by their detections: boxes in, boxes with ids, velocity and covariance out.

Kalman filtering and assignment after AB3DMOT (Weng et al., IROS 2020), in real time and in a fixed frame. The score of
a track follows those of its detections and fades while it is unseen, in the spirit of CBMOT (Benbarka et al., IROS
2021); objects go on being published while they are unseen, as in PC3T (Wu et al., T-ITS 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.geometry.boxes3d import Array, transform
from deep_tracking_ros.multi_object.association_3d import COSTS, MOST, associate, distinct, overlapping
from deep_tracking_ros.multi_object.motion_3d import BOX, MODELS, Belief, Noise
from deep_tracking_ros.multi_object.noise_3d import NOISE, OTHER
from deep_tracking_ros.multi_object.parts.labels import Labels
from deep_tracking_ros.types import State, seconds

COPIED = 0.7
"""IoU from which two detections of a class are one object: no two share so much of their space."""
_VOTES = 5
"""So many sightings more of the one heading than of the other outweigh all that was seen before."""


@dataclass(frozen=True)
class Tracker3DParameters:
    """Parameters of `Tracker3D`, the same for all classes; what differs between classes is their noise."""

    motion: str = "constant_velocity"  # or constant_turn
    cost: str = "giou"  # or iou, distance
    limit: float = 1.4  # pairs must cost less; 1 - GIoU (0 to 2), 1 - IoU (0 to 1), or m
    gate: float = 5.0  # m, and no further than this apart
    greedy: bool = False  # cheapest pair first, instead of the best assignment
    birth_score: float = 0.5  # probability of a detection from which it starts a track
    birth_overlap: float = 0.1  # IoU with a track of its class at which it does not
    confirm_score: float = 0.8  # score from which a track is CONFIRMED
    gain: float = 0.3  # how far the log-odds of a track move towards those of its detection, from 0 at first
    fade: float = 5.0  # 1/s, how fast the log-odds of an unseen track fall
    death_score: float = 0.05  # score below which a track ends
    max_unseen: float = 1.0  # s, after which it ends in any case


def log_odds(probability: ArrayLike) -> Array:
    """ln(p / (1 - p)); what is surer than 1 in a billion counts as that."""
    p: Array = np.clip(np.asarray(probability, np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(p / (1 - p)))


def probability(odds: ArrayLike) -> Array:
    """The probability of log-odds."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(odds, np.float64))))


@dataclass(frozen=True, eq=False)
class Boxes3D:
    """Objects detected at one time, in no order."""

    boxes: Array  # (N, 7) in the frame of the sensor, see `boxes3d`
    scores: Array  # (N,) probability that it is an object, 0 to 1
    labels: Sequence[str]  # (N,) class

    def __post_init__(self) -> None:
        n = len(self.labels)
        if np.shape(self.boxes) != (n, BOX) or np.shape(self.scores) != (n,):
            raise InvalidRequestError(
                f"detections must have (N, 7) boxes, N scores and N labels; these have shapes {np.shape(self.boxes)}, "
                f"{np.shape(self.scores)} and {n} labels"
            )


@dataclass(frozen=True, eq=False)
class Tracks3D:
    """All objects followed at one time, ordered by id."""

    stamp: int  # ns, of the detections
    id: NDArray[np.int64]  # (N,) from 1, never used twice
    label: tuple[str, ...]
    state: NDArray[np.int64]  # (N,) State.TENTATIVE, CONFIRMED, or OCCLUDED: unseen, and once CONFIRMED
    score: Array  # (N,) probability that the object exists
    boxes: Array  # (N, 7) in the frame of the sensor
    covariance: Array  # (N, 7, 7) of the boxes
    velocity: Array  # (N, 4) over ground, in the frame of the sensor: vx, vy, vz (m/s), turn rate (rad/s)
    velocity_covariance: Array  # (N, 4, 4)
    age: Array  # (N,) s since first seen
    unseen: Array  # (N,) s since last seen; 0 = now
    detection: NDArray[np.int64]  # (N,) row of the detection of this step, -1 = none

    def __len__(self) -> int:
        return len(self.id)


@dataclass(eq=False)
class _Tracks:
    """What is known of all tracks, one row each; in the fixed frame."""

    belief: Belief = field(default_factory=lambda: Belief(np.zeros((0, 10)), np.zeros((0, 10, 10))))
    id: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    kind: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    odds: Array = field(default_factory=lambda: np.zeros(0))  # log-odds that it exists
    sure: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))  # whether it was ever CONFIRMED
    votes: Array = field(default_factory=lambda: np.zeros(0))  # for the heading as it stands
    born: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # ns
    seen: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # ns
    detection: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def keep(self, rows: NDArray[np.bool_]) -> None:
        if rows.all():
            return
        for name, value in vars(self).items():
            setattr(self, name, Belief(value.mean[rows], value.covariance[rows]) if name == "belief" else value[rows])

    def append(self, other: _Tracks) -> None:
        join = np.concatenate
        for name, value in vars(self).items():
            more = getattr(other, name)
            if name == "belief":
                setattr(
                    self,
                    name,
                    Belief(join([value.mean, more.mean]), join([value.covariance, more.covariance])),
                )
            else:
                setattr(self, name, join([value, more]))


class Tracker3D:
    """Follows all objects of one sensor. Knows no clock and draws no random numbers: same input, same output."""

    def __init__(self, parameters: Tracker3DParameters | None = None, noise: Mapping[str, Noise] | None = None) -> None:
        """``noise`` by class in lower case, with a row `OTHER`; without it, `NOISE`.

        Raises `InvalidRequestError` for an unknown ``motion`` or ``cost``, or a ``limit`` that is none for this cost.
        """
        self.parameters = parameters or Tracker3DParameters()
        if self.parameters.motion not in MODELS:
            raise InvalidRequestError(f"motion is {self.parameters.motion!r}, it must be one of {', '.join(MODELS)}")
        if self.parameters.cost not in COSTS:
            raise InvalidRequestError(f"cost is {self.parameters.cost!r}, it must be one of {', '.join(COSTS)}")
        if self.parameters.limit > (most := MOST.get(self.parameters.cost, np.inf)):
            raise InvalidRequestError(
                f"limit is {self.parameters.limit:g}, with cost {self.parameters.cost} it must not be above {most:g}: "
                "no pair costs more, so objects would be taken for others that they do not even touch"
            )
        self.motion = MODELS[self.parameters.motion]
        self.noise = NOISE if noise is None else noise
        self.last_id = 0
        """The largest id that was given."""
        self._tracks = _Tracks()
        self._labels = Labels()
        self._noise = np.zeros((0, len(NOISE[OTHER].row)))  # of each label
        self._stamp: int | None = None

    def reset(self) -> None:
        """Forget all objects and the time; ids go on."""
        self._tracks, self._stamp = _Tracks(), None

    def step(self, detections: Boxes3D, stamp: int, pose: ArrayLike | None = None) -> Tracks3D:
        """Follow all objects to the time of these detections; to be called also when there are none.

        Args:
            detections: in the frame of the sensor; those that are not finite, have no size or a score outside of 0 to 1
                are passed over.
            stamp: ns, later than that of the step before.
            pose: (4, 4) of the sensor in a fixed frame (odometry); without it the sensor is taken to stand still.

        Raises `InvalidRequestError` where time does not go on or the pose is not finite.
        """
        if self._stamp is not None and stamp <= self._stamp:
            raise InvalidRequestError(f"the stamp {stamp} ns is not later than {self._stamp} ns, the one before")
        fixed = np.eye(4) if pose is None else np.asarray(pose, np.float64)
        if fixed.shape != (4, 4) or not np.isfinite(fixed).all():
            raise InvalidRequestError("the pose of the sensor must be a finite (4, 4) matrix")
        p, tracks = self.parameters, self._tracks
        rows, boxes, scores, kinds = self._usable(detections)
        boxes = transform(boxes, fixed)

        noise, dt = self._noise[tracks.kind], 0.0
        if len(tracks.id) and self._stamp is not None:
            dt = seconds(stamp - self._stamp)
            tracks.belief = self.motion.predict(tracks.belief, noise, dt)
        tracks.detection = np.full(len(tracks.id), -1, np.int64)
        self._stamp = stamp

        pairs = associate(
            tracks.belief.mean[:, :BOX],
            boxes,
            tracks.kind,
            kinds,
            cost=p.cost,
            limit=p.limit,
            gate=p.gate,
            greedy=p.greedy,
        )
        self._see(pairs[:, 0], boxes[pairs[:, 1]], scores[pairs[:, 1]], rows[pairs[:, 1]], stamp)
        free: NDArray[np.bool_] = scores >= p.birth_score
        free[pairs[:, 1]] = False
        free[free] = ~overlapping(boxes[free], kinds[free], tracks.belief.mean[:, :BOX], tracks.kind, p.birth_overlap)
        new = np.flatnonzero(free)
        new = new[distinct(boxes[new], kinds[new], p.birth_overlap)]
        unseen = (stamp - tracks.seen) / 1e9
        tracks.odds[unseen > 0] -= p.fade * dt
        tracks.keep((probability(tracks.odds) >= p.death_score) & (unseen <= p.max_unseen))
        self._begin(boxes[new], scores[new], kinds[new], rows[new], stamp)
        tracks.sure |= probability(tracks.odds) >= p.confirm_score
        return self._result(tracks.belief, stamp, fixed)

    def predicted(self, stamp: int, pose: ArrayLike | None = None) -> Tracks3D:
        """The objects of the last step where they should be at a later time; nothing that is kept changes.

        Args:
            stamp: ns, not earlier than that of the last step.
            pose: of the sensor frame to give them in; without it, the fixed frame.

        Raises `InvalidRequestError` before the first step and for an earlier time.
        """
        if self._stamp is None or stamp < self._stamp:
            raise InvalidRequestError(f"cannot predict to {stamp} ns, before the last step ({self._stamp} ns)")
        noise, dt = self._noise[self._tracks.kind], seconds(stamp - self._stamp)
        belief = self.motion.predict(self._tracks.belief, noise, dt)
        fixed = np.eye(4) if pose is None else np.asarray(pose, np.float64)
        return self._result(belief, self._stamp, fixed)

    def _usable(self, detections: Boxes3D) -> tuple[NDArray[np.int64], Array, Array, NDArray[np.int64]]:
        """Row, box, score and class of the detections that can be used, best first whatever order they came in.

        Copies of better ones cannot: nothing bounds how many a detector gives, and each would be weighed with all
        tracks around.
        """
        boxes, scores = np.asarray(detections.boxes, np.float64), np.asarray(detections.scores, np.float64)
        good = np.isfinite(boxes).all(1) & (boxes[:, 3:6] > 0).all(1) & (scores >= 0) & (scores <= 1)
        order = np.lexsort((np.asarray(detections.labels, np.str_), *boxes.T, -scores))
        rows = order[good[order]]
        before = list(self._labels.names)
        kinds = self._labels.number([detections.labels[row] for row in rows], self._tracks.kind)
        if (names := self._labels.names) != before:
            self._noise = np.array([self.noise.get(name.lower(), self.noise[OTHER]).row for name in names])
        best = distinct(boxes[rows], kinds, COPIED)
        rows = rows[best]
        return rows.astype(np.int64), boxes[rows], scores[rows], kinds[best]

    def _see(
        self, rows: NDArray[np.intp], boxes: Array, scores: Array, detection: NDArray[np.int64], stamp: int
    ) -> None:
        """Take the detections that tracks were found as."""
        if len(rows) == 0:
            return
        tracks = self._tracks
        prior = Belief(tracks.belief.mean[rows], tracks.belief.covariance[rows])
        belief, agrees = self.motion.update(prior, boxes, self._noise[tracks.kind[rows]])
        votes = np.clip(tracks.votes[rows] + np.where(agrees, 1, -1), -_VOTES, _VOTES)
        backwards = votes < 0
        self.motion.turn_round(belief, backwards)
        tracks.votes[rows] = np.abs(votes)
        tracks.belief.mean[rows], tracks.belief.covariance[rows] = belief.mean, belief.covariance
        tracks.odds[rows] += self.parameters.gain * (log_odds(scores) - tracks.odds[rows])
        tracks.seen[rows], tracks.detection[rows] = stamp, detection

    def _begin(
        self, boxes: Array, scores: Array, kinds: NDArray[np.int64], rows: NDArray[np.int64], stamp: int
    ) -> None:
        """Start tracks, with ids in order of merit."""
        n = len(boxes)
        if n == 0:
            return
        self._tracks.append(
            _Tracks(
                belief=self.motion.start(boxes, self._noise[kinds]),
                id=np.arange(self.last_id + 1, self.last_id + n + 1),
                kind=kinds,
                odds=self.parameters.gain * log_odds(scores),
                sure=np.zeros(n, bool),
                votes=np.ones(n),
                born=np.full(n, stamp),
                seen=np.full(n, stamp),
                detection=rows,
            )
        )
        self.last_id += n

    def _result(self, belief: Belief, stamp: int, pose: Array) -> Tracks3D:
        tracks = self._tracks
        velocity = self.motion.velocity(belief)
        back = np.linalg.inv(pose)
        # place and velocity turn with the frame; sizes and heading keep their doubt
        turn_box, turn_velocity = np.eye(BOX), np.eye(4)
        turn_box[:3, :3] = turn_velocity[:3, :3] = back[:3, :3]
        names = self._labels.names
        unseen = (stamp - tracks.seen) / 1e9
        score = probability(tracks.odds)
        seen = np.where(score >= self.parameters.confirm_score, State.CONFIRMED, State.TENTATIVE)
        hidden = np.where(tracks.sure, State.OCCLUDED, State.TENTATIVE)
        return Tracks3D(
            stamp=stamp,
            id=tracks.id.copy(),
            label=tuple(names[kind] for kind in tracks.kind),
            state=np.where(unseen > 0, hidden, seen).astype(np.int64),
            score=score,
            boxes=transform(belief.mean[:, :BOX], back),
            covariance=turn_box @ belief.covariance[:, :BOX, :BOX] @ turn_box.T,
            velocity=velocity.mean @ turn_velocity.T,
            velocity_covariance=turn_velocity @ velocity.covariance @ turn_velocity.T,
            age=(stamp - tracks.born) / 1e9,
            unseen=unseen,
            detection=tracks.detection.copy(),
        )

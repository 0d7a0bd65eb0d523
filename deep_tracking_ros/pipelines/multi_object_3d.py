"""Give the boxes of a 3D detector ids that stay with their objects, with velocity, from sweep to sweep."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from deep_tracking_ros.errors import DeepTrackingError, InvalidRequestError
from deep_tracking_ros.geometry.boxes3d import Array
from deep_tracking_ros.geometry.poses import boxes_of, inverse, poses_of, turned_covariance
from deep_tracking_ros.multi_object.association_3d import COSTS
from deep_tracking_ros.multi_object.motion_3d import MODELS
from deep_tracking_ros.multi_object.noise_3d import NOISE, noise_text, read_noise
from deep_tracking_ros.multi_object.tracker_3d import Boxes3D, Tracker3D, Tracker3DParameters, Tracks3D, probability
from deep_tracking_ros.parameters import parameter, part
from deep_tracking_ros.pipelines import timing
from deep_tracking_ros.pipelines.ego_motion import UP, ByOdometry, ByTransforms, EgoMotion, StandStill, read_mounting
from deep_tracking_ros.pipelines.pipeline import Memory, Output, Pipeline
from deep_tracking_ros.pipelines.time_keeper import Arrival
from deep_tracking_ros.pipelines.turns import Turn, Turns
from deep_tracking_ros.types import (
    Detections3D,
    Matrix,
    Odometry,
    State,
    StaticTransforms,
    TrackedBox3D,
    TrackedBoxes3D,
    Transforms,
    nanoseconds,
)

TILT = 0.1
"""Boxes are taken to stand upright; roads lean by up to about this, rad, and boxes over a second by as much, rad/s."""


@dataclass(frozen=True)
class MultiObject3DParameters:
    """Parameters of `MultiObject3DPipeline`."""

    ego_motion: str = parameter(
        "none",
        "How the sensor's own motion is known: none = it stands still, or detections are in a fixed frame.",
        choices=("none", "odometry", "tf"),
    )
    up_axis: str = parameter(
        "z", "With ego_motion none: axis of the detections' frame that points up; -y in optical frames.", choices=(*UP,)
    )
    mounting: str = parameter(
        "",
        "With ego_motion odometry: pose of the detections' frame in the odometry's child frame, 'x y z roll pitch yaw' "
        "(m, rad); empty = it is the same frame.",
    )
    fixed_frame: str = parameter("odom", "With ego_motion tf: frame with z up that does not move.")
    pose_wait: float = parameter(
        0.2, "Detections wait so long, in stamps, for odometry or transforms of their time.", unit="s", minimum=0,
        maximum=60,
    )  # fmt: skip
    pose_gap: float = parameter(
        0.5, "Between two poses further apart than this, it is not known where the sensor was.", unit="s",
        minimum=0.001, maximum=60,
    )  # fmt: skip
    score_scale: str = parameter(
        "probability",
        "What scores of detections are: probabilities from 0 to 1, or log-odds, which may be of any size.",
        choices=("probability", "log_odds"),
    )
    motion: str = parameter(
        "constant_velocity", "How objects move: straight on, or along their heading on an arc.", choices=(*MODELS,)
    )
    noise: str = parameter(
        noise_text(NOISE),
        "Standard deviations by class, as YAML: of a detected position (m), size (m) and yaw (rad); of speed (m/s) and "
        "turn rate (turn, rad/s) at first sight; of acceleration (m/s^2), turn_acceleration (rad/s^2) and, upwards, "
        "climb (m/s^2) over a second. Classes without a row are as other.",
    )
    cost: str = parameter(
        "giou", "What a pair of track and detection costs: 1 - GIoU, 1 - IoU, or the distance of centres in m.",
        choices=(*COSTS,),
    )  # fmt: skip
    limit: float = parameter(
        1.4, "Pairs must cost less than this: up to 2 with giou, up to 1 with iou, m with distance.", minimum=0,
        maximum=1000,
    )  # fmt: skip
    gate: float = parameter(
        5.0, "Centres of pairs must be closer than this, seen from above.", unit="m", minimum=0.001, maximum=1000
    )
    greedy: bool = parameter(False, "Take the cheapest pair first, instead of the best assignment as a whole.")
    birth_score: float = parameter(
        0.5, "Detections of at least this probability may begin a track.", minimum=0, maximum=1
    )
    birth_overlap: float = parameter(
        0.1, "Detections that overlap a track of their class by this IoU begin none.", minimum=0.001, maximum=1
    )
    confirm_score: float = parameter(0.8, "Tracks of at least this probability are CONFIRMED.", minimum=0, maximum=1)
    gain: float = parameter(
        0.3, "How far the log-odds of a track move towards those of its detection.", minimum=0.001, maximum=1
    )
    fade: float = parameter(5.0, "How fast the log-odds of an unseen track fall.", unit="1/s", minimum=0, maximum=1000)
    death_score: float = parameter(0.05, "Tracks of less probability than this end.", minimum=0, maximum=1)
    max_unseen: float = parameter(
        1.0, "Time without a detection after which a track ends in any case.", unit="s", minimum=0, maximum=3600
    )
    reorder_wait: float = timing.reorder_wait("Detections")
    reorder_tolerance: float = timing.reorder_tolerance("Detections")
    max_gap: float = timing.max_gap("detections")
    predict_to_now: bool = timing.predict_to_now("motion")
    max_prediction: float = timing.max_prediction()


def ego_motion(parameters: MultiObject3DParameters) -> EgoMotion:
    """What tells the sensor's motion. Raises `InvalidRequestError` for a mounting that is none."""
    gap = nanoseconds(parameters.pose_gap)
    if parameters.ego_motion == "odometry":
        return ByOdometry(gap, read_mounting(parameters.mounting))
    if parameters.ego_motion == "tf":
        return ByTransforms(parameters.fixed_frame, gap)
    return StandStill(parameters.up_axis)


class MultiObject3DPipeline(Pipeline):
    """Detections in space in, boxes with ids out, in the same frame: one `TrackedBoxes3D` per `Detections3D`.

    Time is as in `Turns`. After a time jump, or with another frame id or fixed frame, the epoch counts up and all
    tracks are forgotten. Ids are never used twice.

    Ego motion. Objects are followed in a fixed frame. Where the sensor was at the stamp of the detections lies between
    the two poses around it, so detections wait for the later one, by up to ``pose_wait``. Where it is not known then,
    they are dropped and counted, no result is given for them, and `warnings` says why: tracks that mix two frames
    would be wrong without a sign of it.
    """

    name = "multi_object_tracker_3d"
    Parameters = MultiObject3DParameters
    inputs: ClassVar[Mapping[str, type]] = {
        "detections": Detections3D,
        "odometry": Odometry,
        "tf": Transforms,
        "tf_static": StaticTransforms,
    }
    outputs: ClassVar[Mapping[str, type]] = {"boxes": TrackedBoxes3D}
    commands: ClassVar[Mapping[str, type]] = {}
    remembered = frozenset({"odometry", "tf", "tf_static"})

    def __init__(self, parameters: MultiObject3DParameters) -> None:
        """Raises `InvalidRequestError` where parameters contradict each other, or noise or mounting cannot be read."""
        if parameters.death_score > parameters.birth_score:
            raise InvalidRequestError(
                f"death_score is {parameters.death_score:g}, it must not be above birth_score, "
                f"{parameters.birth_score:g}: tracks would end where they begin"
            )
        self.parameters: MultiObject3DParameters = parameters
        self.turns: Turns[Detections3D] = Turns(
            parameters.reorder_wait, parameters.reorder_tolerance, parameters.max_gap
        )
        self.tracker = Tracker3D(part(Tracker3DParameters, parameters), read_noise(parameters.noise))
        self.ego = ego_motion(parameters)
        self.inputs = {"detections": Detections3D, **self.ego.inputs}  # type: ignore[misc]  # others are not asked for
        self._due: deque[Turn[Detections3D]] = deque()  # that wait for a pose
        self._arrived: int | None = None  # ns, the newest of the detections that came, however far `step` is behind
        self._fixed_frame: str | None = None
        self._fixed_frames = 0  # changes of it so far, each an epoch of its own
        self._newest: tuple[Output, Matrix] | None = None  # and the pose of its frame
        self._frames = self._without_pose = self._unusable = 0
        self._states: Counter[State] = Counter()
        self._problems: tuple[str, ...] = ()  # of the newest detections
        self._last_problem = self._last_reset = ""

    def remember(self, port: str, item: Any) -> None:
        """Keep odometry and transforms; may be called from another thread."""
        if port != "detections":
            self.ego.take(port, item)
            return
        arrival = self.turns.time.rules.classify(self._arrived, item.stamp)
        self.ego.keep_step(arrival is Arrival.JUMP and self._arrived is not None and item.stamp < self._arrived)
        if arrival in (Arrival.NEW, Arrival.JUMP):
            self._arrived = item.stamp

    def step(self, port: str, item: Any) -> Iterable[Output]:
        """Take detections; odometry and transforms, which `remember` keeps, let those go on that wait for them."""
        if port == "detections":
            self._due.extend(self.turns.take(item))
        return tuple(self._results())

    def reset(self, reason: str) -> None:
        """As after a time jump; detections that wait are dropped too."""
        self._due.clear()
        self._forget(reason)
        self.turns.reset()
        self.ego.clear()

    def predict(self, output: Output, stamp: int) -> Output:
        """With ``predict_to_now``: boxes where they should be at ``stamp`` (ns), with the doubt of then.

        They stay in the frame of the detections as it was at their stamp. Of several results at once only the newest
        is moved: the others have been overtaken.
        """
        item: TrackedBoxes3D = output.item
        dt = min(stamp - item.stamp, nanoseconds(self.parameters.max_prediction))
        if not self.parameters.predict_to_now or dt <= 0 or self._newest is None or self._newest[0] is not output:
            return output
        tracks = self.tracker.predicted(item.stamp + dt)
        boxes = tracked_boxes(tracks, self._newest[1])
        return Output(
            output.port, TrackedBoxes3D(item.stamp, item.frame_id, item.epoch, valid_at=item.stamp + dt, boxes=boxes)
        )

    def memory(self) -> Memory:
        """See `Pipeline.memory`."""
        return Memory(self.tracker.last_id, self._epoch + 1)

    def resume(self, memory: Memory) -> None:
        """See `Pipeline.resume`."""
        self.tracker.last_id, self.turns.time.epoch = memory.last_id, memory.epoch

    def status(self) -> Mapping[str, str | int | float]:
        """Counts; may be called from another thread."""
        return {
            "frames": self._frames,
            **self.turns.status(),
            "epoch": self._epoch,
            "ego_motion": self.parameters.ego_motion,
            "waiting_for_pose": len(self._due),
            "without_pose": self._without_pose,
            "unusable_poses": self.ego.unusable,
            "unusable_detections": self._unusable,
            "tentative": self._states[State.TENTATIVE],
            "confirmed": self._states[State.CONFIRMED],
            "occluded": self._states[State.OCCLUDED],
            "last_problem": self._last_problem,
            "last_reset": self._last_reset,
        }

    def warnings(self) -> tuple[str, ...]:
        """See `Pipeline.warnings`: why the newest detections gave no result, or which of them could not be used."""
        return self._problems

    @property
    def _epoch(self) -> int:
        return self.turns.time.epoch + self._fixed_frames

    def _results(self) -> Iterator[Output]:
        while self._due and self._may_go(self._due[0]):
            turn = self._due.popleft()
            if turn.jump:
                self._forget(turn.jump)
            self._problems = ()
            try:
                fixed_frame, pose = self.ego.pose(turn.item.frame_id, turn.item.stamp)
            except DeepTrackingError as error:
                self._without_pose += 1
                self._note(str(error))
                continue
            if self._fixed_frame not in (None, fixed_frame) and not turn.jump:
                self._fixed_frames += 1
                self._forget(f"the fixed frame changed from {self._fixed_frame!r} to {fixed_frame!r}")
            self._fixed_frame = fixed_frame
            yield self._track(turn, pose)

    def _may_go(self, turn: Turn[Detections3D]) -> bool:
        """Whether the pose for these detections is there, or will not come any more."""
        item, newest = turn.item, self.turns.time.newest
        if turn.epoch != self.turns.time.epoch or newest is None:
            return True
        return newest - item.stamp > nanoseconds(self.parameters.pose_wait) or self.ego.covers(
            item.frame_id, item.stamp
        )

    def _track(self, turn: Turn[Detections3D], pose: Matrix) -> Output:
        item = turn.item
        found = self._usable(item, pose)
        tracks = self.tracker.step(found, item.stamp)
        self._frames += 1
        boxes = tracked_boxes(tracks, pose)
        self._states = Counter(box.state for box in boxes)
        result = TrackedBoxes3D(item.stamp, item.frame_id, turn.epoch + self._fixed_frames, item.stamp, boxes)
        output = Output("boxes", result)
        self._newest = (output, pose)
        return output

    def _usable(self, item: Detections3D, pose: Matrix) -> Boxes3D:
        """The detections in the fixed frame; those that cannot be used are left out and told of."""
        detections = item.detections
        poses = np.array([d.pose for d in detections], np.float64).reshape(-1, 4, 4)
        sizes = np.array([d.size for d in detections], np.float64).reshape(-1, 3)
        scores = np.array([d.score for d in detections], np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is sorted out below
            boxes, standing = boxes_of(pose @ poses, sizes)
            if self.parameters.score_scale == "log_odds":
                scores = probability(scores)
        finite = np.isfinite(boxes).all(1) & np.isfinite(scores)
        wrong = {
            "not finite": ~finite,
            "without size": finite & ~(sizes > 0).all(1),
            "of a score outside of 0 to 1 (see score_scale)": finite & ((scores < 0) | (scores > 1)),
            "leaning over by more than 45 degrees (is z up? see up_axis)": finite & ~standing,
        }
        good = ~np.any([*wrong.values()], axis=0)
        if count := int((~good).sum()):
            self._unusable += count
            reasons = ", ".join(f"{int(rows.sum())} {reason}" for reason, rows in wrong.items() if rows.any())
            self._note(f"{count} of {len(detections)} detections cannot be used: {reasons}")
        labels = [d.label for d, use in zip(detections, good, strict=True) if use]
        return Boxes3D(boxes[good], scores[good], labels)

    def _note(self, problem: str) -> None:
        self._problems = (*self._problems, problem)
        self._last_problem = problem

    def _forget(self, reason: str) -> None:
        self.tracker.reset()
        self._newest = None
        self._states = Counter()
        self._last_reset = reason


def tracked_boxes(tracks: Tracks3D, pose: Array) -> tuple[TrackedBox3D, ...]:
    """Tracks in a fixed frame with z up as boxes in a sensor's frame, whose pose in the fixed one is (4, 4)."""
    back = inverse(pose)
    turn = back[:3, :3]
    places = back @ poses_of(tracks.boxes)
    doubt = turned_covariance(_with_tilt(tracks.covariance, [0, 1, 2, 6]), turn)
    velocity = np.concatenate(
        [tracks.velocity[:, :3] @ turn.T, tracks.velocity[:, 3:] * turn[:, 2]], axis=1
    )  # what turns about the fixed z axis
    velocity_doubt = turned_covariance(_with_tilt(tracks.velocity_covariance, [0, 1, 2, 3]), turn)
    return tuple(
        TrackedBox3D(
            id=id_,
            pose=places[row],
            size=tracks.boxes[row, 3:6],
            state=State(state),
            score=score,
            label=tracks.label[row],
            covariance=doubt[row],
            velocity=velocity[row],
            velocity_covariance=velocity_doubt[row],
            age=age,
            unseen=unseen,
        )
        for row, (id_, state, score, age, unseen) in enumerate(
            zip(
                tracks.id.tolist(),
                tracks.state.tolist(),
                tracks.score.tolist(),
                tracks.age.tolist(),
                tracks.unseen.tolist(),
                strict=True,
            )
        )
    )


def _with_tilt(covariance: Array, rows: list[int]) -> Array:
    """(N, 6, 6) of x, y, z and the rotations about them from that of x, y, z and the rotation about z at ``rows``."""
    whole = np.tile(TILT**2 * np.eye(6), (len(covariance), 1, 1))
    places = np.array([0, 1, 2, 5])
    whole[:, places[:, None], places] = covariance[:, np.array(rows)[:, None], rows]
    return whole

"""Where the sensor was at any time, in a frame that is fixed and has z up: at rest, by odometry, or by transforms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from deep_tracking_ros.errors import DeepTrackingError, InvalidRequestError
from deep_tracking_ros.geometry.poses import inverse, pose_of_angles
from deep_tracking_ros.pipelines.pose_buffer import PoseBuffer
from deep_tracking_ros.types import Matrix, Odometry, StaticTransforms, Transform, Transforms

UP: Mapping[str, Matrix] = {
    "z": np.eye(4),
    # REP 103: an optical frame has x right, y down, z forward
    "-y": np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
}
"""Axis of the sensor's frame that points up -> pose of that frame in one with z up and x forward."""

MOST_FRAMES = 1000
"""Moving frames that are kept; beyond, the one that has been silent for longest is forgotten."""


class EgoMotion(ABC):
    """What is known of the sensor's motion. One thread calls `take`, another may ask."""

    inputs: ClassVar[Mapping[str, type]] = {}
    """Ports of a pipeline that `take` wants."""
    unusable = 0
    """Poses so far that were not finite, or whose quaternion was none."""

    def take(self, port: str, item: Any) -> None:
        """Keep what came at a port."""

    def keep_step(self, steps_back: bool) -> None:
        """Detections came, to be called by whoever calls `take`: after a step back, motion of before says nothing."""

    @abstractmethod
    def covers(self, frame_id: str, stamp: int) -> bool:
        """Whether input that is still to come would change nothing about where a frame was at a time (ns)."""

    @abstractmethod
    def pose(self, frame_id: str, stamp: int) -> tuple[str, Matrix]:
        """Name of the fixed frame, and (4, 4) of a frame in it at a time (ns).

        Raises a `DeepTrackingError` that says why it is not known and what to do.
        """

    def clear(self) -> None:
        """Forget all motion."""

    def _usable(self, pose: Matrix) -> bool:
        finite = bool(np.isfinite(pose).all())
        self.unusable += not finite
        return finite


class StandStill(EgoMotion):
    """A sensor that does not move, or detections in a frame that is fixed already."""

    def __init__(self, up_axis: str) -> None:
        self._pose = UP[up_axis]

    def covers(self, frame_id: str, stamp: int) -> bool:
        return True

    def pose(self, frame_id: str, stamp: int) -> tuple[str, Matrix]:
        return frame_id, self._pose


class ByOdometry(EgoMotion):
    """The child frame of odometry is that of the detections, or one to which the sensor is mounted."""

    inputs: ClassVar[Mapping[str, type]] = {"odometry": Odometry}

    def __init__(self, max_gap: int, mounting: Matrix | None = None) -> None:
        """``mounting``: (4, 4) of the sensor in the child frame of the odometry; None = that is the sensor's frame."""
        self._mounting = mounting
        self._poses = PoseBuffer(max_gap)
        self._frames: tuple[str, str] | None = None  # fixed, child

    def take(self, port: str, item: Odometry) -> None:
        if not self._usable(item.pose):
            return
        frames = (item.frame_id, item.child_frame_id)
        if self._frames != frames:
            self._poses.clear()
            self._frames = frames
        self._poses.append(item.stamp, item.pose)

    def keep_step(self, steps_back: bool) -> None:
        self._poses.keep_step(steps_back)

    def covers(self, frame_id: str, stamp: int) -> bool:
        newest = self._poses.newest
        return self._mismatch(frame_id) != "" or (newest is not None and newest >= stamp)

    def pose(self, frame_id: str, stamp: int) -> tuple[str, Matrix]:
        if mismatch := self._mismatch(frame_id):
            raise InvalidRequestError(mismatch)
        try:
            pose = self._poses.at(stamp)
        except DeepTrackingError as error:
            raise type(error)(
                f"no odometry for the detections: {error}; is odometry published, by the same clock?"
            ) from None
        assert self._frames is not None
        return self._frames[0], pose if self._mounting is None else pose @ self._mounting

    def clear(self) -> None:
        self._poses.clear()

    def _mismatch(self, frame_id: str) -> str:
        if self._frames is None:
            return ""
        child = self._frames[1]
        if self._mounting is None and child != frame_id:
            return (
                f"the detections are in the frame {frame_id!r}, but odometry tells where {child!r} is; set mounting to "
                f"the pose of {frame_id!r} in {child!r} as 'x y z roll pitch yaw', or ego_motion to tf"
            )
        if self._mounting is not None and child == frame_id:
            return (
                f"the detections are in the frame {frame_id!r}, as is the odometry, but mounting is set; empty it, or "
                "let the detector name the frame of its sensor"
            )
        return ""


class ByTransforms(EgoMotion):
    """The tree of transforms of tf2 (Foote: tf, the transform library, TePRA 2013), each interpolated in time."""

    inputs: ClassVar[Mapping[str, type]] = {"tf": Transforms, "tf_static": StaticTransforms}

    def __init__(
        self, fixed_frame: str, max_gap: int, parameter: str = "fixed_frame", whose: str = "the detections"
    ) -> None:
        """Where a frame is in ``fixed_frame``, which ``parameter`` names; ``whose`` frame, in words, is for errors."""
        self._fixed_frame, self._max_gap = fixed_frame, max_gap
        self._parameter, self._whose = parameter, whose
        self._static: dict[str, tuple[str, Matrix]] = {}  # child -> parent and pose in it
        self._moving: dict[str, tuple[str, PoseBuffer]] = {}

    def take(self, port: str, item: Transforms) -> None:
        for transform in item.transforms:
            if not self._usable(transform.pose):
                continue
            if isinstance(item, StaticTransforms):
                self._static[_name(transform.child)] = (_name(transform.parent), transform.pose)
            else:
                self._take_moving(transform)

    def _take_moving(self, transform: Transform) -> None:
        parent, child = _name(transform.parent), _name(transform.child)
        known = self._moving.get(child)
        poses = known[1] if known is not None and known[0] == parent else PoseBuffer(self._max_gap)
        poses.append(transform.stamp, transform.pose)
        self._moving[child] = (parent, poses)
        if len(self._moving) > MOST_FRAMES:  # some broadcast a new frame for every object that they see
            del self._moving[min(self._moving, key=lambda frame: self._moving[frame][1].newest or 0)]

    def keep_step(self, steps_back: bool) -> None:
        for _, poses in self._moving.values():
            poses.keep_step(steps_back)

    def covers(self, frame_id: str, stamp: int) -> bool:
        up, down = self._ways(frame_id)
        moving = [self._moving[child][1].newest for child in (*up, *down) if child not in self._static]
        connected = self._top(up, frame_id) == self._top(down, self._fixed_frame)
        return connected and all(newest is not None and newest >= stamp for newest in moving)

    def pose(self, frame_id: str, stamp: int) -> tuple[str, Matrix]:
        up, down = self._ways(frame_id)
        if self._top(up, frame_id) != self._top(down, self._fixed_frame):
            known = ", ".join(sorted(f"{p} -> {c}" for c, (p, _) in [*self._moving.items(), *self._static.items()]))
            raise InvalidRequestError(
                f"no transforms lead from {frame_id!r} of {self._whose} to {self._fixed_frame!r}; known are "
                f"{known or 'none'}; see to it that they are published, or change {self._parameter}"
            )
        pose = inverse(self._chain(down, stamp)) @ self._chain(up, stamp)
        return self._fixed_frame, pose

    def clear(self) -> None:
        """Those that hold at all times stay: they are published only once."""
        self._moving.clear()

    def _ways(self, frame_id: str) -> tuple[list[str], list[str]]:
        """Children on the way up from a frame and from the fixed frame, without what both have in common."""
        up, down = self._way_up(_name(frame_id)), self._way_up(_name(self._fixed_frame))
        while up and down and up[-1] == down[-1]:
            up.pop()
            down.pop()
        return up, down

    def _way_up(self, frame: str) -> list[str]:
        way: list[str] = []
        while (parent := self._parent(frame)) is not None and frame not in way:
            way.append(frame)
            frame = parent
        return way

    def _parent(self, child: str) -> str | None:
        edge = self._static.get(child) or self._moving.get(child)
        return None if edge is None else edge[0]

    def _top(self, way: list[str], frame: str) -> str | None:
        return self._parent(way[-1]) if way else _name(frame)

    def _chain(self, way: list[str], stamp: int) -> Matrix:
        """(4, 4) of the lowest frame of a way in the parent of its highest."""
        pose: Matrix = np.eye(4)
        for child in way:
            if child in self._static:
                pose = self._static[child][1] @ pose
                continue
            parent, poses = self._moving[child]
            try:
                pose = poses.at(stamp) @ pose
            except DeepTrackingError as error:
                raise type(error)(f"no transform {parent} -> {child} for {self._whose}: {error}") from None
        return pose


def read_mounting(text: str) -> Matrix | None:
    """(4, 4) of 'x y z roll pitch yaw' (m, rad); None of an empty text. Raises `InvalidRequestError`."""
    if not text.strip():
        return None
    try:
        numbers = [float(number) for number in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 6 or not np.isfinite(numbers).all():
        raise InvalidRequestError(f"mounting is {text!r}, it must be six numbers: x y z (m) roll pitch yaw (rad)")
    return pose_of_angles(*numbers)


def _name(frame: str) -> str:
    """Frame ids as tf2 has them; some publishers still put a slash before them, as in ROS 1."""
    return frame.removeprefix("/")

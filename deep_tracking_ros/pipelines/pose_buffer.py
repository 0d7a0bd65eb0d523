"""Poses of one moving frame by time, and where it was in between."""

from __future__ import annotations

from bisect import bisect_left

from deep_tracking_ros.errors import NoFrameError, StampNotBufferedError
from deep_tracking_ros.geometry.poses import interpolate
from deep_tracking_ros.pipelines.frame_buffer import time_text
from deep_tracking_ros.types import NANOSECONDS, Matrix, seconds

SPAN = 10 * NANOSECONDS
"""Poses are kept so long, ns; as tf2 does."""
LATE = NANOSECONDS
"""A pose older than the newest by more than this tells of a time jump, ns; a younger one finds its place."""


class PoseBuffer:
    """The last poses in order of their stamps.

    One thread appends, another may look: what is kept is one tuple, replaced as a whole.
    """

    def __init__(self, max_gap: int) -> None:
        """Between poses further apart than ``max_gap`` (ns) nothing is known."""
        self.max_gap = max_gap
        self._poses: tuple[tuple[int, Matrix], ...] = ()
        self._stepped_back = False  # since `keep_step` was called last

    def append(self, stamp: int, pose: Matrix) -> None:
        """Keep the (4, 4) pose of a time (ns). One of a stamp that is kept already is left out."""
        poses = self._poses
        if poses and stamp < poses[-1][0] - LATE:
            poses, self._stepped_back = (), True
        place = _place(poses, stamp)
        if place < len(poses) and poses[place][0] == stamp:
            return
        poses = (*poses[:place], (stamp, pose), *poses[place:])
        self._poses = poses[_place(poses, poses[-1][0] - SPAN) :]

    def keep_step(self, steps_back: bool) -> None:
        """Whatever poses are kept for goes on, or ``steps_back`` in a time jump: poses of before are then dropped.

        When a clock begins again its stamps come again, so old poses would be taken for new ones. Where poses stepped
        back before it, those that are kept are of after the jump. To be called from the thread that appends.
        """
        if steps_back and not self._stepped_back:
            self.clear()
        self._stepped_back = False

    def clear(self) -> None:
        """Drop all poses."""
        self._poses = ()

    @property
    def newest(self) -> int | None:
        """Stamp of the newest pose, ns."""
        poses = self._poses
        return poses[-1][0] if poses else None

    def at(self, stamp: int) -> Matrix:
        """(4, 4) pose at a time (ns), between those around it.

        Raises `NoFrameError` while there is none, and `StampNotBufferedError` where there is none around this time, or
        those around it are too far apart.
        """
        poses = self._poses
        if not poses:
            raise NoFrameError("no pose has come yet")
        place = _place(poses, stamp)
        if place < len(poses) and poses[place][0] == stamp:
            return poses[place][1]
        if place == 0:
            raise StampNotBufferedError(f"the first pose kept is of {time_text(poses[0][0])}, after {time_text(stamp)}")
        if place == len(poses):
            raise StampNotBufferedError(f"the last pose is of {time_text(poses[-1][0])}, before {time_text(stamp)}")
        (before, first), (after, second) = poses[place - 1], poses[place]
        if after - before > self.max_gap:
            raise StampNotBufferedError(
                f"the poses around {time_text(stamp)} are {seconds(after - before):.3f} s apart, the limit pose_gap is "
                f"{seconds(self.max_gap):g} s"
            )
        return interpolate(first, second, (stamp - before) / (after - before))


def _place(poses: tuple[tuple[int, Matrix], ...], stamp: int) -> int:
    """Number of the first pose that is not before this time."""
    return bisect_left(poses, stamp, key=lambda kept: kept[0])

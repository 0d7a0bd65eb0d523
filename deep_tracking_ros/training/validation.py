"""How well a tracker follows clips that it was not trained on, and how far its score can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.single_object.parts.calibration import Calibration, calibration_error
from deep_tracking_ros.single_object.parts.success import success_curve
from deep_tracking_ros.single_object.tracker import SingleObjectTracker
from deep_tracking_ros.training.clips import Clip, ClipSet
from deep_tracking_ros.types import FloatArray

DOUBTED = 0.1
"""Most of the good frames that may count as less than tracked."""
ABSENT = 6
"""Frames without the target at the end of a pass."""
FEWEST = 50
"""Frames that a curve is fitted to at least."""


@dataclass(frozen=True, eq=False)
class Passes:
    """Frames of all passes in a row; the first frame of a pass is not counted."""

    names: tuple[str, ...]  # of the clip, one a pass
    videos: tuple[str, ...]  # of the video that the clip is from, one a pass
    number: NDArray[np.intp]  # (N,) which pass
    overlap: FloatArray  # (N,) IoU with the truth; 0 where the target is not in view
    score: FloatArray  # (N,)
    present: NDArray[np.bool_]  # (N,) the target is in view

    def auc(self) -> float:
        """Mean over clips of the success AUC: share of frames with IoU above 21 thresholds from 0 to 1."""
        return float(np.mean(list(self.by_clip().values())))

    def by_clip(self) -> dict[str, float]:
        clip = np.array(self.names)[self.number]
        return {
            str(name): float(success_curve(self.overlap[(clip == name) & self.present]).mean())
            for name in np.unique(clip[self.present])
        }


def passes(
    tracker: SingleObjectTracker,
    clips: ClipSet,
    every: int = 12,
    absent: bool = True,
    strides: tuple[int, ...] = (1,),
    laps: int = 0,
) -> Passes:
    """Follow each clip forwards and backwards from several frames, and where ``absent`` into clips of other videos.

    Every pass starts at a true box and ends with the clip or, where ``absent``, with `ABSENT` frames of another video
    for each way, in which the target is not. ``strides`` other than 1 leave frames out, as a slower camera would:
    targets then move and change more from one frame to the next. At the end of a clip a pass turns round, ``laps``
    times: short clips then last as long as a robot's, and what was mistaken for the target has time to be followed.
    """
    followed: list[Clip] = []
    rows: list[tuple[int, float, float, bool]] = []
    for index, clip in enumerate(clips.clips):
        other = next((c for c in (*clips.clips[index + 1 :], *clips.clips[:index]) if c.video != clip.video), None)
        for order in (order for stride in strides for order in _orders(clip, every, stride, laps)):
            number = len(followed)
            followed.append(clip)
            view = clips.view(clip, order[0])
            (target,) = tracker.start(view.image, view.box[None])
            for frame in order[1:]:
                view = clips.view(clip, frame)
                (estimate,) = tracker.track(view.image, [target])
                if np.isfinite(view.box).all():  # without a box the truth is not known
                    rows.append((number, float(iou(estimate.box, view.box)), estimate.score, True))
            if absent and other is not None:
                for frame in range(min(ABSENT * (laps + 1), len(other.frames))):
                    (estimate,) = tracker.track(clips.view(other, frame).image, [target])
                    rows.append((number, 0.0, estimate.score, False))
    table = np.array(rows, np.float64).reshape(-1, 4)
    return Passes(
        tuple(clip.name for clip in followed), tuple(clip.video for clip in followed),
        table[:, 0].astype(np.intp), table[:, 1].astype(np.float32), table[:, 2].astype(np.float32), table[:, 3] > 0,
    )  # fmt: skip


def _orders(clip: Clip, every: int, stride: int, laps: int) -> Iterator[list[int]]:
    """Frame numbers of the passes of a clip: on from every n-th frame, and back from its last one."""
    seen, last = clip.seen(), len(clip.frames) - 1
    starts = [(int(seen[start]), last) for start in range(0, len(seen) - 5, every)]
    for first, end in (*starts, (int(seen[-1]), 0)):
        order = [first]
        for lap in range(laps + 1):
            goal = end if lap % 2 == 0 else last - end
            step = stride if goal > order[-1] else -stride
            order += range(order[-1] + step, goal + (1 if step > 0 else -1), step)
        yield order


@dataclass(frozen=True, eq=False)
class Trust:
    """What the scores of held-out passes say about the score.

    Error and shares are those of the scores that each video gets from a curve fitted to the others.
    """

    curve: Calibration
    error: float  # expected calibration error
    tracked: float  # score from which a target counts as tracked
    lost: float  # score below which a target counts as lost
    false_alarms: float  # share of frames called tracked among those with IoU <= 0.5 or without the target
    missed: float  # share of frames called lost among those with IoU > 0.5


def calibrate(raw: FloatArray, result: Passes, tracked_alarms: float = 0.1) -> Trust:
    """Fit the score's curve and the thresholds.

    The curve is fitted to all frames. How good it is, is measured by fitting to all videos but one at a time and
    looking at that one; of a single video nothing can be held out. ``tracked`` is the lowest score, 0.3 at least, at
    which at most ``tracked_alarms`` of the bad frames count as tracked, but no higher than what all but `DOUBTED` of
    the good ones reach, or a target that is followed well would be called LOST: `Trust.false_alarms` is the price.

    Args:
        raw: (N,) confidence of each frame before calibration.
        result: the passes that it comes from.
        tracked_alarms: share of bad frames that may be called tracked.

    Raises:
        DataError: there are less than `FEWEST` frames, or all of the same confidence.
    """
    if len(raw) < FEWEST:
        raise DataError(
            f"{len(raw)} frames with a known box are too few to calibrate a score, {FEWEST} are needed at least; give "
            "longer clips, or more"
        )
    good = result.overlap > 0.5
    curve = Calibration.fit(raw, good)
    held = _held_out(raw, good, np.array(result.videos)[result.number], curve)
    bad = np.sort(curve(raw[~good]))
    most = np.quantile(curve(raw[good]), DOUBTED) if good.any() else curve.probability[-1]
    highest = np.floor(1000 * most) / 1000  # a card has three decimals
    lowest = bad[int((1 - tracked_alarms) * len(bad))] + 1e-3 if len(bad) else 0.5
    tracked = float(min(max(lowest, 0.3), highest))
    lost = min(0.2, tracked / 2)
    return Trust(
        curve, calibration_error(held, good), tracked, lost,
        float((held[~good] >= tracked).mean()) if len(bad) else 0.0,
        float((held[good] < lost).mean()) if good.any() else 0.0,
    )  # fmt: skip


def _held_out(raw: FloatArray, good: NDArray[np.bool_], video: NDArray[np.str_], curve: Calibration) -> FloatArray:
    """(N,) scores by curves that were fitted to the other videos, by ``curve`` where these are too few."""
    held = np.zeros(len(raw), np.float32)
    for name in np.unique(video):
        part = video == name
        try:
            held[part] = Calibration.fit(raw[~part], good[~part])(raw[part])
        except DataError:
            held[part] = curve(raw[part])
    return held

"""The AB3DMOT measures of multi-object tracking in space: CLEAR MOT swept over confidence.

Weng, Wang, Held, Kitani: 3D Multi-Object Tracking: A Baseline and New Evaluation Metrics, IROS 2020. Numbers agree with
those of the authors' public program, which differs from the paper in what is said at each place here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.kitti import PERIOD_NS, Objects, Sequence3D, project
from deep_tracking_ros.geometry.boxes3d import Array, iou
from deep_tracking_ros.multi_object.tracker_3d import (
    Boxes3D,
    Tracker3D,
    Tracker3DParameters,
    Tracks3D,
    log_odds,
    probability,
)

NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}
"""Classes so alike that they count neither as hit nor as miss."""
STEPS = 40
MAX_OCCLUSION, MAX_TRUNCATION, MIN_HEIGHT = 2, 0, 25
_IMPOSSIBLE = 1e9

Mask = NDArray[np.bool_]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Point:
    """CLEAR MOT measures of the tracks above one score."""

    threshold: float
    recall: float  # at which this point stands on the curve, 0 to 1
    mota: float
    smota: float
    motp: float
    true_positives: int  # with those that are ignored
    false_positives: int
    misses: int
    id_switches: int


@dataclass(frozen=True)
class Measures:
    """What one tracker reached on all sequences; shares of 1."""

    samota: float
    amota: float
    amotp: float
    best: Point  # the point of the best MOTA: MOTA, MOTP and switches of the table are its
    curve: tuple[Point, ...]


def evaluate(
    sequences: Sequence[Sequence3D], results: Sequence[Objects], class_name: str, min_iou: float = 0.25
) -> Measures:
    """Measure the results of a tracker.

    Args:
        sequences: with their truth.
        results: of each sequence: boxes, scores, ids, and boxes in the image, which decide what is ignored.
        class_name: KITTI's, such as Car.
        min_iou: overlap of volumes from which a box is a hit.

    Raises `DataError` where an id occurs twice in a frame.
    """
    parts = [_Scene(s, r, class_name.lower(), min_iou) for s, r in zip(sequences, results, strict=True)]
    first = [part.match(-np.inf) for part in parts]
    scores = np.concatenate([part.score[matched[matched >= 0]] for part, matched in zip(parts, first, strict=True)])
    truths = len(scores) + sum(part.misses(matched) for part, matched in zip(parts, first, strict=True))
    curve = [_point(parts, score, recall) for score, recall in _thresholds(scores, truths)]
    best = max(curve, key=lambda point: point.mota, default=None)
    if best is None or best.mota <= 0:
        best = _point(parts, -np.inf, 1.0)
    # parts of the curve that no threshold reaches count as 0
    sums = (sum(values) / STEPS for values in zip(*((p.smota, p.mota, p.motp) for p in curve), strict=True))
    samota, amota, amotp = sums if curve else (0.0, 0.0, 0.0)
    return Measures(samota, amota, amotp, best, tuple(curve))


def run(
    sequences: Sequence[Sequence3D], class_name: str, parameters: Tracker3DParameters | None = None
) -> tuple[list[Objects], float]:
    """Track the detections of all sequences, in camera frames with the poses as odometry.

    A box is reported where its object was detected in that frame, with the log-odds of its score. Scores of detections
    that leave 0 to 1 anywhere are taken for log-odds.

    Returns:
        The results of each sequence, and the processor time of the tracker alone over all frames, s.
    """
    lowest, highest = 0.0, 1.0
    for sequence in sequences:
        lowest = min(lowest, sequence.detections.score.min(initial=0))
        highest = max(highest, sequence.detections.score.max(initial=1))
    are_odds = lowest < 0 or highest > 1
    results, spent = [], 0.0
    for sequence in sequences:
        found = sequence.detections
        order = np.argsort(found.frame, kind="stable")
        ends = np.searchsorted(found.frame[order], np.arange(sequence.frames + 1))
        scores = probability(found.score) if are_odds else found.score
        frames = [order[a:b] for a, b in pairwise(ends)]
        inputs = [Boxes3D(found.boxes[rows], scores[rows], [class_name] * len(rows)) for rows in frames]
        tracker = Tracker3D(parameters)
        started = time.process_time()
        outputs = [
            tracker.step(detections, frame * PERIOD_NS, pose)
            for frame, (detections, pose) in enumerate(zip(inputs, sequence.poses, strict=True))
        ]
        spent += time.process_time() - started
        results.append(_as_objects(outputs, sequence, class_name.lower()))
    return results, spent


def _as_objects(outputs: Sequence[Tracks3D], sequence: Sequence3D, kind: str) -> Objects:
    """What was seen, with the outline of each box in the image; what lies out of the image is left out."""
    seen = [tracks.unseen == 0 for tracks in outputs]
    rows = [int(mask.sum()) for mask in seen]
    n = sum(rows)
    boxes = np.concatenate([tracks.boxes[mask] for tracks, mask in zip(outputs, seen, strict=True)])
    image_boxes, visible = project(boxes, sequence.projection)
    return Objects(
        frame=np.repeat(np.arange(len(outputs)), rows),
        boxes=boxes,
        image_boxes=image_boxes,
        score=log_odds(np.concatenate([tracks.score[mask] for tracks, mask in zip(outputs, seen, strict=True)])),
        id=np.concatenate([tracks.id[mask] for tracks, mask in zip(outputs, seen, strict=True)]),
        kind=np.full(n, kind),
        truncation=np.zeros(n, np.int64),
        occlusion=np.zeros(n, np.int64),
    ).select(visible)


class _Scene:
    """Truth and results of one sequence, with all that does not depend on the threshold worked out once."""

    def __init__(self, sequence: Sequence3D, results: Objects, kind: str, min_iou: float) -> None:
        truth = sequence.truth
        neighbour = NEIGHBOURS.get(kind, "")
        areas = truth.select(truth.kind == "dontcare")
        truth = truth.select(((truth.kind == kind) | (truth.kind == neighbour)) & (truth.frame < sequence.frames))
        results = results.select(results.frame < sequence.frames)
        keys = np.stack([results.frame, results.id], 1)
        if len(np.unique(keys, axis=0)) < len(keys):
            raise DataError(f"sequence {sequence.name}: a track has two boxes in one frame")
        self.truth = truth
        self.ignored: Mask = (
            (truth.occlusion > MAX_OCCLUSION) | (truth.truncation > MAX_TRUNCATION) | (truth.kind == neighbour)
        )
        _, self.track = np.unique(results.id, return_inverse=True)
        self.score: Array = results.score
        self.id = results.id
        height = np.abs(results.image_boxes[:, 3] - results.image_boxes[:, 1])
        self.may_be_ignored: Mask = (height <= MIN_HEIGHT) | _covered(results, areas)
        self.ever_matched: Mask = np.zeros(len(results), bool)
        self._pair(results, min_iou)
        # rows of each trajectory, by frame
        order = np.lexsort((truth.frame, truth.id))
        self.trajectories = np.split(order, np.flatnonzero(np.diff(truth.id[order])) + 1) if len(order) else []

    def _pair(self, results: Objects, min_iou: float) -> None:
        """All pairs of truth and result that overlap enough; those that have a rival apart, by frame."""
        truth = self.truth
        row, column = np.nonzero(truth.frame[:, None] == results.frame[None, :])
        apart = truth.boxes[row, :2] - results.boxes[column, :2]
        reach = np.hypot(*truth.boxes[row, 3:5].T) + np.hypot(*results.boxes[column, 3:5].T)
        near = np.hypot(*apart.T) * 2 < reach
        row, column = row[near], column[near]
        overlap = iou(truth.boxes[row], results.boxes[column])
        keep = 1 - overlap <= 1 - min_iou
        self.row, self.column, self.overlap = row[keep], column[keep], overlap[keep]
        rows, columns = np.bincount(self.row, minlength=len(truth)), np.bincount(self.column, minlength=len(results))
        rival = (rows[self.row] > 1) | (columns[self.column] > 1)
        frames = truth.frame[self.row]
        contested = np.isin(frames, frames[rival])
        self.alone: Mask = ~contested
        groups: list[NDArray[np.intp]] = []
        if contested.any():
            pairs = np.flatnonzero(contested)
            pairs = pairs[np.argsort(frames[pairs], kind="stable")]
            groups = np.split(pairs, np.flatnonzero(np.diff(frames[pairs])) + 1)
        self.groups = groups

    def match(self, threshold: float) -> Whole:
        """Row of the result that each truth is matched with, -1 = none. Knows nothing of the frame before."""
        matched: Whole = np.full(len(self.truth), -1, np.int64)
        self._average()
        kept = self.score[self.column] >= threshold
        alone = self.alone & kept
        matched[self.row[alone]] = self.column[alone]
        for group in self.groups:
            pairs = group[kept[group]]
            if len(pairs) == 0:
                continue
            rows, i = np.unique(self.row[pairs], return_inverse=True)
            columns, j = np.unique(self.column[pairs], return_inverse=True)
            cost = np.full((len(rows), len(columns)), _IMPOSSIBLE)
            cost[i, j] = 1 - self.overlap[pairs]
            for one, other in zip(*linear_sum_assignment(cost), strict=True):
                if cost[one, other] < _IMPOSSIBLE:
                    matched[rows[one]] = columns[other]
        # a box that was ever matched is never ignored later, whatever it meets at another threshold
        self.ever_matched[matched[matched >= 0]] = True
        return matched

    def _average(self) -> None:
        """The score of a track is the mean over its life, so that a threshold keeps or drops it as a whole.

        The mean of equal numbers is not always the same number in floating point. The public program averages anew at
        each threshold, so rounding decides on the track whose score is the threshold; sums in the same order agree.
        """
        if len(self.track):
            self.score = (np.bincount(self.track, self.score) / np.bincount(self.track))[self.track]

    def misses(self, matched: Whole) -> int:
        """Truths without a match; those to be ignored are none."""
        return int(((matched < 0) & ~self.ignored).sum())

    def false_positives(self, matched: Whole, threshold: float) -> int:
        """Boxes without a match; small ones and those in unlabelled areas are none."""
        lonely = self.score >= threshold
        lonely[matched[matched >= 0]] = False
        return int((lonely & ~(self.may_be_ignored & ~self.ever_matched)).sum())

    def overlaps(self, matched: Whole) -> float:
        """Sum of the overlaps of all matches."""
        return float(self.overlap[matched[self.row] == self.column].sum())

    def id_switches(self, matched: Whole) -> int:
        """Changes of id along true trajectories, between frames that follow on each other and are both matched.

        The last id is kept over gaps and forgotten where the truth is ignored.
        """
        ids = np.where(matched >= 0, self.id[matched] if len(self.id) else -1, -1)
        count = 0
        for rows in self.trajectories:
            seen, ignored = ids[rows], self.ignored[rows]
            if (seen == seen[0]).all():
                continue
            last = seen[0]
            for before, now, skip in zip(seen[:-1], seen[1:], ignored[1:], strict=True):
                if skip:
                    last = -1
                    continue
                count += int(last not in (now, -1) and now != -1 and before != -1)
                last = now if now != -1 else last
        return count


def _point(parts: Sequence[_Scene], threshold: float, recall: float) -> Point:
    found = [(part, part.match(threshold)) for part in parts]
    hits = sum(int((matched >= 0).sum()) for _, matched in found)
    misses = sum(part.misses(matched) for part, matched in found)
    wrong = sum(part.false_positives(matched, threshold) for part, matched in found)
    switches = sum(part.id_switches(matched) for part, matched in found)
    overlap = sum(part.overlaps(matched) for part, matched in found)
    truths = sum(int((~part.ignored).sum()) for part in parts)
    errors = misses + wrong + switches
    return Point(
        threshold=threshold,
        recall=recall,
        mota=1 - errors / truths if truths else -np.inf,
        # errors that cannot be avoided at this recall are taken off; recall is the nominal one, not the measured
        smota=float(np.clip(1 - (errors - (1 - recall) * truths) / (recall * truths), 0, 1)) if truths else -np.inf,
        motp=overlap / hits if hits else 0.0,
        true_positives=hits,
        false_positives=wrong,
        misses=misses,
        id_switches=switches,
    )


def _thresholds(scores: Array, truths: int) -> list[tuple[float, float]]:
    """Scores at which recall is nearest to 1/40, 2/40, ... with that recall, as KITTI picks them."""
    found: list[tuple[float, float]] = []
    wanted = 0.0
    ordered = np.sort(scores)[::-1]
    for i, score in enumerate(ordered):
        last = i == len(ordered) - 1
        left, right = (i + 1) / truths, (i + 1 + (not last)) / truths
        if right - wanted < wanted - left and not last:
            continue
        found.append((float(score), wanted))
        wanted += 1 / STEPS
    return found[1:]  # the first stands at recall 0


def _covered(results: Objects, areas: Objects) -> Mask:
    """Boxes of which more than half lies in one unlabelled area of the image."""
    row, column = np.nonzero(results.frame[:, None] == areas.frame[None, :])
    box, area = results.image_boxes[row], areas.image_boxes[column]
    size = np.minimum(box[:, 2:], area[:, 2:]) - np.maximum(box[:, :2], area[:, :2])
    shared = np.where((size > 0).all(1), size.prod(1), 0)
    inside = shared > 0.5 * (box[:, 2:] - box[:, :2]).prod(1)
    covered: Mask = np.zeros(len(results), bool)
    covered[row[inside]] = True
    return covered

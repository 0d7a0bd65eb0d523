"""One-pass evaluation of single-object trackers: start on the first true box, follow to the end, never start again.

Measures: success AUC and precision of Wu, Lim and Yang, "Object Tracking Benchmark" (PAMI 2015), average overlap and
success rates of Huang, Zhao and Huang, "GOT-10k" (PAMI 2019).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import DataError, InvalidBoxError, OutsideImageError
from deep_tracking_ros.evaluation.attributes import ATTRIBUTES, attributes
from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.evaluation.reliability import Reliability, reliability
from deep_tracking_ros.geometry import boxes as geometry
from deep_tracking_ros.single_object.parts.calibration import calibration_error
from deep_tracking_ros.single_object.parts.success import THRESHOLDS, success_curve
from deep_tracking_ros.types import FloatArray

if TYPE_CHECKING:
    from deep_tracking_ros.single_object.tracker import SingleObjectTracker

Image = NDArray[np.uint8]
Step = Callable[[Image], tuple[ArrayLike, float]]
"""The next (H, W, 3) BGR image in; box (4,) xyxy px and score (probability that IoU > 0.5, nan = none) out."""


@dataclass(frozen=True)
class Competitor:
    """A tracker as the evaluation sees it: a function that starts a target and returns the step that follows it."""

    name: str
    backend: str
    precision: str
    start: Callable[[Image, FloatArray], Step]


def competitor(tracker: SingleObjectTracker) -> Competitor:
    """A tracker of this package, followed one target at a time.

    Where it cannot start a target, too small for it, the first box stands with a score of 0.
    """

    def start(image: Image, box: FloatArray) -> Step:
        try:
            (target,) = tracker.start(image, box[None])
        except (InvalidBoxError, OutsideImageError):
            return lambda image: (box, 0.0)

        def step(image: Image) -> tuple[ArrayLike, float]:
            (estimate,) = tracker.track(image, [target])
            return estimate.box, estimate.score

        return step

    backends = ", ".join(dict.fromkeys(engine.backend for engine in tracker.engines))
    precisions = ", ".join(dict.fromkeys(engine.precision for engine in tracker.engines))
    return Competitor(tracker.card.name, backends, precisions, start)


@dataclass(frozen=True, eq=False)
class Run:
    """What a tracker did in a sequence, from the frame on which it was started (row 0)."""

    truth: FloatArray  # (T, 4) xyxy px, nan = not in view
    boxes: FloatArray  # (T, 4) xyxy px; row 0 is the box it was started with
    scores: FloatArray  # (T,) probability that IoU > 0.5; nan = none
    cpu_seconds: FloatArray  # (T,) processor time of all threads of the process; nan where the frame was dropped
    wall_seconds: FloatArray  # (T,)
    size: tuple[int, int] | None = None  # width, height: boxes are cut to it for `average overlap`
    start_seconds: float = float("nan")  # processor time of starting the target


def run(
    competitor: Competitor,
    sequence: Sequence,
    rate: float | None = None,
    progress: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Follow the target of a sequence once. Reading images is not timed.

    Args:
        rate: frames per second at which images would arrive. A frame that arrives while the tracker is busy is
            dropped unless it is the newest when the tracker is done, as in the live node; the last box before it
            stands for it. None = every frame is processed.
        progress: called after each frame.
        clock: wall clock, s.
    """
    first = int(np.flatnonzero(np.isfinite(sequence.boxes).all(1))[0])
    count = len(sequence) - first
    boxes = np.empty((count, 4), np.float32)
    scores, cpu, wall = (np.full(count, np.nan, np.float32) for _ in range(3))

    image = sequence.image(first)
    boxes[0] = sequence.boxes[first]
    begin, begin_cpu = clock(), time.process_time()
    step = competitor.start(image, boxes[0].copy())
    started, now, index = time.process_time() - begin_cpu, clock() - begin, 0  # s since the first image arrived
    while True:
        newest = index + 1 if rate is None else max(index + 1, int(now * rate))
        boxes[index + 1 : newest], scores[index + 1 : newest] = boxes[index], scores[index]
        for _ in range(index, min(newest, count)):
            progress()
        if newest >= count:
            break
        index = newest
        image = sequence.image(first + index)
        begin, begin_cpu = clock(), time.process_time()
        boxes[index], scores[index] = step(image)
        cpu[index], wall[index] = time.process_time() - begin_cpu, clock() - begin
        if rate is not None:
            now = max(now, index / rate) + float(wall[index])
    return Run(sequence.boxes[first:], boxes, scores, cpu, wall, sequence.size, started)


@dataclass(frozen=True, eq=False)
class Measures:
    """How well and how fast a tracker followed; nan where nothing could be measured.

    ``auc``, ``precision_20`` and ``precision_normalised`` count all frames with a true box, the first one too;
    ``ao`` and the success rates leave the first out. Frames without the target count in ``calibration_error`` only.
    """

    auc: float  # mean over `THRESHOLDS` of the share of frames with a higher IoU
    precision_20: float  # share of frames whose centre is at most 20 px off
    precision_normalised: float  # share with at most 0.2 off, each axis divided by the true width or height
    ao: float  # mean IoU (boxes cut to the image where the data set states its size)
    sr_50: float  # share of frames with IoU > 0.5
    sr_75: float  # share of frames with IoU > 0.75
    fps: float  # processed frames per second of processor time (all threads together), without the start
    fps_wall: float  # processed frames per second of wall time
    start_seconds: float  # processor time of starting a target, where some learn
    calibration_error: float  # expected calibration error of the score as probability that IoU > 0.5
    frames: int  # with a true box
    dropped: int  # not processed in a run at a given rate
    success: FloatArray = field(default_factory=lambda: np.full(len(THRESHOLDS), np.nan, np.float32))

    def as_json(self) -> dict[str, Any]:
        """Plain numbers; None for nan."""
        values = {key: value for key, value in vars(self).items() if key != "success"}
        values = {key: None if np.isnan(value) else round(value, 6) for key, value in values.items()}
        return {**values, "success": [round(float(value), 6) for value in self.success]}


def measure(run: Run) -> Measures:
    """Measures of one run."""
    seen = np.isfinite(run.truth).all(1)
    truth, boxes = run.truth[seen], run.boxes[seen]
    overlap = geometry.iou(boxes, truth)
    success = success_curve(overlap)
    a, b = geometry.xyxy_to_cxcywh(boxes), geometry.xyxy_to_cxcywh(truth)
    offset = a[:, :2] - b[:, :2]
    got10k = overlap_but_first(run)
    done = np.isfinite(run.wall_seconds)
    scores, hits = _scores(run)
    return Measures(
        auc=float(success.mean()),
        precision_20=_mean(np.linalg.norm(offset, axis=1) <= 20),
        precision_normalised=_mean(np.linalg.norm(offset / b[:, 2:], axis=1) <= 0.2),
        ao=_mean(got10k),
        sr_50=_mean(got10k > 0.5),
        sr_75=_mean(got10k > 0.75),
        fps=_rate(done, run.cpu_seconds),
        fps_wall=_rate(done, run.wall_seconds),
        start_seconds=run.start_seconds,
        calibration_error=calibration_error(scores, hits),
        frames=len(truth),
        dropped=int((~done[1:]).sum()),
        success=success,
    )


def summarise(runs: SequenceOf[Run]) -> Measures:
    """Measures over all runs: means over sequences (OTB); ``ao`` and success rates over all frames (GOT-10k)."""
    each = [measure(run) for run in runs]
    overlap = np.concatenate([overlap_but_first(run) for run in runs])
    done = np.concatenate([np.isfinite(run.wall_seconds) for run in runs])
    scores, hits = (np.concatenate(parts) for parts in zip(*map(_scores, runs), strict=True))
    return Measures(
        auc=_mean([m.auc for m in each]),
        precision_20=_mean([m.precision_20 for m in each]),
        precision_normalised=_mean([m.precision_normalised for m in each]),
        ao=_mean(overlap),
        sr_50=_mean(overlap > 0.5),
        sr_75=_mean(overlap > 0.75),
        fps=_rate(done, np.concatenate([run.cpu_seconds for run in runs])),
        fps_wall=_rate(done, np.concatenate([run.wall_seconds for run in runs])),
        start_seconds=_mean([run.start_seconds for run in runs]),
        calibration_error=calibration_error(scores, hits),
        frames=sum(m.frames for m in each),
        dropped=sum(m.dropped for m in each),
        success=np.mean([m.success for m in each], axis=0, dtype=np.float32),
    )


def overlap_but_first(run: Run) -> FloatArray:
    """(n,) IoU in the frames with a true box after the first, as the GOT-10k toolkit computes it."""
    boxes, truth = run.boxes[1:], run.truth[1:]
    if run.size is not None:
        boxes, truth = geometry.clip(boxes, *run.size), geometry.clip(truth, *run.size)
    return geometry.iou(boxes, truth)[np.isfinite(truth).all(1)]


def _scores(run: Run) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Scores after the first frame and whether IoU > 0.5 held; it cannot hold where the target is out of view."""
    overlap = geometry.iou(run.boxes[1:], run.truth[1:])
    return run.scores[1:], np.isfinite(run.truth[1:]).all(1) & (overlap > 0.5)


def _mean(values: ArrayLike) -> float:
    values = np.asarray(values, np.float64)
    return float(values.mean()) if values.size else float("nan")


def _rate(done: NDArray[np.bool_], seconds: FloatArray) -> float:
    total = float(np.nansum(seconds, dtype=np.float64))
    return int(done.sum()) / total if total > 0 else float("nan")


@dataclass(frozen=True)
class AttributeMeasures:
    """Means over the sequences that have an attribute."""

    auc: float
    precision_20: float
    sequences: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "auc": round(self.auc, 6),
            "precision_20": round(self.precision_20, 6),
            "sequences": list(self.sequences),
        }


@dataclass(frozen=True, eq=False)
class Result:
    """Evaluation of one tracker on a set of sequences."""

    model: str
    backend: str
    precision: str
    threads: int
    rate: float | None  # Hz, in a run that drops frames
    overall: Measures
    per_sequence: Mapping[str, Measures]
    by_attribute: Mapping[str, AttributeMeasures]  # in the order of `ATTRIBUTES`
    reliability: Reliability
    machine: Mapping[str, Any]
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def as_json(self) -> dict[str, Any]:
        """The measures of all sequences at the top, then those of each, then how they were obtained."""
        return {
            "model": self.model,
            **self.overall.as_json(),
            "per_sequence": {name: measures.as_json() for name, measures in self.per_sequence.items()},
            "by_attribute": {name: measures.as_json() for name, measures in self.by_attribute.items()},
            "reliability": self.reliability.as_json(),
            "backend": self.backend,
            "precision": self.precision,
            "threads": self.threads,
            "rate": self.rate,
            "thresholds": [round(float(value), 2) for value in THRESHOLDS],
            "date": self.date,
            "machine": dict(self.machine),
        }


def evaluate(
    competitors: SequenceOf[Competitor],
    sequences: SequenceOf[Sequence],
    machine: Mapping[str, Any],
    threads: int = 1,
    rate: float | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Result]:
    """Run trackers once over every sequence, see `run`; they take turns, so a busy spell of the machine meets them all.

    A target is started and followed for a frame before anything is timed: networks warm up.

    Args:
        competitors: the trackers.
        sequences: of different names.
        machine: what `machine.machine` says of this one.
        threads: that networks and OpenCV were limited to, for the report.
        rate: frames per second at which images would arrive, None = no frame is dropped.
        progress: called with the name of the tracker after each of its frames.

    Returns:
        One result a tracker, in their order.

    Raises:
        DataError: no sequences, or two of one name.
    """
    names = [sequence.name for sequence in sequences]
    if not names or len(set(names)) < len(names):
        raise DataError(f"sequences to evaluate must be there and have different names, these are {names}")
    warm = sequences[0].image(0)
    height, width = warm.shape[:2]
    middle = np.array([width / 3, height / 3, 2 * width / 3, 2 * height / 3], np.float32)
    for competitor in competitors:
        competitor.start(warm, middle)(warm)
    runs: list[list[Run]] = [[] for _ in competitors]
    for sequence in sequences:
        for competitor, done in zip(competitors, runs, strict=True):
            done.append(run(competitor, sequence, rate, partial(progress, competitor.name)))
    found = {sequence.name: attributes(sequence) for sequence in sequences}
    return [
        _result(competitor, dict(zip(names, done, strict=True)), found, threads, rate, machine)
        for competitor, done in zip(competitors, runs, strict=True)
    ]


def _result(
    competitor: Competitor,
    runs: Mapping[str, Run],
    found: Mapping[str, tuple[str, ...]],
    threads: int,
    rate: float | None,
    machine: Mapping[str, Any],
) -> Result:
    each = {name: measure(one) for name, one in runs.items()}
    by_attribute = {}
    for attribute in ATTRIBUTES:
        having = tuple(name for name in runs if attribute in found[name])
        if having:
            auc, precision = _mean([each[n].auc for n in having]), _mean([each[n].precision_20 for n in having])
            by_attribute[attribute] = AttributeMeasures(auc, precision, having)
    scores, hits = (np.concatenate(parts) for parts in zip(*map(_scores, runs.values()), strict=True))
    present = np.concatenate([np.isfinite(one.truth[1:]).all(1) for one in runs.values()])
    return Result(
        competitor.name,
        competitor.backend,
        competitor.precision,
        threads,
        rate,
        summarise(list(runs.values())),
        each,
        by_attribute,
        reliability(scores, hits, present),
        machine,
    )

"""Whether the states that a single-object pipeline reports can be trusted where targets leave the image and return.

The pipeline is run as the node runs it: started on the first true box, then one state a frame. An absence is a run of
frames without a true box. Counted are the frames until LOST is reported, the frames until the target is found again
after its return, and the false alarms between, in which something else is taken for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.evaluation.report import Table
from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.pipelines.single_object import SingleObjectParameters, SingleObjectPipeline
from deep_tracking_ros.single_object.tracker import SingleObjectTracker
from deep_tracking_ros.types import FloatArray, Frame, State, TrackedBox, nanoseconds

SHORTEST = 3
"""Frames; a target that is out of view for less is not counted as absent."""
ON_TARGET = 0.3
"""Least IoU of a box that is on the target; low, since a target at the edge is seen in part."""
PROMPT = 10
"""Frames within which LOST is to be reported."""


@dataclass(frozen=True, eq=False)
class Track:
    """What the pipeline said of the target of a sequence, from the frame on which it was started (row 0)."""

    truth: FloatArray  # (T, 4) xyxy px; nan = not in view
    boxes: FloatArray  # (T, 4) xyxy px
    states: NDArray[np.int_]  # (T,) of `State`
    scores: FloatArray  # (T,) probability that IoU > 0.5
    cpu_seconds: float


def run(
    parameters: SingleObjectParameters,
    tracker: SingleObjectTracker,
    sequence: Sequence,
    rate: float = 25.0,
    progress: Callable[[], None] = lambda: None,
) -> Track:
    """Follow the target of a sequence, of which ``rate`` frames come per second."""
    pipeline = SingleObjectPipeline(parameters, tracker)
    first = int(np.flatnonzero(np.isfinite(sequence.boxes).all(1))[0])
    found: list[TrackedBox] = []
    spent = 0.0
    for index in range(first, len(sequence)):
        frame = Frame(sequence.image(index), nanoseconds(1 + (index - first) / rate))
        began = time.process_time()
        pipeline.remember("image", frame)
        if index == first:
            pipeline.command(SetTarget(sequence.boxes[first]))
        (boxes,) = (output.item.boxes for output in pipeline.step("image", frame) if output.port == "boxes")
        spent += time.process_time() - began
        found += boxes
        progress()
    pipeline.close()
    return Track(
        sequence.boxes[first:],
        np.stack([box.box for box in found]),
        np.array([int(box.state) for box in found]),
        np.array([box.score for box in found], np.float32),
        spent,
    )


@dataclass(frozen=True)
class Absence:
    """One time that a target was out of view."""

    start: int  # frame, counted from the first of the track
    frames: int
    lost_after: int | None  # frames from the start until LOST, that one counted; 0 = before it; None = not while away
    alarms: int  # times that it was TRACKED again while it was away
    alarm_frames: int  # frames in which it was not LOST, after it was
    found_after: int | None  # frames from the return until TRACKED on the target, that one counted; None = never


def absences(track: Track) -> list[Absence]:
    """All absences of a track; one at its end has no return, and ``found_after`` None."""
    seen = np.asarray(np.isfinite(track.truth).all(1))
    edges = np.flatnonzero(np.diff(np.concatenate([[1], seen.astype(int), [1]])))
    spans = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= SHORTEST]
    stops = [start for start, _ in spans[1:]] + [len(seen)]
    return [_absence(track, start, end, stop) for (start, end), stop in zip(spans, stops, strict=False)]


def _absence(track: Track, start: int, end: int, stop: int) -> Absence:
    lost = track.states == State.LOST
    tracked = track.states == State.TRACKED
    told = np.flatnonzero(lost[start:end])
    lost_after = None if not len(told) else 0 if told[0] == 0 and lost[start - 1] else int(told[0]) + 1
    away = slice(start + int(told[0]), end) if len(told) else slice(end, end)
    starts = tracked[away][1:] & ~tracked[away][:-1]
    on = tracked[end:stop] & (iou(track.boxes[end:stop], track.truth[end:stop]) > ON_TARGET)
    found = np.flatnonzero(on)
    return Absence(
        start,
        end - start,
        lost_after,
        int(starts.sum()),
        int((~lost[away]).sum()),
        int(found[0]) + 1 if len(found) else None,
    )


@dataclass(frozen=True)
class StateMeasures:
    """How far the states of some tracks can be trusted; shares are of 1, frames are counted, None = there is none."""

    absences: int
    lost_promptly: int  # absences in which LOST was reported within `PROMPT` frames
    lost_after_median: float | None  # frames
    lost_after_worst: float | None  # frames; None too where it was never reported
    returns: int  # absences with frames after them
    found: int  # of those, times that the target was found again
    found_after_median: float | None  # frames
    found_after_worst: float | None  # frames, of those that were found
    alarms: int
    absent_frames: int
    alarm_share: float | None  # of the frames in which the target was away, those not LOST after it was reported
    present_frames: int
    right: float  # share of the frames with the target in view that are TRACKED on it
    wrong: float  # TRACKED or UNCERTAIN elsewhere
    missed: float  # LOST
    fps: float  # frames per second of processor time


def measure(tracks: SequenceOf[Track]) -> StateMeasures:
    """Measures over all frames and absences of some tracks."""
    lists = [absences(track) for track in tracks]
    each = [one for found in lists for one in found]
    back = [
        one
        for track, found in zip(tracks, lists, strict=True)
        for one in found
        if one.start + one.frames < len(track.truth)
    ]
    lost = [one.lost_after for one in each]
    found_after = [one.found_after for one in back if one.found_after is not None]
    seen = np.concatenate([np.isfinite(track.truth).all(1) for track in tracks])
    states = np.concatenate([track.states for track in tracks])[seen]
    on = np.concatenate([iou(track.boxes, track.truth) for track in tracks])[seen] > ON_TARGET
    gone = states == State.LOST
    away = sum(one.frames for one in each)
    frames = sum(len(track.truth) for track in tracks)
    return StateMeasures(
        absences=len(each),
        lost_promptly=sum(n is not None and n <= PROMPT for n in lost),
        lost_after_median=_median([n for n in lost if n is not None]),
        lost_after_worst=None if None in lost else _worst([n for n in lost if n is not None]),
        returns=len(back),
        found=len(found_after),
        found_after_median=_median(found_after),
        found_after_worst=_worst(found_after),
        alarms=sum(one.alarms for one in each),
        absent_frames=away,
        alarm_share=sum(one.alarm_frames for one in each) / away if away else None,
        present_frames=int(seen.sum()),
        right=float(((states == State.TRACKED) & on).mean()),
        wrong=float((~gone & ~on).mean()),
        missed=float(gone.mean()),
        fps=frames / max(sum(track.cpu_seconds for track in tracks), 1e-9),
    )


def _median(values: SequenceOf[int]) -> float | None:
    return float(np.median(values)) if values else None


def _worst(values: SequenceOf[int]) -> float | None:
    return float(max(values)) if values else None


@dataclass(frozen=True, eq=False)
class StateResult:
    """Evaluation of the states of one model on a set of sequences."""

    model: str
    backend: str
    overall: StateMeasures
    per_sequence: Mapping[str, tuple[StateMeasures, list[Absence]]]
    parameters: Mapping[str, Any]
    machine: Mapping[str, Any]
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def as_json(self) -> dict[str, Any]:
        """The measures over all sequences at the top, then those of each, then how they came about."""
        each = {
            name: {**vars(measures), "absences": [vars(one) for one in found]}
            for name, (measures, found) in self.per_sequence.items()
        }
        return {
            "model": self.model,
            **vars(self.overall),
            "per_sequence": each,
            "backend": self.backend,
            "parameters": dict(self.parameters),
            "date": self.date,
            "machine": dict(self.machine),
        }


def evaluate(
    parameters: SingleObjectParameters,
    tracker: SingleObjectTracker,
    sequences: SequenceOf[Sequence],
    machine: Mapping[str, Any],
    rate: float = 25.0,
    progress: Callable[[], None] = lambda: None,
) -> StateResult:
    """Follow the target of every sequence; see `run`. Raises `DataError` where no target ever leaves."""
    tracks = {sequence.name: run(parameters, tracker, sequence, rate, progress) for sequence in sequences}
    each = {name: (measure([track]), absences(track)) for name, track in tracks.items()}
    overall = measure(list(tracks.values()))
    if not overall.absences:
        raise DataError(
            f"in none of {', '.join(tracks)} the target is out of view for {SHORTEST} frames or more; cut sequences in "
            "which it leaves out of these with --leaving"
        )
    backends = ", ".join(dict.fromkeys(engine.backend for engine in tracker.engines))
    return StateResult(tracker.card.name, backends, overall, each, vars(parameters), machine)


def tables(results: SequenceOf[StateResult]) -> list[Table]:
    """One row per sequence and model, then one row per model."""
    each = Table(
        "frames until LOST / found again, of each absence; - = never",
        ("sequence", *(result.model for result in results)),
        tuple((name, *(_after(result, name) for result in results)) for name in results[0].per_sequence),
    )
    header = (
        "model",
        "absences",
        "prompt",
        "lost after",
        "found",
        "found after",
        "alarms",
        "right",
        "wrong",
        "missed",
        "fps",
    )
    rows = []
    for result in results:
        m = result.overall
        rows.append(
            (
                result.model,
                str(m.absences),
                f"{m.lost_promptly}/{m.absences}",
                f"{_number(m.lost_after_median)} / {_number(m.lost_after_worst)}",
                f"{m.found}/{m.returns}",
                f"{_number(m.found_after_median)} / {_number(m.found_after_worst)}",
                f"{m.alarms}, {100 * (m.alarm_share or 0):.1f} %",
                f"{m.right:.3f}",
                f"{m.wrong:.3f}",
                f"{m.missed:.3f}",
                f"{m.fps:.1f}",
            )
        )
    return [each, Table(f"{len(results[0].per_sequence)} sequences", header, tuple(rows))]


def _after(result: StateResult, name: str) -> str:
    _, found = result.per_sequence[name]
    return ", ".join(f"{_number(one.lost_after)} / {_number(one.found_after)}" for one in found) or "none"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"

"""Evaluation of multi-object trackers on sequences in the layout of the MOTChallenge, measured by TrackEval.

A sequence is a folder with ``seqinfo.ini``, ``det/det.txt`` (the detections that all trackers are given) and
``gt/gt.txt``. HOTA: Luiten et al., IJCV 2021. TrackEval and the peers come with the extra ``eval``.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.multi_object.tracker import Boxes, MultiObjectTracker, Settings
from deep_tracking_ros.types import NANOSECONDS, State

Array = NDArray[np.float64]
Found = tuple[NDArray[np.intp], Array]
"""(N,) ids and (N, 4) xyxy boxes in px that a tracker reports for one frame."""
LOW_SCORE = 0.1
"""Detections below it are given to no tracker."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """One sequence with its detections."""

    name: str  # its folder, below the one that was given
    folder: Path
    rate: float  # frames/s
    frames: tuple[tuple[Array, Array], ...]  # of each frame (N, 4) xyxy px and (N,) scores


@dataclass(frozen=True)
class Competitor:
    """A tracker as the evaluation sees it."""

    name: str
    start: Callable[[float], Callable[[float, Array, Array], tuple[float, Found]]]
    """Frame rate in, step out; a step takes time (s), boxes and scores and gives the seconds that it took, and what
    it reports. Only the tracker's own call is timed."""


@dataclass(frozen=True)
class Measures:
    """Shares are 0 to 1, as TrackEval gives them."""

    hota: float
    deta: float
    assa: float
    mota: float
    idf1: float
    id_switches: int


@dataclass(frozen=True)
class Result:
    """What one tracker reached."""

    name: str
    overall: Measures
    per_sequence: Mapping[str, Measures]
    fps: float  # frames per second of processor time, association alone
    frames: int

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        each = {name: _rounded(measures) for name, measures in self.per_sequence.items()}
        head = {"tracker": self.name, **_rounded(self.overall)}
        return {**head, "fps": round(self.fps, 1), "frames": self.frames, "per_sequence": each}


def find_sequences(folder: Path) -> list[Sequence]:
    """All sequences in or below a folder, by name. Raises `DataError` where there is none, or one is broken."""
    found = sorted(file.parent for file in folder.rglob("seqinfo.ini"))
    if not found:
        raise DataError(f"{folder} has no sequence: a folder with seqinfo.ini, det/det.txt and gt/gt.txt")
    return [_read(path, folder) for path in found]


def _read(path: Path, root: Path) -> Sequence:
    config = configparser.ConfigParser()
    try:
        config.read(path / "seqinfo.ini")
        rate, length = float(config["Sequence"]["frameRate"]), int(config["Sequence"]["seqLength"])
        rows = np.loadtxt(path / "det/det.txt", delimiter=",", ndmin=2)
    except (OSError, KeyError, ValueError, configparser.Error) as error:
        raise DataError(f"{path} is no sequence that can be read: {error}") from None
    if not (path / "gt/gt.txt").is_file():
        raise DataError(f"{path} has no gt/gt.txt, so nothing can be measured")
    if not rows.size:
        rows = np.zeros((0, 7))
    if rows.shape[1] < 7:
        raise DataError(f"{path}/det/det.txt has {rows.shape[1]} columns; frame, id, x, y, w, h, score are needed")
    if rows[:, 6].max(initial=0) > 1:
        raise DataError(f"{path}/det/det.txt has a score of {rows[:, 6].max():g}; scores must be 0 to 1")
    rows = rows[(rows[:, 6] >= LOW_SCORE) & (rows[:, 0] >= 1)]
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    starts = np.searchsorted(rows[:, 0], np.arange(1, length + 2))
    boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], 1)
    frames = tuple((boxes[a:b], rows[a:b, 6]) for a, b in pairwise(starts))
    name = path.relative_to(root).as_posix() if path != root else path.resolve().name
    return Sequence(name, path, rate, frames)


def ours(settings: Settings | None = None) -> Competitor:
    """The tracker of this package; it reports what is confirmed and was seen in the frame."""

    def start(rate: float) -> Callable[[float, Array, Array], tuple[float, Found]]:
        tracker = MultiObjectTracker(settings)

        def step(at: float, boxes: Array, scores: Array) -> tuple[float, Found]:
            found = Boxes(boxes, scores, np.zeros(len(boxes), np.intp))
            began = time.process_time()
            tracks = tracker.step(round(at * NANOSECONDS), found)
            cost = time.process_time() - began
            shown = tracks.states == State.CONFIRMED
            return cost, (tracks.ids[shown], tracks.boxes[shown])

        return step

    return Competitor("deep_tracking_ros", start)


PEERS: Mapping[str, tuple[str, float, Mapping[str, object]]] = {
    "sort": ("SORTTracker", 0.5, {}),
    "bytetrack": ("ByteTrackTracker", LOW_SCORE, {}),
    "oc-sort": ("OCSORTTracker", LOW_SCORE, {}),
    "bot-sort": ("BoTSORTTracker", LOW_SCORE, {"enable_cmc": False}),
}
"""Name to class of the package ``trackers``, least score of the detections that it is given, and options."""


def peer(name: str) -> Competitor:
    """A tracker of the package ``trackers``, with its defaults and the frame rate of the sequence.

    Raises `InvalidRequestError` where the package is not there.
    """
    kind, least, options = PEERS[name]
    supervision, trackers = _library("supervision"), _library("trackers")

    def start(rate: float) -> Callable[[float, Array, Array], tuple[float, Found]]:
        tracker = getattr(trackers, kind)(frame_rate=rate, **options)

        def step(at: float, boxes: Array, scores: Array) -> tuple[float, Found]:
            good = scores >= least
            detections = supervision.Detections(
                xyxy=boxes[good].astype(np.float32),
                confidence=scores[good].astype(np.float32),
                class_id=np.zeros(int(good.sum()), int),
            )
            began = time.process_time()
            result = tracker.update(detections)
            cost = time.process_time() - began
            ids = np.zeros(0, np.intp) if result.tracker_id is None else np.asarray(result.tracker_id, np.intp)
            return cost, (ids[ids >= 0], np.asarray(result.xyxy, np.float64)[ids >= 0])

        return step

    return Competitor(name, start)


def evaluate(
    competitor: Competitor, sequences: SequenceOf[Sequence], advance: Callable[[], None] = lambda: None
) -> Result:
    """Run a tracker over sequences and measure it. Frames without detections are steps too."""
    results: dict[str, list[Found]] = {}
    spent = 0.0
    for sequence in sequences:
        step = competitor.start(sequence.rate)
        reports = results[sequence.name] = []
        for index, (boxes, scores) in enumerate(sequence.frames):
            cost, report = step(index / sequence.rate, boxes, scores)
            spent += cost
            reports.append(report)
            advance()
    overall, each = measure(sequences, results)
    frames = sum(len(sequence.frames) for sequence in sequences)
    return Result(competitor.name, overall, each, frames / spent if spent else float("nan"), frames)


def measure(
    sequences: SequenceOf[Sequence], results: Mapping[str, SequenceOf[Found]]
) -> tuple[Measures, dict[str, Measures]]:
    """Measures over all sequences and of each, as TrackEval computes them for MOT17 (pre-processing included)."""
    library = _library("trackeval")
    metrics = {
        "hota": library.metrics.HOTA(),
        "clear": library.metrics.CLEAR({"PRINT_CONFIG": False}),
        "identity": library.metrics.Identity({"PRINT_CONFIG": False}),
    }
    values: dict[str, dict[str, Any]] = {kind: {} for kind in metrics}
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        for sequence in sequences:
            name = sequence.folder.resolve().name
            file = Path(scratch) / "ours" / f"{name}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(_lines(results[sequence.name])))
            data = library.datasets.MotChallenge2DBox(
                {
                    "GT_FOLDER": str(sequence.folder.resolve().parent),
                    "TRACKERS_FOLDER": scratch,
                    "TRACKERS_TO_EVAL": ["ours"],
                    "TRACKER_SUB_FOLDER": "",
                    "SKIP_SPLIT_FOL": True,
                    "SEQ_INFO": {name: len(sequence.frames)},
                    "PRINT_CONFIG": False,
                }
            )
            prepared = data.get_preprocessed_seq_data(data.get_raw_seq_data("ours", name), "pedestrian")
            for kind, metric in metrics.items():
                values[kind][sequence.name] = metric.eval_sequence(prepared)
    each = {s.name: _measures({kind: found[s.name] for kind, found in values.items()}) for s in sequences}
    return _measures({kind: metric.combine_sequences(values[kind]) for kind, metric in metrics.items()}), each


def _lines(reports: Iterable[Found]) -> Iterable[str]:
    """Rows of a MOTChallenge result file: frame, id, left, top, width, height, score and three unused numbers."""
    for frame, (ids, boxes) in enumerate(reports, 1):
        for id_, (x0, y0, x1, y1) in zip(ids.tolist(), boxes.tolist(), strict=True):
            yield f"{frame},{id_},{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f},1,-1,-1,-1\n"


def _measures(values: Mapping[str, Mapping[str, Any]]) -> Measures:
    hota, clear, identity = values["hota"], values["clear"], values["identity"]
    return Measures(
        hota=float(np.mean(hota["HOTA"])),
        deta=float(np.mean(hota["DetA"])),
        assa=float(np.mean(hota["AssA"])),
        mota=float(clear["MOTA"]),
        idf1=float(identity["IDF1"]),
        id_switches=int(clear["IDSW"]),
    )


def _rounded(measures: Measures) -> dict[str, float]:
    return {name: round(value, 6) for name, value in vars(measures).items()}


def _library(name: str) -> Any:
    """A library of the extra ``eval``; they greet on standard output."""
    import importlib

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module(name)
    except ImportError as error:
        raise InvalidRequestError(
            f"the evaluation of multi-object trackers needs the Python package {name} ({error}); "
            "pip install 'deep_tracking_ros[eval]' brings it"
        ) from None

"""Tables of results, for the terminal and for pages."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from deep_tracking_ros.evaluation.attributes import ATTRIBUTES, MAIN, MEASURED
from deep_tracking_ros.evaluation.masks import MaskResult
from deep_tracking_ros.evaluation.sot import Result

SHOWN = (*MAIN, *MEASURED)
"""Attributes that have a column; the JSON file has all."""


@dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first column is text, the others are numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def markdown(table: Table) -> str:
    """The table as GitHub's Markdown has it, with its title in italics below."""
    lines = ["| " + " | ".join(table.header) + " |", "|---" + "|---:" * (len(table.header) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in table.rows), "", f"*{table.title}*"])


def number(value: float, places: int = 3) -> str:
    """A number, or a dash for nan."""
    return "-" if value != value else f"{value:.{places}f}"


def overall(results: SequenceOf[Result]) -> Table:
    """One row a tracker: accuracy, trust and speed."""
    first = results[0]
    title = f"{len(first.per_sequence)} sequences, {first.overall.frames} frames with a target"
    title += f", images at {first.rate:g} Hz" if first.rate else ""
    header = ("model", "backend", "AUC", "P20", "AO", "SR50", "ECE", "fps", "wall", "start ms")
    rows = []
    for result in results:
        m = result.overall
        scores = map(number, (m.auc, m.precision_20, m.ao, m.sr_50, m.calibration_error))
        speed = (number(m.fps, 1), number(m.fps_wall, 1), number(1000 * m.start_seconds, 0))
        dropped = (str(m.dropped),) if first.rate else ()
        rows.append((result.model, f"{result.backend} {result.precision}", *scores, *speed, *dropped))
    return Table(title, (*header, *(("dropped",) if first.rate else ())), tuple(rows))


def by_attribute(results: SequenceOf[Result]) -> Table:
    """AUC by what is hard about a sequence, one row a tracker; how many sequences there are stands in the header."""
    names = [name for name in ATTRIBUTES if name in SHOWN and name in results[0].by_attribute]
    counts = [len(results[0].by_attribute[name].sequences) for name in names]
    header = ("model", *(f"{name} ({count})" for name, count in zip(names, counts, strict=True)))
    rows = ((r.model, *(number(r.by_attribute[name].auc) for name in names)) for r in results)
    return Table("AUC by attribute (number of sequences)", header, tuple(rows))


def by_sequence(results: SequenceOf[Result]) -> Table:
    """AUC, one row a sequence and one column a tracker."""
    header = ("sequence", "frames", *(result.model for result in results))
    rows = (
        (name, str(first.frames), *(number(result.per_sequence[name].auc) for result in results))
        for name, first in results[0].per_sequence.items()
    )
    return Table("AUC by sequence", header, tuple(rows))


def masks(results: SequenceOf[MaskResult]) -> Table:
    """One row for each tracker and way to get a mask."""
    rows = (
        (f"{result.model}: {way}", number(m.region), number(m.contours), number((m.region + m.contours) / 2),
         number(m.fps, 1))
        for result in results
        for way, m in result.ways.items()
    )  # fmt: skip
    title = f"Masks in {len(results[0].per_sequence)} sequences"
    return Table(title, ("model and mask", "J", "F", "J&F", "fps"), tuple(rows))

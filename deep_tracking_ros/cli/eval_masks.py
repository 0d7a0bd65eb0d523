"""``deep-tracking eval masks``: masks of trackers on sequences with true masks."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from deep_tracking_ros.cli.measuring import Format, check_outputs, make_console, progress_bar, show


def masks(
    data: Annotated[Path, typer.Option(help="A sequence, or a folder of them, in the layout of DAVIS.")],
    model: Annotated[list[str], typer.Option(help="Model name or path. Repeat it to compare several.")],
    backend: Annotated[str, typer.Option(help="auto, torch, onnxruntime or tensorrt.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the networks and of OpenCV.")] = 1,
    sequences: Annotated[str | None, typer.Option(help="Only these sequences: names with commas between.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Measure masks in each n-th frame; GrabCut is slow.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all results to this file.")] = None,
    how: Annotated[Format, typer.Option("--format", help="How tables are printed.")] = Format.table,
) -> None:
    """Region similarity J and contour accuracy F (DAVIS) of a tracker started on the first true box.

    Its own mask, where it gives one, stands beside its box filled and beside GrabCut started from its box.
    fps: frames per second of processor time, tracker and GrabCut together.
    """
    from deep_tracking_ros.evaluation import report
    from deep_tracking_ros.evaluation.datasets import find_sequences
    from deep_tracking_ros.evaluation.machine import limit_threads, machine
    from deep_tracking_ros.evaluation.masks import evaluate
    from deep_tracking_ros.single_object.registry import make_tracker

    check_outputs(json_file)
    limit_threads(threads)
    found = find_sequences(data, [name.strip() for name in sequences.split(",")] if sequences else None)
    trackers = [make_tracker(name, backend=backend, precision=precision, threads=threads) for name in model]
    here = machine()
    console = make_console()
    with progress_bar(console, sum(map(len, found)) * len(trackers)) as advance:
        results = [evaluate(tracker, found, every, partial(advance, tracker.card.name)) for tracker in trackers]
    show(console, report.masks(results), how)
    if json_file:
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        written = {
            "models": [one.as_json() for one in results],
            "every": every,
            "threads": threads,
            "date": date,
            "machine": here,
        }
        json_file.write_text(json.dumps(written, indent=1) + "\n")

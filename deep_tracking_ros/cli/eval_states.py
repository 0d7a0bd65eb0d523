"""``deep-tracking eval states``: whether LOST and TRACKED can be trusted where targets leave and return."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from deep_tracking_ros.cli.measuring import Format, check_outputs, make_console, progress_bar, show


def states(
    data: Annotated[Path, typer.Option(help="A sequence, or a folder of them: OTB, VOT, GOT-10k or DAVIS layout.")],
    model: Annotated[list[str], typer.Option(help="Model name or path. Repeat it to compare several.")],
    leaving: Annotated[
        bool,
        typer.Option("--leaving", help="See each sequence through a window that loses its target twice."),
    ] = False,
    backend: Annotated[str, typer.Option(help="auto, torch, onnxruntime or tensorrt.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the networks and of OpenCV.")] = 1,
    sequences: Annotated[str | None, typer.Option(help="Only these sequences: names with commas between.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Frames per second, for what depends on time.")] = 25.0,
    params: Annotated[Path | None, typer.Option(help="YAML file of parameters of the pipeline.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the pipeline as name=value.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all results to this file.")] = None,
    how: Annotated[Format, typer.Option("--format", help="How tables are printed.")] = Format.table,
) -> None:
    """Run the single-object pipeline on sequences whose targets leave the image (frames without a true box).

    prompt: absences in which LOST came within 10 frames. lost after, found after: frames, median and worst.
    alarms: times that something else was taken for an absent target, and the share of absent frames that took.
    right, wrong, missed: of the frames with the target in view those TRACKED on it, not LOST elsewhere, and LOST.
    """
    from deep_tracking_ros.cli.process import read_parameters
    from deep_tracking_ros.errors import DataError
    from deep_tracking_ros.evaluation import states as evaluation
    from deep_tracking_ros.evaluation.absence import leaving as cut_leaving
    from deep_tracking_ros.evaluation.datasets import find_sequences
    from deep_tracking_ros.evaluation.machine import limit_threads, machine
    from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline
    from deep_tracking_ros.single_object.registry import make_tracker

    check_outputs(json_file)
    limit_threads(threads)
    found = find_sequences(data, [name.strip() for name in sequences.split(",")] if sequences else None)
    if leaving:
        names = ", ".join(sequence.name for sequence in found)
        found = [cut for cut in map(cut_leaving, found) if cut is not None]
        if not found:
            raise DataError(f"no window of {names} leaves the target out: it is too large, or too near to the middle")
    parameters = read_parameters(SingleObjectPipeline, params, assign or [])
    trackers = [make_tracker(name, backend=backend, precision=precision, threads=threads) for name in model]
    here = machine()
    console = make_console()
    with progress_bar(console, sum(map(len, found)) * len(trackers)) as advance:
        results = [
            evaluation.evaluate(parameters, tracker, found, here, rate, partial(advance, tracker.card.name))
            for tracker in trackers
        ]
    for table in evaluation.tables(results):
        show(console, table, how)
    if json_file:
        first, *others = [result.as_json() for result in results]
        json_file.write_text(
            json.dumps({**first, "compared": others, "threads": threads, "rate": rate}, indent=1) + "\n"
        )

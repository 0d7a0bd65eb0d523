"""``deep-tracking eval sot``: single-object trackers on sequences with known truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deep_tracking_ros.cli.measuring import Format, check_outputs, make_competitor, make_console, progress_bar, show


def sot(
    data: Annotated[Path, typer.Option(help="A sequence, or a folder of them: OTB, VOT, GOT-10k or DAVIS layout.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model name or path, or opencv-csrt, -kcf, -mil, -nano, -vit. Repeat it to compare several."),
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, torch, onnxruntime or tensorrt.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the networks and of OpenCV.")] = 1,
    sequences: Annotated[str | None, typer.Option(help="Only these sequences: names with commas between.")] = None,
    peers: Annotated[bool, typer.Option("--peers", help="Run the trackers of OpenCV beside the models.")] = False,
    peer_weights: Annotated[
        Path | None, typer.Option(help="Folder with the ONNX files of NanoTrack V2 and ViTTrack, for --peers.")
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Drop the frames that a live run on this machine would drop.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0.1, help="Frames per second of the camera, for --realtime.")] = 30.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all results to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the success curves into this picture (png, pdf, svg).")
    ] = None,
    reliability: Annotated[
        Path | None, typer.Option(help="Draw how far each score can be trusted into this picture (png, pdf, svg).")
    ] = None,
    how: Annotated[Format, typer.Option("--format", help="How tables are printed.")] = Format.table,
) -> None:
    """One-pass evaluation of single-object trackers: start on the first true box, never start again.

    AUC: mean share of frames above 21 overlaps, 0 to 1. P20: share within 20 px.
    AO, SR50: mean overlap and share above 0.5, as in GOT-10k.
    ECE: calibration error of the score, frames without the target included.
    fps: frames per second of processor time; wall: of the clock. start: processor time to start a target.
    """
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.evaluation import report
    from deep_tracking_ros.evaluation.datasets import find_sequences
    from deep_tracking_ros.evaluation.machine import limit_threads, machine
    from deep_tracking_ros.evaluation.peers import peers as peer_names
    from deep_tracking_ros.evaluation.sot import evaluate
    from deep_tracking_ros.single_object.parts.success import THRESHOLDS

    names = list(dict.fromkeys([*(model or []), *(peer_names(peer_weights) if peers else [])]))
    if not names:
        raise InvalidRequestError("nothing to evaluate; give --model NAME or --peers")
    check_outputs(json_file, pictures=(plot, reliability))
    limit_threads(threads)
    found = find_sequences(data, [name.strip() for name in sequences.split(",")] if sequences else None)
    competitors = [make_competitor(name, backend, precision, threads, peer_weights) for name in names]
    console = make_console()
    frames = sum(map(len, found))
    here = machine()
    with progress_bar(console, frames * len(competitors)) as advance:
        results = evaluate(competitors, found, here, threads, rate if realtime else None, advance)

    for table in (report.by_sequence(results), report.by_attribute(results), report.overall(results)):
        if len(table.header) > 1:  # easy sequences have no attributes
            show(console, table, how)
    if json_file:
        first, *others = [result.as_json() for result in results]
        json_file.write_text(json.dumps({**first, "compared": others}, indent=1) + "\n")
    if plot:
        from deep_tracking_ros.visualization.plots import success_plot

        curves = {result.model: result.overall.success for result in results}
        success_plot(curves, THRESHOLDS, plot, f"{len(found)} sequences, {frames} frames")
    if reliability:
        from deep_tracking_ros.visualization.plots import reliability_plot

        reliability_plot({result.model: result.reliability for result in results}, reliability)

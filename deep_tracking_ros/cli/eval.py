"""``deep-tracking eval``: measure models on data with known truth."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from deep_tracking_ros.evaluation.sot import Competitor, Result

app = typer.Typer(no_args_is_help=True, help="Measure models on data with known truth.")


@app.callback()
def evaluation() -> None:
    """Measure models on data with known truth."""


@app.command()
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
) -> None:
    """One-pass evaluation of single-object trackers: start on the first true box, never start again.

    AUC: mean share of frames above 21 overlaps, 0 to 1. P20: share within 20 px.
    AO, SR50: mean overlap and share above 0.5, as in GOT-10k.
    ECE: calibration error of the score.
    fps: frames per second of processor time; wall: of the clock.
    """
    from rich.console import Console

    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.evaluation.datasets import find_sequences
    from deep_tracking_ros.evaluation.machine import limit_threads, machine
    from deep_tracking_ros.evaluation.peers import peers as peer_names
    from deep_tracking_ros.evaluation.sot import evaluate
    from deep_tracking_ros.single_object.parts.success import THRESHOLDS

    names = list(dict.fromkeys([*(model or []), *(peer_names(peer_weights) if peers else [])]))
    if not names:
        raise InvalidRequestError("nothing to evaluate; give --model NAME or --peers")
    for file in filter(None, (json_file, plot)):
        if not file.absolute().parent.is_dir():
            raise InvalidRequestError(f"cannot write {file}: there is no folder {file.absolute().parent}")
    if plot and plot.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InvalidRequestError(f"cannot draw {plot}: the file must end in .png, .pdf or .svg")
    limit_threads(threads)
    found = find_sequences(data, [name.strip() for name in sequences.split(",")] if sequences else None)
    competitors = [_competitor(name, backend, precision, threads, peer_weights) for name in names]

    here = machine()
    console = Console()
    results: list[Result] = []
    frames = sum(map(len, found))
    with _progress(console, frames * len(competitors)) as advance:
        for one in competitors:
            results.append(evaluate(one, found, here, threads, rate if realtime else None, partial(advance, one.name)))

    _print(console, results)
    if json_file:
        first, *others = [result.as_json() for result in results]
        json_file.write_text(json.dumps({**first, "compared": others}, indent=1) + "\n")
    if plot:
        from deep_tracking_ros.visualization.plots import success_plot

        curves = {result.model: result.overall.success for result in results}
        success_plot(curves, THRESHOLDS, plot, f"{len(found)} sequences, {frames} frames")


@app.command()
def mot3d(
    data: Annotated[Path, typer.Option(help="Folder with truth, detections and poses, laid out as KITTI tracking.")],
    class_name: Annotated[str, typer.Option(help="Car, Pedestrian or Cyclist.")] = "Car",
    min_iou: Annotated[float, typer.Option(min=0.01, max=1, help="Overlap of volumes that makes a hit.")] = 0.25,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all results to this file.")] = None,
) -> None:
    """Follow the detections in space of each sequence and measure the tracks as AB3DMOT does.

    sAMOTA, AMOTA, AMOTP: averages over recall; MOTA, MOTP, switches: at the best threshold. Percent; in the JSON file
    shares of 1. fps: frames per second of processor time, tracker alone.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.evaluation.kitti import read_sequences
    from deep_tracking_ros.evaluation.machine import limit_threads, machine
    from deep_tracking_ros.evaluation.mot3d import evaluate, run

    if json_file and not json_file.absolute().parent.is_dir():
        raise InvalidRequestError(f"cannot write {json_file}: there is no folder {json_file.absolute().parent}")
    limit_threads(1)
    here = machine()
    found = read_sequences(data, class_name)
    results, spent = run(found, class_name)
    m = evaluate(found, results, class_name, min_iou)
    frames = sum(sequence.frames for sequence in found)
    best, fps = m.best, frames / spent
    table = Table(title=f"{class_name}: {len(found)} sequences, {frames} frames, IoU {min_iou:g}", box=box.SIMPLE_HEAD)
    for column in ("sAMOTA", "AMOTA", "AMOTP", "MOTA", "MOTP", "switches", "false", "missed", "fps"):
        table.add_column(column, justify="right", no_wrap=True)
    shares = [f"{100 * value:.2f}" for value in (m.samota, m.amota, m.amotp, best.mota, best.motp)]
    counts = [str(count) for count in (best.id_switches, best.false_positives, best.misses)]
    table.add_row(*shares, *counts, f"{fps:.0f}")
    Console().print(table)
    if json_file:
        written = {
            "class_name": class_name,
            "min_iou": min_iou,
            "sequences": [sequence.name for sequence in found],
            "frames": frames,
            "samota": m.samota,
            "amota": m.amota,
            "amotp": m.amotp,
            "mota": best.mota,
            "motp": best.motp,
            "id_switches": best.id_switches,
            "false_positives": best.false_positives,
            "misses": best.misses,
            "fps": fps,
            "curve": [vars(point) for point in m.curve],
            "machine": here,
        }
        json_file.write_text(json.dumps(written, indent=1) + "\n")


def _competitor(name: str, backend: str, precision: str, threads: int, weights: Path | None) -> Competitor:
    from deep_tracking_ros.evaluation.peers import PREFIX, make_peer
    from deep_tracking_ros.evaluation.sot import competitor

    if name.startswith(PREFIX):
        return make_peer(name, weights)
    from deep_tracking_ros.single_object.registry import make_tracker

    return competitor(make_tracker(name, backend=backend, precision=precision, threads=threads))


@contextmanager
def _progress(console: Console, frames: int) -> Iterator[Callable[[str], None]]:
    """A bar that is drawn between frames only, so that it takes no processor time from what is measured."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=frames)
        drawn = 0.0

        def advance(name: str) -> None:
            nonlocal drawn
            bar.update(task, advance=1, description=name)
            if time.monotonic() - drawn > 0.2:
                bar.refresh()
                drawn = time.monotonic()

        yield advance


def _print(console: Console, results: list[Result]) -> None:
    from rich import box
    from rich.table import Table

    each = Table(title="AUC / P20 by sequence", box=box.SIMPLE_HEAD)
    each.add_column("sequence")
    each.add_column("frames", justify="right")
    for result in results:
        each.add_column(result.model, justify="right")
    for name, first in results[0].per_sequence.items():
        found = (result.per_sequence[name] for result in results)
        each.add_row(name, str(first.frames), *(f"{m.auc:.3f} / {m.precision_20:.2f}" for m in found))
    console.print(each)

    rate = results[0].rate
    table = Table(title=f"{len(results[0].per_sequence)} sequences" + (f", frames at {rate:g} Hz" if rate else ""))
    table.box, table.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
    table.add_column("model")
    table.add_column("backend")
    for column in ("AUC", "P20", "AO", "SR50", "ECE", "fps", "wall", *(["dropped"] if rate else [])):
        table.add_column(column, justify="right", no_wrap=True)
    for result in results:
        m = result.overall
        scores = (m.auc, m.precision_20, m.ao, m.sr_50, m.calibration_error)
        cells = ["-" if value != value else f"{value:.3f}" for value in scores]
        speed = [f"{m.fps:.1f}", f"{m.fps_wall:.1f}", *([str(m.dropped)] if rate else [])]
        table.add_row(result.model, f"{result.backend} {result.precision}", *cells, *speed)
    console.print(table)


@app.command()
def mot(
    data: Annotated[Path, typer.Option(help="A sequence, or a folder of them, in the layout of the MOTChallenge.")],
    peers: Annotated[
        bool, typer.Option("--peers", help="Run SORT, ByteTrack, OC-SORT and BoT-SORT of the package trackers too.")
    ] = False,
    params: Annotated[
        Path | None, typer.Option(help="YAML file of parameters of the pipeline multi_object_tracker.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all results to this file.")] = None,
) -> None:
    """Follow the detections of each sequence (det/det.txt) and measure the tracks with TrackEval.

    HOTA, DetA, AssA, MOTA, IDF1: percent; in the JSON file shares of 1.
    fps: frames per second of processor time, association alone.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from deep_tracking_ros.cli.process import read_parameters
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.evaluation import mot as evaluation_
    from deep_tracking_ros.evaluation.machine import limit_threads, machine
    from deep_tracking_ros.pipelines.multi_object import MultiObjectPipeline, settings

    if json_file and not json_file.absolute().parent.is_dir():
        raise InvalidRequestError(f"cannot write {json_file}: there is no folder {json_file.absolute().parent}")
    limit_threads(1)
    found = evaluation_.find_sequences(data)
    ours = evaluation_.ours(settings(read_parameters(MultiObjectPipeline, params, ())))
    competitors = [ours, *(evaluation_.peer(name) for name in (evaluation_.PEERS if peers else ()))]
    here = machine()
    console = Console()
    frames = sum(len(sequence.frames) for sequence in found)
    results = []
    with _progress(console, frames * len(competitors)) as advance:
        for one in competitors:
            results.append(evaluation_.evaluate(one, found, partial(advance, one.name)))

    table = Table(title=f"{len(found)} sequences, {frames} frames", box=box.SIMPLE_HEAD)
    table.add_column("tracker")
    for column in ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "switches", "fps"):
        table.add_column(column, justify="right", no_wrap=True)
    for result in results:
        m = result.overall
        shares = [f"{100 * value:.2f}" for value in (m.hota, m.deta, m.assa, m.mota, m.idf1)]
        table.add_row(result.name, *shares, str(m.id_switches), f"{result.fps:.0f}")
    console.print(table)
    if json_file:
        first, *others = [result.as_json() for result in results]
        json_file.write_text(json.dumps({**first, "compared": others, "machine": here}, indent=1) + "\n")

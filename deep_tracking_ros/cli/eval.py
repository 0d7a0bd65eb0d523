"""``deep-tracking eval``: measure models on data with known truth."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from deep_tracking_ros.cli import eval_claims
from deep_tracking_ros.cli.eval_frames import frames
from deep_tracking_ros.cli.eval_masks import masks
from deep_tracking_ros.cli.eval_sot import sot
from deep_tracking_ros.cli.eval_states import states
from deep_tracking_ros.cli.measuring import progress_bar

app = typer.Typer(no_args_is_help=True, help="Measure models on data with known truth.")


@app.callback()
def evaluation() -> None:
    """Measure models on data with known truth."""


app.command()(sot)
app.command()(masks)
app.command()(frames)
app.command()(states)
app.add_typer(eval_claims.app, name="claims")


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
    from deep_tracking_ros.multi_object.tracker import Settings
    from deep_tracking_ros.parameters import part
    from deep_tracking_ros.pipelines.multi_object import MultiObjectPipeline

    if json_file and not json_file.absolute().parent.is_dir():
        raise InvalidRequestError(f"cannot write {json_file}: there is no folder {json_file.absolute().parent}")
    limit_threads(1)
    found = evaluation_.find_sequences(data)
    ours = evaluation_.ours(part(Settings, read_parameters(MultiObjectPipeline, params, ())))
    competitors = [ours, *(evaluation_.peer(name) for name in (evaluation_.PEERS if peers else ()))]
    here = machine()
    console = Console()
    frames = sum(len(sequence.frames) for sequence in found)
    results = []
    with progress_bar(console, frames * len(competitors)) as advance:
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

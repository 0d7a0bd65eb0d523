"""``deep-tracking process``: run a pipeline over a bag, a video or images, without ROS."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from deep_tracking_ros.cli.chosen import (
    TARGET,
    TRACK,
    draw_target,
    parse_target,
    parse_track,
    targets_of_file,
    targets_of_recording,
)
from deep_tracking_ros.cli.inputs import open_images, open_inputs, read_topics

if TYPE_CHECKING:
    from deep_tracking_ros.pipelines.pipeline import Pipeline
    from deep_tracking_ros.pipelines.replay import Step

COUNTS = ("duplicates", "late", "jumps", "without_pose", "unusable_detections", "model", "backend")
"""What of a pipeline's status the closing figures show."""

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def process(
    source: str = typer.Argument(
        metavar="INPUT", help="A rosbag2 folder, an .mcap or .db3 file, a video, a folder of images or 'frames/*.png'."
    ),
    pipeline: str = typer.Option("tracker", help="What to run."),
    target: list[str] = typer.Option([], "--target", "-t", help=TARGET),
    track_id: list[str] = typer.Option([], "--track-id", help=TRACK),
    targets: Path = typer.Option(None, help="YAML list of targets, as `target set --file` takes it."),
    draw: bool = typer.Option(False, "--draw", help="Draw the first box with the mouse; needs a display."),
    out: Path = typer.Option(None, help="Write the results to this bag: an .mcap file, or the name of a folder."),
    mp4: Path = typer.Option(None, help="Draw the results into this video."),
    csv: Path = typer.Option(None, help="Write one line per box and frame to this table."),
    json: Path = typer.Option(None, help="Write the closing figures to this file."),
    assign: list[str] = typer.Option([], "--set", help="A parameter of the pipeline as name=value."),
    model: str = typer.Option(None, help="The network to run, short for --set model=..., such as siamfc."),
    backend: str = typer.Option(None, help="What computes it, short for --set backend=..., such as onnxruntime."),
    detector: str = typer.Option(
        None, help="With --pipeline multi_object_tracker: find the objects in images, by an ONNX file or by 'motion'."
    ),
    detector_assign: list[str] = typer.Option([], "--detector-set", help="A parameter of the detector as name=value."),
    params: Path = typer.Option(None, help="YAML file of parameters, plain or as ROS nodes take it."),
    topic: list[str] = typer.Option(
        [],
        help="Topic of the input, where a bag has several; of another input as PORT:=TOPIC, such as odometry:=/odom, "
        "or tracks:=/multi_object_tracker/boxes to look for lost targets there.",
    ),
    beside: list[Path] = typer.Option(
        [],
        help="A further bag in which inputs other than images are sought, such as the results of an earlier run; "
        "messages come in the order of their stamps. May be given several times.",
    ),
    transport: str = typer.Option("auto", help="raw, compressed or auto: which images of a bag to take."),
    fps: float = typer.Option(30.0, help="Frames per second of a folder of images.", min=0.001, max=10000),
    start: float = typer.Option(0.0, help="Begin this many seconds after the first frame.", min=0.0),
    end: float = typer.Option(None, help="Stop this many seconds after the first frame.", min=0.0),
    realtime: bool = typer.Option(
        False, "--realtime", help="Drop the frames that a live node on this machine would have had no time for."
    ),
    rate: float = typer.Option(1.0, help="With --realtime: speed at which the frames come.", min=0.01, max=100.0),
    latency_ms: float = typer.Option(
        None,
        help="With --realtime: what each frame costs, instead of the measured time; same drops each time.",
        min=0.0,
    ),
) -> None:
    """Run a pipeline over a recording: every frame, no ROS needed, the same input gives the same bytes.

    For example: deep-tracking process drive.mcap --target 120,80,60,90 --mp4 drive.mp4 --out result.mcap
    """
    import time

    from deep_tracking_ros.cli.sinks import check_outputs, is_in_space, make_sinks
    from deep_tracking_ros.errors import DataError, InvalidRequestError
    from deep_tracking_ros.pipelines.registry import find_pipeline
    from deep_tracking_ros.pipelines.replay import replay
    from deep_tracking_ros.pipelines.sources import cut
    from deep_tracking_ros.types import Frame, nanoseconds

    kind = find_pipeline(pipeline)
    assign = [*assign, *shorthands(kind, {"model": model, "backend": backend}, assign)]
    check_outputs(
        {"--out": out, "--mp4": mp4, "--csv": csv, "--json": json},
        {
            "the input": [Path(source)],
            "the bag of --beside": beside,
            "the file of --targets": [targets] if targets else [],
            "the file of --params": [params] if params else [],
            "the file of --detector": [Path(detector)] if detector else [],
            "the file of --model or --set": [
                file for text in assign if (file := Path(text.partition("=")[2])).is_file()
            ],
        },
    )
    assignments = read_parameters(kind, params, assign)
    if detector is not None:
        kind, assignments = with_detector(kind, assignments, detector, detector_assign)
    picked = [parse_track(text) for text in track_id]
    chosen = [parse_target(text) for text in target] + picked + (targets_of_file(targets) if targets else [])
    port, item = next(iter(kind.inputs.items()))
    topics = read_topics(topic, kind)
    machine = None
    if item is Frame:
        needed = ("tracks",) if picked else ()
        frames, length = open_images(source, kind, topics, transport, fps, needed, beside)
    elif draw or mp4:
        raise InvalidRequestError(f"{kind.name} takes {item.__name__}, not images: there is nothing to draw on")
    else:
        machine = kind.make(assignments, lambda line: typer.echo(line, err=True))
        frames, length = open_inputs(source, machine, topics, beside), None
    frames = cut(frames, start, end)
    if draw:
        frames, drawn = draw_target(frames)
        chosen.append(drawn)
    if "set_target" in kind.commands and not chosen:
        chosen = targets_of_recording(source)
    if "set_target" in kind.commands and not chosen:
        raise InvalidRequestError(
            "nothing would be followed: give --target x,y,w,h, or --track-id of tracks in the bag (or --draw, where a "
            "display is)"
        )
    if latency_ms is not None and not realtime:
        raise InvalidRequestError("--latency-ms is what a frame costs in a live run: give --realtime with it")
    machine = machine or kind.make(assignments, lambda line: typer.echo(line, err=True))
    cost = None if latency_ms is None else nanoseconds(latency_ms / 1000)
    steps = replay(
        machine,
        frames,
        chosen,
        port=port,
        clock=time.perf_counter_ns,
        realtime=rate if realtime else None,
        latency=cost,
    )
    with ExitStack() as stack:
        stack.callback(machine.close)
        in_space = any(map(is_in_space, machine.outputs.values()))
        made = make_sinks(machine.name, out, mp4, csv, machine.black_box, in_space)
        sinks = [stack.enter_context(sink) for sink in made]
        done = [_without_results(step) for step in _with_progress(steps, sinks, length)]
        figures = summary(machine, done, realtime)
        if not figures["processed"] and machine.warnings():
            raise DataError(f"there is no result: {'; '.join(machine.warnings())}")
    _print(figures)
    if json is not None:
        import json as writer

        json.write_text(writer.dumps(figures, indent=2) + "\n")


def with_detector(
    kind: type[Pipeline], parameters: Any, detector: str, assignments: Sequence[str]
) -> tuple[type[Pipeline], Any]:
    """A detector with this tracker behind it, and the parameters of both. Raises `InvalidRequestError`."""
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.pipelines.detect_and_track import DetectAndTrackPipeline
    from deep_tracking_ros.pipelines.detector import DetectorPipeline

    if kind.name != DetectAndTrackPipeline.name:
        raise InvalidRequestError(
            f"--detector finds objects for --pipeline {DetectAndTrackPipeline.name}; for detections alone give "
            f"--pipeline {DetectorPipeline.name} --set model={detector}"
        )
    found = read_parameters(DetectorPipeline, None, [*assignments, f"model={detector}"], "--detector-set")
    return DetectAndTrackPipeline, (found, parameters)


def shorthands(kind: type[Pipeline], given: Mapping[str, str | None], assignments: Sequence[str]) -> list[str]:
    """What options such as ``--model`` say, as ``name=value`` beside the ``assignments`` of ``--set``.

    Raises `InvalidRequestError` where the pipeline has no such parameter, or where ``--set`` gives it too.
    """
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.parameters import declared
    from deep_tracking_ros.pipelines.detect_and_track import DetectAndTrackPipeline

    known = sorted(parameter.name for parameter in declared(kind.Parameters))
    wanted = {name: value for name, value in given.items() if value is not None}
    for name, value in wanted.items():
        if name not in known:
            detects = kind.name == DetectAndTrackPipeline.name
            hint = (
                "; a detector before it is given by --detector FILE and --detector-set backend=..." if detects else ""
            )
            raise InvalidRequestError(
                f"--{name} {value}: {kind.name} has no parameter {name}; it has {', '.join(known)}{hint}"
            )
        if twice := [text for text in assignments if text.partition("=")[0] == name]:
            raise InvalidRequestError(
                f"--{name} {value} and --set {twice[0]} say the same thing twice: give one of them"
            )
    return [f"{name}={value}" for name, value in wanted.items()]


def read_parameters(kind: type[Pipeline], file: Path | None, assignments: Sequence[str], option: str = "--set") -> Any:
    """Parameters of a pipeline from a YAML file and from ``name=value`` texts (given as ``option``), which win.

    The file is a plain mapping, or one as ROS nodes take it (``/**: {ros__parameters: {...}}``); of the latter the
    parameters that belong to the node around the pipeline are passed over. Raises `InvalidRequestError` and
    `DataError`.
    """
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.parameters import declared, make_parameters

    known = {parameter.name: parameter for parameter in declared(kind.Parameters)}
    values = _parameter_file(file, kind.name, set(known)) if file else {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise InvalidRequestError(f"{option} {text!r} is not name=value; names are {', '.join(sorted(known))}")
        values[name] = _parsed(value, known[name].type)
    return make_parameters(kind.Parameters, values)


def _parsed(text: str, type_: type) -> Any:
    """The text as the type where it can be read so; else as it is, for `Parameter.check` to say what is wrong."""
    if type_ is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return type_(text)
    except ValueError:
        return text


def _parameter_file(file: Path, node: str, known: set[str]) -> dict[str, Any]:
    import yaml

    from deep_tracking_ros.errors import DataError

    try:
        content = yaml.safe_load(file.read_text()) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as YAML: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} is not a mapping of parameters")
    sections = {name: part["ros__parameters"] for name, part in content.items() if _is_ros(part)}
    if not sections:
        return dict(content)
    values: dict[str, Any] = {}
    for name, section in sections.items():
        if name.strip("/") in ("**", node):
            values.update({key: value for key, value in (section or {}).items() if key in known})
    return values


def _is_ros(part: Any) -> bool:
    return isinstance(part, dict) and "ros__parameters" in part


def _with_progress(steps: Iterator[Step], sinks: Sequence[Any], length: int | None) -> Iterator[Step]:
    """The steps, each taken by all sinks, with a bar on the terminal."""
    from rich.console import Console
    from rich.progress import track

    told: set[str] = set()
    for step in track(steps, "frames", length, console=Console(stderr=True), transient=True):
        for sink in sinks:
            sink.take(step)
        for text in (step.error, *step.warnings):
            kind = re.sub(r"[\d.]+", "", str(text))  # once of each kind; how often is in the closing figures
            if text is not None and kind not in told:
                told.add(kind)
                typer.secho(f"warning: {text}", fg="yellow", err=True)
        yield step


def _without_results(step: Step) -> Step:
    """What the summary needs of a step; images would fill the memory in a long run."""
    from deep_tracking_ros.cli.sinks import tally

    return replace(step, frame=None, recordings=(), outputs=tuple(replace(o, item=tally(o.item)) for o in step.outputs))  # type: ignore[arg-type]


def summary(pipeline: Pipeline, steps: Sequence[Step], realtime: bool) -> dict[str, Any]:
    """The closing figures; times in ms."""
    import numpy as np

    status = pipeline.status()
    processed = [step for step in steps if step.outputs]
    states: Counter[str] = Counter()
    for step in processed:
        for output in step.outputs:
            states.update(output.item)
    costs = [step.cost for step in processed]
    figures: dict[str, Any] = {
        "frames": sum(not step.beside for step in steps),
        "processed": len(processed),
        "dropped": sum(step.dropped for step in steps),
        "broken": sum(step.error is not None for step in steps),
        **{name: status[name] for name in COUNTS if name in status},
        "boxes": dict(sorted(states.items())),
    }
    if costs:
        figures["fps"] = round(len(costs) * 1e9 / max(sum(costs), 1), 2)
        figures["step_ms"] = {f"p{q}": round(float(np.percentile(costs, q)) / 1e6, 3) for q in (50, 95, 99)}
    if costs and realtime:
        ages = [step.latency for step in processed]
        figures["latency_ms"] = {f"p{q}": round(float(np.percentile(ages, q)) / 1e6, 3) for q in (50, 95, 99)}
    return figures


def _print(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = {
        "boxes": "boxes by state or class",
        "fps": "frames per second of computing",
        "step_ms": "ms per frame",
        "latency_ms": "ms from image to result, live",
    }
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in figures.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(names.get(name, name), shown or "none")
    Console().print(table)

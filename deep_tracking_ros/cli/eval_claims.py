"""``deep-tracking eval claims``: what is said of kinds of trackers, measured one claim at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deep_tracking_ros.cli.measuring import check_outputs, make_competitor, make_console, progress_bar

if TYPE_CHECKING:
    from deep_tracking_ros.evaluation.datasets import Sequence
    from deep_tracking_ros.evaluation.sot import Competitor
    from deep_tracking_ros.training.pictures import PictureSet

app = typer.Typer(no_args_is_help=True, help="Measure one property of trackers each, as JSON and as a figure.")

Models = Annotated[list[str], typer.Option("--model", help="Model name or path, or opencv-NAME. Repeat it.")]
Data = Annotated[
    list[Path] | None,
    typer.Option(help="Sequences; those with masks are cut out for made-up scenes, the others are backgrounds."),
]
Weights = Annotated[Path | None, typer.Option(help="Folder with the ONNX files of opencv-nano and -vit.")]
Backend = Annotated[str, typer.Option(help="auto, torch, onnxruntime or tensorrt.")]
Seed = Annotated[int, typer.Option(help="Seed of the scenes and of the choice of frames.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write all results to this file.")]
Plot = Annotated[Path | None, typer.Option(help="Draw the figure into this picture (png, pdf, svg).")]


@app.command()
def distractors(
    model: Models,
    data: Data = None,
    runs: Annotated[int, typer.Option(min=1, help="Made-up scenes of each kind.")] = 60,
    every: Annotated[int, typer.Option(min=1, help="In real sequences a run starts at each n-th frame.")] = 20,
    windows: Annotated[bool, typer.Option("--windows", help="Run each model without its cosine window too.")] = False,
    peer_weights: Weights = None,
    backend: Backend = "auto",
    seed: Seed = 0,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """How often trackers jump from their target to something that looks like it.

    In made-up scenes a twin or a re-coloured twin crosses the target; real sequences are those with the attribute
    distractors. left: off the target for good; sure: with a score above 0.5 meanwhile.
    """
    import numpy as np

    from deep_tracking_ros.evaluation.attributes import attributes
    from deep_tracking_ros.evaluation.distractors import departed, departures, follow, outcome, shares
    from deep_tracking_ros.evaluation.machine import limit_threads
    from deep_tracking_ros.training.challenges import draw_crossing

    check_outputs(json_file, pictures=(plot,))
    limit_threads(1)
    found = _sequences(data)
    objects, backgrounds = _pictures(found)
    competitors = [one for name in model for one in _variants(name, backend, peer_weights)[: 2 if windows else 1]]
    crowded = [sequence for sequence in found if "distractors" in attributes(sequence)]
    console = make_console()
    generated: dict[str, dict[str, Any]] = {}
    real: dict[str, dict[str, Any]] = {}
    trials = (2 * runs + sum(len(range(0, max(len(s) - 30, 0), every)) for s in crowded)) * len(competitors)
    with progress_bar(console, trials) as advance:
        for likeness in ("twin", "recoloured"):
            outcomes: dict[str, list[Any]] = {one.name: [] for one in competitors}
            for number in range(runs):
                crossing = draw_crossing(objects, backgrounds, np.random.default_rng((seed, number)), likeness)
                for one in competitors:
                    boxes = follow(one, crossing.images, crossing.target[0])
                    outcomes[one.name].append(outcome(boxes, crossing.target, crossing.look_alike))
                    advance(one.name)
            generated[likeness] = {name: shares(each) for name, each in outcomes.items()}
        for one in competitors if crowded else ():
            passes = [
                departure
                for sequence in crowded
                for departure in departures(one, sequence, every, progress=partial(advance, one.name))
            ]
            real[one.name] = departed(passes)
    _table(
        console, "Look-alikes: share of runs", ("model", *(f"{kind}: {part}" for kind in generated for part in PARTS)),
        {name: [generated[kind][name][part] for kind in generated for part in PARTS] for name in generated["twin"]},
    )  # fmt: skip
    if real:
        columns = ("model", "left", "sure", "runs")
        _table(console, f"Real look-alikes: {', '.join(s.name for s in crowded)}", columns,
               {name: [each["left"], each["sure"], each["runs"]] for name, each in real.items()})  # fmt: skip
    values = {"generated": generated, "real": real, "real_sequences": [s.name for s in crowded], "seed": seed}
    _write(json_file, values)
    if plot:
        from deep_tracking_ros.visualization.claims import distractor_plot

        distractor_plot(generated, real, plot)


PARTS = ("held", "jumped", "lost")


@app.command()
def motion(
    model: Models,
    data: Data = None,
    trials: Annotated[int, typer.Option(min=1, help="Steps in each interval of displacement.")] = 40,
    peer_weights: Weights = None,
    backend: Backend = "auto",
    seed: Seed = 0,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """How far a target may move in one step, with the cosine window of each model and without.

    Real steps leave frames of the sequences out; in made-up ones only the target moves. A step succeeds where IoU is
    above 0.5; displacement is in units of the target's size, the square root of its box's area.
    """
    import numpy as np

    from deep_tracking_ros.evaluation.displacement import EDGES, curve, displacement, real_trials, run_trials, succeeds
    from deep_tracking_ros.evaluation.machine import limit_threads
    from deep_tracking_ros.training.challenges import draw_jump

    check_outputs(json_file, pictures=(plot,))
    limit_threads(1)
    found = _sequences(data)
    objects, backgrounds = _pictures(found)
    competitors = [one for name in model for one in _variants(name, backend, peer_weights)]
    chosen = real_trials(found, trials, seed)
    jumps = trials * (len(EDGES) - 1)
    curves: dict[str, dict[str, Any]] = {"made-up scenes": {}, "real frames": {}}
    successes: dict[str, list[bool]] = {one.name: [] for one in competitors}
    moved: list[float] = []
    console = make_console()
    with progress_bar(console, (jumps + len(chosen)) * len(competitors)) as advance:
        for number in range(jumps):
            rng = np.random.default_rng((seed, number))
            low, high = EDGES[number // trials], EDGES[number // trials + 1]
            jump = draw_jump(objects, backgrounds, rng, float(rng.uniform(low, high)))
            moved.append(float(displacement(jump.boxes[0], jump.boxes[1])))
            for one in competitors:
                successes[one.name].append(succeeds(one, jump.images, jump.boxes))
                advance(one.name)
        for one in competitors:
            curves["made-up scenes"][one.name] = curve(moved, successes[one.name]).as_json()
            if chosen:
                results = run_trials(one, chosen, partial(advance, one.name))
                curves["real frames"][one.name] = curve([t.displacement for t in chosen], results).as_json()
    curves = {kind: by_model for kind, by_model in curves.items() if by_model}
    for kind, by_model in curves.items():
        places = next(iter(by_model.values()))["displacement"]
        columns = ("model", *(f"{place:.2f}" for place in places))
        rows = {name: one["success"] for name, one in by_model.items()}
        _table(console, f"Success by displacement in target sizes: {kind}", columns, rows)
    _write(json_file, {"curves": curves, "seed": seed})
    if plot:
        from deep_tracking_ros.visualization.claims import motion_plot

        motion_plot(curves, plot)


@app.command()
def refinement(
    model: Annotated[list[str], typer.Option("--model", help="Model name or path. Repeat it.")],
    data: Annotated[list[Path], typer.Option(help="Sequences with true boxes.")],
    frames: Annotated[int, typer.Option(min=1, help="Frames of each sequence.")] = 8,
    backend: Backend = "auto",
    seed: Seed = 0,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """How much better trackers make boxes that are a little off: regression beside ascent on a predicted IoU.

    A target is started at its true box, put at jittered boxes five frames later, and the tracker looks at that frame
    three times. Mean IoU before, and after each look.
    """
    from deep_tracking_ros.evaluation.machine import limit_threads
    from deep_tracking_ros.evaluation.refinement import LOOKS, nudges
    from deep_tracking_ros.evaluation.refinement import refinement as measure
    from deep_tracking_ros.single_object.registry import make_tracker

    check_outputs(json_file, pictures=(plot,))
    limit_threads(1)
    trackers = [make_tracker(name, backend=backend, threads=1) for name in model]
    trials = nudges(_sequences(data), frames, seed=seed)
    console = make_console()
    with progress_bar(console, len(trials) * len(trackers)) as advance:
        results = {one.card.name: measure(one, trials, partial(advance, one.card.name)).as_json() for one in trackers}
    columns = ("model", "before", *(f"look {look + 1}" for look in range(LOOKS)))
    _table(
        console, "Mean IoU of jittered boxes", columns, {name: one["after"] for name, one in results.items()}, places=3
    )
    _write(json_file, {"models": results, "frames": len(trials), "seed": seed})
    if plot:
        from deep_tracking_ros.visualization.claims import refinement_plot

        refinement_plot(results, plot)


@app.command()
def optimisers(
    video: Annotated[Path, typer.Option(help="Folder of clips: NAME/img/*.jpg with NAME/boxes.txt.")],
    number: Annotated[int, typer.Option(min=1, help="Clips; each gives one problem.")] = 12,
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """How fast the loss of ATOM's classifier falls, with Gauss-Newton and conjugate gradients or gradient descent.

    Processor time, one thread; loss as share of that at the beginning, median over the clips' first frames. Gradient
    descent gets the best of seven rates in hindsight: for each clip, and one for all.
    """
    import numpy as np

    from deep_tracking_ros.evaluation.machine import limit_threads
    from deep_tracking_ros.evaluation.optimisers import compare, problems
    from deep_tracking_ros.training.clips import load_clips

    check_outputs(json_file, pictures=(plot,))
    limit_threads(1)
    clips = load_clips([video])
    chosen = np.unique(np.linspace(0, len(clips.clips) - 1, number).round().astype(int))
    views = (clips.view(clips.clips[i], int(clips.clips[i].seen()[0])) for i in chosen.tolist())
    console = make_console()
    with progress_bar(console, len(chosen)) as advance:
        result = compare(problems((view.image, view.box) for view in views), progress=partial(advance, "clips"))
    values = result.as_json()
    shown = np.linspace(0, len(result.seconds) - 1, 6).round().astype(int).tolist()
    columns = ("loss after", *(f"{values['milliseconds'][i]:.0f} ms" for i in shown))
    rows = {name: [values[name][1][i] for i in shown] for name in OPTIMISERS}
    _table(console, f"{values['problems']} clips, median share of the first loss", columns, rows, places=3)
    _write(json_file, values)
    if plot:
        from deep_tracking_ros.visualization.claims import optimiser_plot

        optimiser_plot(values, plot)


OPTIMISERS = ("gauss_newton", "gradient_best_rate", "gradient_one_rate")


@app.command()
def trainings(
    run: Annotated[
        list[str], typer.Option(help="NAME=FOLDER of a training with a log.jsonl, or NAME=FOLDER:HEAD. Repeat it.")
    ],
    figure: Annotated[
        list[str], typer.Option(help="A figure of the log, such as rpt.iou, or iou of a HEAD. Repeat it.")
    ],
    json_file: Json = None,
    plot: Plot = None,
) -> None:
    """Trainings that differ in one thing, such as deformable against regular convolution, side by side."""
    from deep_tracking_ros.evaluation.trainings import read_log, summary

    check_outputs(json_file, pictures=(plot,))
    logs = {}
    for one in run:
        name, _, place = one.partition("=")
        folder, _, head = place.partition(":")
        logs[name] = read_log(Path(folder), figure, head)
    values = {name: {key: summary(log[key]) for key in figure} for name, log in logs.items()}
    header = ("run", "samples", *figure)
    rows = {name: [logs[name]["samples"][-1], *(each[key] for key in figure)] for name, each in values.items()}
    _table(make_console(), "Mean over the last tenth of each training", header, rows, places=4)
    _write(json_file, {"runs": values, "samples": {name: log["samples"][-1] for name, log in logs.items()}})
    if plot:
        from deep_tracking_ros.visualization.claims import training_plot

        training_plot(logs, figure, plot)


def _variants(name: str, backend: str, weights: Path | None) -> list[Competitor]:
    """A tracker as it is, and where it has a cosine window without that."""
    from dataclasses import replace

    from deep_tracking_ros.evaluation.displacement import without_window
    from deep_tracking_ros.evaluation.peers import PREFIX
    from deep_tracking_ros.evaluation.sot import competitor
    from deep_tracking_ros.models.store import find_model
    from deep_tracking_ros.single_object.registry import TASK, make_tracker

    if name.startswith(PREFIX):
        return [make_competitor(name, backend, "fp32", 1, weights)]
    model = find_model(name, TASK)
    tracker = make_tracker(model, backend=backend, threads=1)
    off = without_window(model, getattr(tracker, "settings", None))
    found = [competitor(tracker)]
    if off is not None:
        other = competitor(make_tracker(off, backend=backend, threads=1))
        found.append(replace(other, name=f"{other.name}, no window"))
    return found


def _sequences(data: list[Path] | None) -> list[Sequence]:
    from deep_tracking_ros.evaluation.datasets import find_sequences

    return [sequence for folder in data or () for sequence in find_sequences(folder)]


def _pictures(sequences: list[Sequence]) -> tuple[PictureSet, PictureSet]:
    """Objects and backgrounds for made-up scenes; drawn by formulas where the data has none."""
    from deep_tracking_ros.training.challenges import masked_pictures
    from deep_tracking_ros.training.pictures import Picture, PictureSet, load_pictures

    frames = (
        (sequence.name, sequence.frames[i], mask)
        for sequence in sequences
        for i in range(0, len(sequence), 12)
        if (mask := sequence.mask(i)) is not None
    )
    places = [Picture(sequence.frames[0]) for sequence in sequences if sequence.masks is None]
    masked = [sequence for sequence in sequences if sequence.masks is not None]
    return (
        masked_pictures(frames) if masked else load_pictures([]),
        PictureSet(places) if places else load_pictures([]),
    )


def _table(console: Any, title: str, header: tuple[str, ...], rows: Mapping[str, list[float]], places: int = 2) -> None:
    from deep_tracking_ros.cli.measuring import show
    from deep_tracking_ros.evaluation.report import Table

    cells = ((name, *(f"{value:.{places}f}" if isinstance(value, float) else str(value) for value in row))
             for name, row in rows.items())  # fmt: skip
    show(console, Table(title, header, tuple(cells)))


def _write(json_file: Path | None, values: Mapping[str, Any]) -> None:
    if json_file is None:
        return
    from deep_tracking_ros.evaluation.machine import machine

    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    json_file.write_text(json.dumps({**values, "date": date, "machine": machine()}, indent=1) + "\n")

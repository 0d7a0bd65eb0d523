"""``deep-tracking demo``: the main job on real video, from camera to picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from deep_tracking_ros.ros.demo import Seen

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    video: Path = typer.Option(None, help="Your own clip; without it two sample clips are played."),
    box: str = typer.Option("", help="x,y,w,h: what to follow, drawn on the first image of your clip (px)."),
    out: Path = typer.Option(Path("out"), help="Folder for demo.mcap, demo.mp4 and demo.log."),
    model: str = typer.Option("rpt", help="Name or folder of the model."),
    backend: str = typer.Option("auto", help="auto, torch, onnxruntime or tensorrt."),
    longest: float = typer.Option(30.0, help="Play at most this many seconds of your clip.", min=1.0),
    many: bool = typer.Option(
        False, "--many", help="Follow every object that a detector finds, offline, and draw demo_mot.mp4; no box."
    ),
    detector: str = typer.Option(
        None, help="With --many: path of an ONNX file of a detector; without it, what moves is found."
    ),
    lidar: bool = typer.Option(
        False, "--lidar", help="Find and follow objects in a lidar's sweeps, offline, and draw demo_lidar.mp4."
    ),
    data: Path = typer.Option(
        None, help="With --lidar: a bag, an .npz, or a folder of .bin sweeps; without it, a street is simulated."
    ),
) -> None:
    """Play video as a camera over ROS 2, follow a target in it, record and draw what came out.

    For example: deep-tracking demo --video walk.mp4 --box 310,120,60,140
    """
    import os
    import tempfile

    from rich.console import Console
    from rich.progress import Progress

    from deep_tracking_ros.cli.target import parse_box
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.models.store import find_model
    from deep_tracking_ros.ros import demo as job

    if lidar or data:
        if not lidar or many or detector or video or box:
            raise InvalidRequestError("--data is for --lidar, which takes no video, box or detector")
        _lidar(data, out)
        return
    if many or detector:
        if box or not many:
            raise InvalidRequestError("--many finds its objects by itself: give it without --box; --detector is for it")
        _many(video, detector or "motion", out, longest)
        return
    if bool(video) != bool(box):
        raise InvalidRequestError("give --video and --box x,y,w,h together, or neither for the sample clips")
    find_model(model, "single_object")  # a wrong one is answered before anything is started
    clips = [job.Clip(video, (job.Drawn(0, parse_box(box), "target"),))] if video else job.sample_clips()

    # no other graph is to be seen or disturbed
    os.environ["ROS_DOMAIN_ID"] = str(10 + os.getpid() % 90)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.pop("ROS_LOCALHOST_ONLY", None)

    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    recording, picture = out / "demo.mcap", out / "demo.mp4"
    with (
        tempfile.TemporaryDirectory(prefix="deep_tracking_") as folder,
        Progress(console=console, transient=True) as bar,
    ):
        task = bar.add_task("write the bag", total=None)
        bag = Path(folder) / "camera"
        acts, written = job.write_clips(clips, bag, longest)
        console.print(f"{written} images of {', '.join(c.path.name for c in clips)} in a rosbag2; starting the nodes")
        bar.update(task, description="start the tracker")
        with (out / "demo.log").open("w") as log:
            seen = job.run(
                acts,
                bag,
                recording,
                log,
                {"model": model, "backend": backend},
                say=lambda text: console.print(f"operator: {text}", highlight=False),
                progress=lambda part: bar.update(task, description="play", total=1.0, completed=part),
            )
        bar.update(task, description="draw", completed=0)
        job.draw(recording, picture, progress=lambda part: bar.update(task, completed=part))
    console.print(_table(seen, written))
    console.print("[dim]latency: from the player's sending of an image to the tracker's sending of its boxes, both by "
                  "this machine's clock (DDS source time)[/]")  # fmt: skip
    console.print(f"{recording}: images, boxes, diagnostics (Foxglove opens it)\n{picture}: the boxes drawn")
    if not seen.boxes or not seen.replies:
        raise typer.Exit(1)


def _lidar(data: Path | None, out: Path) -> None:
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from deep_tracking_ros.ros import demo_lidar as job

    console = Console()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("read the sweeps" if data else "simulate a street", total=None)
        shown, title = job.sweeps_of(data)
        bar.update(task, description="find, follow and draw", total=1.0)
        video = out / "demo_lidar.mp4"
        outcome = job.run(shown, title, video, lambda part: bar.update(task, completed=part))
    find, follow = np.median(outcome.find), np.median(outcome.follow)
    console.print(
        f"{title}: {outcome.sweeps} sweeps of {outcome.points // outcome.sweeps:,} points, "
        f"{outcome.detections / outcome.sweeps:.1f} proposals a sweep, {len(outcome.ids)} confirmed objects\n"
        f"processor time a sweep, median: {find:.0f} ms to find, {follow:.1f} ms to follow",
        highlight=False,
    )
    console.print(f"{video}: seen from above", highlight=False)


def _many(video: Path | None, detector: str, out: Path, longest: float) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from deep_tracking_ros.pipelines.sources import cut, read_video
    from deep_tracking_ros.ros import demo_many as job

    console, picture = Console(), out / "demo_mot.mp4"
    machine = job.make_chain(detector, lambda line: console.print(line, highlight=False))
    frames = cut(read_video(video), end=longest) if video else job.sample_shots()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("find and follow", total=None)
        seen = job.follow(frames, machine, picture, lambda: bar.advance(task))
    machine.close()
    states = ", ".join(f"{state.name} {n}" for state, n in seen.states.most_common()) or "no boxes"
    console.print(f"{seen.frames} images, {len(seen.ids)} objects, boxes: {states}\n{picture}: boxes with ids")


def _table(seen: Seen, written: int) -> Table:
    import numpy as np
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("images in", f"{len(seen.images)} of {written}")
    table.add_row("with boxes out", str(len(seen.boxes)))
    table.add_row("dropped", str(len(set(seen.images) - set(seen.boxes))))
    if seen.latency.size:
        p50, p95, p99 = np.percentile(seen.latency, (50, 95, 99))
        table.add_row("latency p50 / p95 / p99", f"{p50:.1f} / {p95:.1f} / {p99:.1f} ms")
    table.add_row("states of targets", ", ".join(f"{s.name} {n}" for s, n in seen.states.most_common()) or "none")
    table.add_row("time jumps (epochs)", str(len(seen.epochs) - 1 if seen.epochs else 0))
    stages = {k.removesuffix("_ms_p50"): v for k, v in seen.diagnostics.items() if k.endswith("_ms_p50")}
    own = ", ".join(f"{k} {float(v):.2f}" for k, v in stages.items() if k not in ("age_at_publish", "latency"))
    table.add_row("ms by stage, median", own or "no diagnostics came")
    table.add_row("model, backend", ", ".join(seen.diagnostics.get(k, "?") for k in ("model", "backend", "precision")))
    return table

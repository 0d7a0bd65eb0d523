"""``deep-tracking train``: train the package's models, or others like them on a user's own pictures and clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deep_tracking_ros.training.loop import LoopSettings
    from deep_tracking_ros.training.siamfc import SiamFCTask

app = typer.Typer(no_args_is_help=True, help="Train models.")


@app.callback()
def train() -> None:
    """Train models."""


@app.command()
def sot(
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, log, and at the end model/.")],
    images: Annotated[
        list[Path] | None, typer.Option(help="Folder of photographs with marked objects. Repeat it for more.")
    ] = None,
    video: Annotated[list[Path] | None, typer.Option(help="Folder of clips with boxes. Repeat it for more.")] = None,
    heads: Annotated[str, typer.Option(help="What is trained; now: siamfc.")] = "siamfc",
    seconds: Annotated[float, typer.Option(min=0, help="Length of the training: time of the trainer.")] = 3600,
    steps: Annotated[int, typer.Option(min=0, help="Length of the training in steps, in place of --seconds.")] = 0,
    batch: Annotated[int, typer.Option(min=2, help="Pairs in a step. On a GPU 256 or more.")] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make pairs; 0 = make them in between.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of pairs, weights and order.")] = 0,
    holdout: Annotated[
        list[str] | None,
        typer.Option(help="Video kept for choosing settings and calibration. Repeat it; default every fifth video."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "siamfc",
) -> None:
    """Train a single-object tracker and write a model folder.

    The same command again goes on where it stopped. Give the folder OUT/model to --model of any other command.
    """
    import shlex
    import sys

    import torch
    from rich.console import Console

    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.training.loop import LoopSettings, Trainer, plot
    from deep_tracking_ros.training.siamfc import PARAMETERS, SiamFCTask

    if heads != "siamfc":
        raise InvalidRequestError(f"--heads is {heads!r}; what can be trained is: siamfc")
    if device != "cpu" and not torch.cuda.is_available():
        raise InvalidRequestError(f"--device is {device!r}, but torch sees no GPU here; give --device cpu")
    if not images and not video:
        raise InvalidRequestError("nothing to learn from: give --images DIR, --video DIR or both")
    task = SiamFCTask(
        tuple(map(str, images or ())), tuple(map(str, video or ())), PARAMETERS, tuple(holdout or ()), seed,
        cache_features=device == "cpu",
    )  # fmt: skip
    settings = LoopSettings(seconds=seconds, steps=steps, batch=batch, workers=workers, seed=seed, device=device)
    console = Console()
    if device == "cpu":
        torch.set_num_threads(1)  # more threads wait for each other, and the producers need a core
    trainer = Trainer(task, out, settings)
    if trainer.step:
        console.print(f"going on from step {trainer.step}, {trainer.progress:.0%} done")

    def report(line: dict[str, float]) -> None:
        figures = "  ".join(f"{key} {value:g}" for key, value in line.items() if key not in ("produced", "lr"))
        console.print(f"{trainer.progress:4.0%}  {figures}", highlight=False)

    weights = trainer.run(report)
    plot(out / "log.jsonl", out / "log.png")
    model = _finish(task, settings, trainer.step, trainer.elapsed, weights, out / "model", name,
                    shlex.join(["deep-tracking", *sys.argv[1:]]), console.print)  # fmt: skip
    console.print(f"the model is in {model}; the curves of the training in {out / 'log.png'}")


def _finish(
    task: SiamFCTask, settings: LoopSettings, steps: int, seconds: float, weights: object, folder: Path, name: str,
    command: str, log: object,
) -> Path:  # fmt: skip
    from deep_tracking_ros.training.siamfc import finish_siamfc

    facts = {
        "command": command, "seed": settings.seed, "steps": steps, "samples": steps * settings.batch,
        "seconds": round(seconds), "device": settings.device,
    }  # fmt: skip
    return finish_siamfc(task, weights, folder, name, facts, log).folder  # type: ignore[arg-type]


@app.command()
def plot(
    log: Annotated[Path, typer.Argument(help="log.jsonl of a training, or its folder.")],
    picture: Annotated[Path, typer.Argument(help="Picture to write: png, pdf or svg.")],
) -> None:
    """Draw the curves of a training."""
    from deep_tracking_ros.training.loop import plot as draw

    draw(log / "log.jsonl" if log.is_dir() else log, picture)

"""``deep-tracking train``: train the package's models, or others like them on a user's own pictures and clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Train models.")


@app.callback()
def train() -> None:
    """Train models."""


@app.command()
def sot(
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, log, and at the end the models.")],
    images: Annotated[
        list[Path] | None, typer.Option(help="Folder of photographs with marked objects. Repeat it for more.")
    ] = None,
    video: Annotated[list[Path] | None, typer.Option(help="Folder of clips with boxes. Repeat it for more.")] = None,
    heads: Annotated[
        str,
        typer.Option(
            help="What is trained together, with commas between: goturn, siamrpn, mdnet, atom, rpt, rpt_regular, "
            "transt, siammask; or siamfc, alone."
        ),
    ] = "siamrpn,rpt",
    backbone: Annotated[
        str, typer.Option(help="Model whose backbone is kept as it is; empty = ImageNet's, its last blocks tuned.")
    ] = "",
    continued: Annotated[
        bool, typer.Option("--continued", help="Heads start from the models of their names, not from nothing.")
    ] = False,
    zoomed: Annotated[
        float, typer.Option(min=0, max=1, help="Share of pairs that show twice the scale, for the mask of siammask.")
    ] = 0.0,
    seconds: Annotated[float, typer.Option(min=0, help="Length of the training: time of the trainer.")] = 3600,
    steps: Annotated[int, typer.Option(min=0, help="Length of the training in steps, in place of --seconds.")] = 0,
    batch: Annotated[int, typer.Option(min=2, help="Pairs in a step. On a GPU 256 or more.")] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make pairs; 0 = make them in between.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of pairs and weights; of their order only with --workers 0.")] = 0,
    holdout: Annotated[
        list[str] | None,
        typer.Option(help="Video kept for choosing settings and calibration. Repeat it; default every fifth video."),
    ] = None,
) -> None:
    """Train single-object trackers and write a model folder for each, OUT/models/NAME.

    The same command again goes on where it stopped. Give a folder OUT/models/NAME to --model of any other command.
    """
    import shlex
    import sys

    import torch
    from rich.console import Console

    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.training.drawing import held_out
    from deep_tracking_ros.training.loop import LoopSettings, Trainer, plot
    from deep_tracking_ros.training.siamese import SiameseTask, finish_siamese
    from deep_tracking_ros.training.siamfc import PARAMETERS, SiamFCTask, finish_siamfc

    if device != "cpu" and not torch.cuda.is_available():
        raise InvalidRequestError(f"--device is {device!r}, but torch sees no GPU here; give --device cpu")
    if not images and not video:
        raise InvalidRequestError("nothing to learn from: give --images DIR, --video DIR or both")
    sources = tuple(map(str, images or ())), tuple(map(str, video or ()))
    names, kept, on_cpu = tuple(heads.split(",")), tuple(holdout or ()), device == "cpu"
    task: SiamFCTask | SiameseTask
    if holdout and not video:
        raise InvalidRequestError("--holdout names videos, but there are none: give --video DIR, or leave it out")
    if names == ("siamfc",):
        of_others = {"--backbone": backbone, "--continued": continued, "--zoomed": zoomed}
        if useless := ", ".join(option for option, value in of_others.items() if value):
            raise InvalidRequestError(f"siamfc is trained without {useless}: leave that out, or train other heads")
        task = SiamFCTask(*sources, PARAMETERS, kept, seed, cache_features=on_cpu)
    else:
        # with a backbone that is not tuned here the finer features are wanted too, and crops are smaller
        task = SiameseTask(
            names, *sources, kept, seed, backbone, cache_features=on_cpu and not backbone, continued=continued,
            zoomed=zoomed,
        )  # fmt: skip
    settings = LoopSettings(seconds=seconds, steps=steps, batch=batch, workers=workers, seed=seed, device=device)
    console = Console()
    held = sorted({clip.video for clip in held_out(task).clips})
    console.print(f"held out: {', '.join(held) or 'no video; the score will not be calibrated'}", highlight=False)
    if on_cpu:
        torch.set_num_threads(1)  # more threads wait for each other, and the producers need a core
    trainer = Trainer(task, out, settings)
    if trainer.step:
        console.print(f"going on from step {trainer.step}, {trainer.progress:.0%} done")

    def report(line: dict[str, float]) -> None:
        figures = "  ".join(f"{key} {value:g}" for key, value in line.items() if key not in ("produced", "lr"))
        console.print(f"{trainer.progress:4.0%}  {figures}", highlight=False)

    weights = trainer.run(report)
    plot(out / "log.jsonl", out / "log.png")
    facts = {
        "command": shlex.join(["deep-tracking", *sys.argv[1:]]), "seed": seed, "steps": trainer.step,
        "samples": trainer.step * batch, "seconds": round(trainer.elapsed), "device": device,
    }  # fmt: skip
    if isinstance(task, SiamFCTask):
        models = [finish_siamfc(task, weights, out / "models" / "siamfc", "siamfc", facts, console.print)]
    else:
        models = finish_siamese(task, weights, out / "models", facts, console.print)
    folders = ", ".join(str(model.folder) for model in models)
    console.print(f"made {folders}; the curves of the training are in {out / 'log.png'}")


@app.command()
def plot(
    log: Annotated[Path, typer.Argument(help="log.jsonl of a training, or its folder.")],
    picture: Annotated[Path, typer.Argument(help="Picture to write: png, pdf or svg.")],
) -> None:
    """Draw the curves of a training."""
    from deep_tracking_ros.training.loop import plot as draw

    draw(log / "log.jsonl" if log.is_dir() else log, picture)

"""``deep-tracking models``: the models that are there, what they are, and models from and for elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="List, show, import and export models.")

PARITY = 1e-3
"""Largest relative difference from the golden sample that a model may have to be imported."""


@app.command("list")
def list_() -> None:
    """All models that can be named."""
    from rich.console import Console
    from rich.table import Table

    from deep_tracking_ros.models.store import list_models

    table = Table("name", "task", "architecture", "size", "description", box=None)
    for model in list_models():
        size = sum(path.stat().st_size for path in model.folder.iterdir())
        table.add_row(
            model.card.name, model.card.task, model.card.architecture, f"{size / 1e6:.1f} MB", model.card.description
        )
    Console().print(table)


@app.command()
def show(model: Annotated[str, typer.Argument(help="Name of a model, or path of its folder.")]) -> None:
    """The card of a model: what it is, where it comes from, how it is used and what was measured."""
    from deep_tracking_ros.models.store import find_model

    found = find_model(model)
    typer.echo(f"# {found.folder}")
    typer.echo((found.folder / "card.yaml").read_text().rstrip())
    typer.echo(f"# digest {found.digest}")


@app.command("import")
def import_(
    source: Annotated[
        Path | None, typer.Argument(help="Folder or zip file of card.yaml and model.safetensors; none with --kind.")
    ] = None,
    into: Annotated[Path | None, typer.Option(help="Folder of models; default: that of the package.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a model of the same name.")] = False,
    kind: Annotated[
        str | None, typer.Option(help="Make a model of a public tracker: nanotrack_v2, nanotrack_v3 or fear_xs.")
    ] = None,
    backbone: Annotated[Path | None, typer.Option(help="With --kind: ONNX file of the backbone.")] = None,
    head: Annotated[Path | None, typer.Option(help="With --kind: ONNX file of the head.")] = None,
    name: Annotated[str | None, typer.Option(help="With --kind: name of the model; default: the kind.")] = None,
) -> None:
    """Check a model made elsewhere and put it where models are found by name.

    Checked are the card, that the weights fit the architecture, that the tracker can be made, and that the networks
    give what golden.npz holds, where there is one; where there is none it is made. With --kind the model is made of
    the two ONNX files of a public tracker.
    """
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.models.exchange import import_model
    from deep_tracking_ros.models.store import WEIGHTS

    if kind is not None and backbone is not None and head is not None and source is None:
        from deep_tracking_ros.single_object.importing import import_public

        model = import_public(kind, backbone, head, into or WEIGHTS, name or kind, replace)
    elif source is not None and not any((kind, backbone, head, name)):
        model = import_model(source, _check, into or WEIGHTS, replace)
    else:
        raise InvalidRequestError("give either a folder or zip file, or all of --kind, --backbone and --head")
    typer.echo(f"imported {model.card.name} ({model.card.architecture}) into {model.folder}")


def _check(model: Any) -> None:
    import numpy as np

    from deep_tracking_ros.errors import ModelError
    from deep_tracking_ros.single_object.golden import check_golden, golden_arrays
    from deep_tracking_ros.single_object.registry import TASK, make_tracker

    if model.card.task != TASK:
        raise ModelError(f"model {model.card.name!r} is made for {model.card.task!r}; known tasks are: {TASK}")
    if not (model.folder / "golden.npz").exists():
        np.savez_compressed(model.folder / "golden.npz", **golden_arrays(model))  # type: ignore[arg-type]
    elif (difference := check_golden(model, backend="torch")) > PARITY:
        raise ModelError(
            f"model {model.card.name!r} differs from its golden sample by {difference:.2g} (limit {PARITY:g}): "
            "its weights are not those that it was measured with"
        )
    make_tracker(model, backend="torch")


@app.command()
def calibrate(
    model: Annotated[str, typer.Argument(help="Name of a model, or path of its folder.")],
    video: Annotated[Path, typer.Option(help="Folder of clips with boxes, that the model was not trained on.")],
    clips: Annotated[str | None, typer.Option(help="Only these clips: names with commas between.")] = None,
) -> None:
    """Fit a model's score to clips with known boxes, and write curve and thresholds into its card.

    A score is the probability that the box overlaps the target by more than half. It depends on what is filmed: fit
    it to your own video where the score matters.
    """
    import yaml

    from deep_tracking_ros.errors import DataError
    from deep_tracking_ros.models.store import find_model
    from deep_tracking_ros.single_object.registry import TASK
    from deep_tracking_ros.training.calibrating import calibrated
    from deep_tracking_ros.training.clips import ClipSet, load_clips

    found = find_model(model, TASK)
    loaded = load_clips([video])
    if clips is not None:
        wanted, there = set(clips.split(",")), {clip.name for clip in loaded.clips}
        if unknown := sorted(wanted - there):
            raise DataError(f"no clips {', '.join(unknown)} in {video}; there are {', '.join(sorted(there))}")
        loaded = ClipSet([clip for clip in loaded.clips if clip.name in wanted])
    card = calibrated(found, loaded)
    card.save(found.folder / "card.yaml")
    told = {"calibration": card.calibration, "thresholds": card.thresholds, "results": card.results["calibration"]}
    typer.echo(yaml.safe_dump(told, sort_keys=False, width=120, default_flow_style=None).rstrip())


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Name of a model, or path of its folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write into; it is made if need be.")],
) -> None:
    """Write a model's networks as ONNX files, with a tensors.json that says what goes in and out."""
    import json

    import numpy as np

    from deep_tracking_ros.inference.export import export_onnx
    from deep_tracking_ros.models.store import find_model
    from deep_tracking_ros.single_object.registry import TASK, networks

    found = find_model(model, TASK)
    out.mkdir(parents=True, exist_ok=True)
    described = []
    for network in networks(found):
        file = network.name.replace("/", "_") + ".onnx"
        export_onnx(network, out / file)

        def specs(tensors: Any) -> list[dict[str, Any]]:
            keys = ("minimum", "optimum", "maximum")
            return [
                {"name": t.name, "dtype": np.dtype(t.dtype).name, "shape": list(t.shape)}
                | {key: list(getattr(t, key)) for key in keys if getattr(t, key)}
                for t in tensors
            ]

        described.append(
            {"network": network.name, "file": file, "inputs": specs(network.inputs), "outputs": specs(network.outputs)}
        )
        typer.echo(f"wrote {out / file}")
    card = {"model": found.card.name, "digest": found.digest, "networks": described}
    (out / "tensors.json").write_text(json.dumps(card, indent=1) + "\n")
    typer.echo(f"wrote {out / 'tensors.json'}")

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
    source: Annotated[Path, typer.Argument(help="Folder or zip file of card.yaml and model.safetensors.")],
    into: Annotated[Path | None, typer.Option(help="Folder of models; default: that of the package.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a model of the same name.")] = False,
) -> None:
    """Check a model made elsewhere and put it where models are found by name.

    Checked are the card, that the weights fit the architecture, that the tracker can be made, and that the networks
    give what golden.npz holds, where there is one; where there is none it is made.
    """
    from deep_tracking_ros.models.exchange import import_model
    from deep_tracking_ros.models.store import WEIGHTS

    model = import_model(source, _check, into or WEIGHTS, replace)
    typer.echo(f"imported {model.card.name} ({model.card.architecture}) into {model.folder}")


def _check(model: Any) -> None:
    import numpy as np

    from deep_tracking_ros.errors import ModelError
    from deep_tracking_ros.single_object.golden import check_golden, golden_arrays
    from deep_tracking_ros.single_object.registry import TASK, make_tracker

    if model.card.task != TASK:
        raise ModelError(f"model {model.card.name!r} is made for {model.card.task!r}; known tasks are: {TASK}")
    make_tracker(model, backend="torch")
    if not (model.folder / "golden.npz").exists():
        np.savez_compressed(model.folder / "golden.npz", **golden_arrays(model))  # type: ignore[arg-type]
    elif (difference := check_golden(model, backend="torch")) > PARITY:
        raise ModelError(
            f"model {model.card.name!r} differs from its golden sample by {difference:.2g} (limit {PARITY:g}): "
            "its weights are not those that it was measured with"
        )


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

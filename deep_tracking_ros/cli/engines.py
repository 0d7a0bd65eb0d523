"""``deep-tracking engines``: the cache of exported networks and built engines."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING

import typer

from deep_tracking_ros.errors import EngineError
from deep_tracking_ros.models.store import Model, find_model, list_models

if TYPE_CHECKING:
    from rich.progress import Progress

    from deep_tracking_ros.inference.engine import Network
    from deep_tracking_ros.inference.swappable import Progress as Listener

app = typer.Typer(no_args_is_help=True, help="List, build, check or clear TensorRT engines and exported networks.")

PRECISION = typer.Option("fp32", "--precision", "-p", help="fp32, fp16 or bf16.")


@app.command("list")
def list_engines() -> None:
    """Show what lies in the cache, and whether it would be used."""
    from rich import print
    from rich.table import Table

    from deep_tracking_ros.inference.cache import EngineCache

    cache = EngineCache()
    table = Table(title=str(cache.folder), title_justify="left")
    for heading in ("network", "kind", "precision", "made by", "for", "MB", "created", "state"):
        table.add_column(heading, overflow="fold")
    for entry in cache.entries():
        texts = [str(entry.key.get(field, "?")) for field in ("network", "kind", "precision", "library", "device")]
        size = f"{entry.size / 1e6:.1f}"
        table.add_row(*texts, size, entry.created, f"[red]built again: {entry.fault}" if entry.fault else "sound")
    print(table if table.row_count else f"the cache {cache.folder} is empty")


@app.command()
def clear() -> None:
    """Remove all entries of the cache, except those that a process is building just now."""
    from deep_tracking_ros.inference.cache import EngineCache

    cache = EngineCache()
    try:
        removed = [path for path in cache.clear() if path.suffix in (".onnx", ".engine")]
    except OSError as error:
        raise EngineError(f"cannot clear the cache {cache.folder}: {error}; remove it as its owner") from error
    typer.echo(f"removed {len(removed)} entries from {cache.folder}")


@app.command()
def build(
    model: str = typer.Argument(help="Name of a model, or the path of its folder."),
    precision: str = PRECISION,
) -> None:
    """Build the TensorRT engines of a model for the GPU of this machine, so that a node starts with them at once."""
    from deep_tracking_ros.inference.builder import build_engine

    with _progress_bar() as bar:
        for network in _networks(find_model(model)):
            task = bar.add_task(network.name, total=1.0, step="")
            plan = build_engine(network, precision, progress=_listener(bar, task), log=bar.console.print)
            bar.update(task, completed=1.0, step=f"{len(plan) / 1e6:.1f} MB")


@app.command()
def check(
    models: list[str] = typer.Argument(None, help="Names or paths of models; all of the package without any."),
    compute_capability: str = typer.Option("SM89", help="GPU generation to build for, such as SM75, SM86 or SM120."),
) -> None:
    """Parse and build all engines of models with TensorRT-RTX, in every precision; this needs no GPU.

    It shows that TensorRT takes the networks with their profiles, not how they run.
    """
    from rich import print
    from rich.table import Table

    from deep_tracking_ros.inference.builder import build_plan
    from deep_tracking_ros.inference.cache import EngineCache
    from deep_tracking_ros.inference.export import onnx_model, profile
    from deep_tracking_ros.inference.precision import PRECISIONS
    from deep_tracking_ros.inference.tensorrt_library import RTX, RTX_WHEELS, library_name, load_tensorrt

    try:
        trt = load_tensorrt(RTX)
    except EngineError as error:
        typer.secho(f"skipped, nothing was checked: {error}", fg="yellow")
        typer.echo(f"install the extra 'rtx' of this package (350 MB, CPU machines too): {RTX_WHEELS}")
        return
    found = [find_model(name) for name in models] if models else list_models()
    networks = [network for model in found for network in _networks(model)]
    table = Table(title=f"{library_name(trt)}, built for {compute_capability}", title_justify="left")
    for heading in ("network", "profile", "precision", "MB", "seconds", "result"):
        table.add_column(heading, overflow="fold")
    failed = 0
    with _progress_bar() as bar:
        for network in networks:
            shapes = "\n".join(" .. ".join("x".join(map(str, s)) for s in profile(spec)) for spec in network.inputs)
            for precision in PRECISIONS:
                task = bar.add_task(f"{network.name} {precision}", total=1.0, step="")
                start = time.perf_counter()
                try:
                    model = onnx_model(network, EngineCache())
                    plan = build_plan(trt, network, model, precision, _listener(bar, task), compute_capability)
                    size, result = f"{len(plan) / 1e6:.2f}", "[green]built"
                except EngineError as error:
                    failed += 1
                    size, result = "", f"[red]{error}"
                bar.remove_task(task)
                table.add_row(network.name, shapes, precision, size, f"{time.perf_counter() - start:.1f}", result)
    print(table)
    if failed:
        raise EngineError(f"{failed} of {len(networks) * len(PRECISIONS)} engines cannot be built")


def _networks(model: Model) -> tuple[Network, ...]:
    """All networks of a model, by the registry of the room of its task."""
    try:
        registry = importlib.import_module(f"deep_tracking_ros.{model.card.task}.registry")
    except ModuleNotFoundError as error:
        raise EngineError(f"model {model.card.name!r} is made for {model.card.task!r}, which is not known") from error
    networks: tuple[Network, ...] = registry.networks(model)
    return networks


def _progress_bar() -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    texts = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[step]}"))
    return Progress(*texts)


def _listener(bar: Progress, task: int) -> Listener:
    from rich.progress import TaskID

    return lambda fraction, text: bar.update(TaskID(task), completed=fraction, step=text)

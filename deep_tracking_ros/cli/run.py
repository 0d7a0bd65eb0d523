"""``deep-tracking run``: start nodes as ``ros2 launch`` would."""

from __future__ import annotations

from collections.abc import Mapping

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True},
)


def _list(show: bool) -> None:
    if not show:
        return
    from rich.console import Console
    from rich.table import Table

    from deep_tracking_ros.ros.launches import LAUNCHES

    for name, launch in LAUNCHES.items():
        table = Table("argument", "default", "meaning", title=f"arguments of {name}", title_justify="left")
        for a in launch.arguments:
            choices = f" ({', '.join(filter(None, a.choices))})" if a.choices else ""
            table.add_row(a.name, a.default or "(empty)", a.description + choices)
        Console().print(table)
    raise typer.Exit


def _check_names(values: Mapping[str, str]) -> None:
    """Raises `InvalidRequestError` for what the nodes themselves would only answer with a traceback of rcl."""
    import re
    from pathlib import Path

    from deep_tracking_ros.errors import InvalidRequestError

    file = values.get("params_file", "")
    if file and not Path(file).is_file():
        raise InvalidRequestError(f"params_file {file} {'is no file' if Path(file).exists() else 'does not exist'}")
    for what, parts in (
        ("name", [values.get("name", "")]),
        ("namespace", values.get("namespace", "").strip("/").split("/")),
    ):
        if parts == [""]:
            continue
        if not all(re.match("[A-Za-z_]", part) for part in parts):
            each = "" if len(parts) == 1 else ", and so must each part after a /"
            raise InvalidRequestError(f"{what} {values[what]!r} must begin with a letter or _{each}")
        if not all(re.fullmatch("[A-Za-z0-9_]+", part) for part in parts):
            slash = " and /" if what == "namespace" else ""
            raise InvalidRequestError(f"{what} {values[what]!r} may hold only letters, digits, _{slash}")


@app.command()
def run(
    launch: str = typer.Argument(help="What to start, such as tracker; --show-args lists all."),
    arguments: list[str] = typer.Argument(
        None, metavar="[NAME:=VALUE]... [--ros-args ...]", help="Launch arguments, then more for the node, which win."
    ),
    show_args: bool = typer.Option(
        False, "--show-args", is_eager=True, callback=_list, help="List the arguments and end."
    ),
) -> None:
    """Start the nodes of a launch file, the same as `ros2 launch deep_tracking_ros tracker.launch.py`.

    For example: deep-tracking run tracker image:=/front/image_raw model:=siamfc --ros-args --log-level debug
    """
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.ros import nodes, player_topics, runner

    given = list(arguments or ())
    cut = given.index("--ros-args") if "--ros-args" in given else len(given)
    values = {}
    for text in given[:cut]:
        name, colon, value = text.partition(":=")
        if not colon:
            raise InvalidRequestError(f"{text!r} is not an argument; write NAME:=VALUE, see --show-args")
        values[name] = value
    _check_names(values)
    started = player_topics.beside(nodes.resolve(launch, values), given[cut:])
    raise typer.Exit(runner.run(started, given[cut:]))

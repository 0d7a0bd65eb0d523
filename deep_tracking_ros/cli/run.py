"""``deep-tracking run``: start nodes as ``ros2 launch`` would."""

from __future__ import annotations

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
    from deep_tracking_ros.ros import nodes, runner

    given = list(arguments or ())
    cut = given.index("--ros-args") if "--ros-args" in given else len(given)
    values = {}
    for text in given[:cut]:
        name, colon, value = text.partition(":=")
        if not colon:
            raise InvalidRequestError(f"{text!r} is not an argument; write NAME:=VALUE, see --show-args")
        values[name] = value
    raise typer.Exit(runner.run(nodes.resolve(launch, values), given[cut:]))

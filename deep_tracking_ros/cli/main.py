"""``deep-tracking VERB``: one module a verb, imported only when the verb is used."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from deep_tracking_ros import __version__
from deep_tracking_ros.errors import DeepTrackingError

VERBS = ("demo", "run", "play", "record", "process", "target", "eval", "train", "models", "engines", "doctor")


class Verbs(TyperGroup):
    """The verbs; each lives in the module of its name and defines a Typer ``app``."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, name: str) -> Any:
        if name not in VERBS:
            return None
        command = typer.main.get_command(importlib.import_module(f"deep_tracking_ros.cli.{name}").app)
        command.name = name
        return command


app = typer.Typer(cls=Verbs, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(show: bool) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Follow objects in camera streams, bags and videos."""


def main() -> None:
    """Entry point: errors of this package become one line and exit status 1."""
    try:
        app(prog_name="deep-tracking")
    except DeepTrackingError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

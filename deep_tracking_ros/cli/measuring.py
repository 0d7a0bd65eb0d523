"""What the commands of ``deep-tracking eval`` share: trackers by name, progress, tables, checked paths."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from deep_tracking_ros.errors import InvalidRequestError

if TYPE_CHECKING:
    from rich.console import Console

    from deep_tracking_ros.evaluation.report import Table
    from deep_tracking_ros.evaluation.sot import Competitor


class Format(str, Enum):
    """How tables are printed."""

    table = "table"
    markdown = "markdown"


def make_console() -> Console:
    """Standard output; where it is no terminal, lines are as long as the tables need."""
    import sys

    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=160)


def check_outputs(*files: Path | None, pictures: tuple[Path | None, ...] = ()) -> None:
    """Raises `InvalidRequestError` now for files that could not be written after hours of measuring."""
    for file in filter(None, (*files, *pictures)):
        if not file.absolute().parent.is_dir():
            raise InvalidRequestError(f"cannot write {file}: there is no folder {file.absolute().parent}")
    for file in filter(None, pictures):
        if file.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise InvalidRequestError(f"cannot draw {file}: the file must end in .png, .pdf or .svg")


def make_competitor(name: str, backend: str, precision: str, threads: int, weights: Path | None) -> Competitor:
    """The tracker of a model's name or path, or the peer of an ``opencv-`` name."""
    from deep_tracking_ros.evaluation.peers import PREFIX, make_peer
    from deep_tracking_ros.evaluation.sot import competitor

    if name.startswith(PREFIX):
        return make_peer(name, weights)
    from deep_tracking_ros.single_object.registry import make_tracker

    return competitor(make_tracker(name, backend=backend, precision=precision, threads=threads))


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A bar that is drawn between frames only, so that it takes no processor time from what is measured."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=total)
        drawn = 0.0

        def advance(name: str) -> None:
            nonlocal drawn
            bar.update(task, advance=1, description=name)
            if time.monotonic() - drawn > 0.2:
                bar.refresh()
                drawn = time.monotonic()

        yield advance


def show(console: Console, table: Table, how: Format = Format.table) -> None:
    """Print a table."""
    if how is Format.markdown:
        from deep_tracking_ros.evaluation.report import markdown

        console.out(markdown(table) + "\n", highlight=False)
        return
    from rich import box
    from rich.table import Table as Shown

    shown = Shown(title=table.title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, column in enumerate(table.header):
        shown.add_column(column, justify="right" if index else "left", no_wrap=not index)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)

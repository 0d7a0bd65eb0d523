"""``deep-tracking record``: record topics into a bag."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def record(
    topics: list[str] = typer.Argument(help="Topics to record; each is waited for."),
    out: Path = typer.Option(..., "--out", "-o", help="Bag to write: a folder, or one file where it ends in .mcap."),
    compress: bool = typer.Option(True, help="Compress with zstd."),
    sim_time: bool = typer.Option(False, "--sim-time", help="Stamp by /clock instead of this machine's clock."),
) -> None:
    """Record topics into an mcap bag with all definitions in it, until Ctrl-C.

    For example: deep-tracking record /camera/image /single_object_tracker/boxes -o drive.mcap
    """
    from deep_tracking_ros.errors import DataError
    from deep_tracking_ros.ros.nodes import NodeStart
    from deep_tracking_ros.ros.runner import run

    if out.exists():
        raise DataError(f"{out} exists already; name another bag or remove it")
    parameters = {
        "bag": str(out),
        "topics": ",".join(topics),
        "compress": compress,
        "use_sim_time": sim_time,
    }
    raise typer.Exit(run([NodeStart("bag_recorder", "bag_recorder", parameters)]))

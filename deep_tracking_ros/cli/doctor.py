"""``deep-tracking doctor``: why does no output come?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from deep_tracking_ros.ros.installation import Finding

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    topic: str = typer.Option("", help="The camera's images, raw or compressed; without it what the node listens to."),
    node: str = typer.Option("", help="The node; without it every node of this package that is there."),
    model: str = typer.Option("rpt", help="Model to try the backends with."),
    seconds: float = typer.Option(3.0, help="How long to listen.", min=0.1, max=60.0),
    install_only: bool = typer.Option(False, "--install-only", help="Look at the installation, not at a live graph."),
    json_: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Say what is installed, which backends work, and where on the way from sensor to boxes it stops.

    Beside images all inputs are looked at: detections, boxes, point clouds, calibration, odometry, transforms.

    Exit status 0: no problem found; 1: the problems and what to do are at the end.
    """
    findings = list(_look(topic, node, model, seconds, install_only, quiet=json_))
    problems = [f for f in findings if f.problem]
    if json_:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps({"ok": not problems, "findings": [asdict(f) for f in findings]}, indent=2))
    elif problems:
        typer.echo()
        for f in problems:
            typer.secho(f"{f.subject}: {f.text}. Do: {f.advice}.", fg="red")
    else:
        typer.secho("no problem found", fg="green")
    if problems:
        raise typer.Exit(1)


def _look(topic: str, tracker: str, model: str, seconds: float, install_only: bool, quiet: bool) -> Iterator[Finding]:
    """All findings, printed as they come."""
    from deep_tracking_ros.ros.client import temporary_node
    from deep_tracking_ros.ros.doctor import graph
    from deep_tracking_ros.ros.installation import installation

    def show(findings: Iterator[Finding]) -> Iterator[Finding]:
        for f in findings:
            if not quiet:
                mark = typer.style("x", fg="red") if f.problem else typer.style("+", fg="green")
                typer.echo(f" {mark} {f.subject:<18} {f.text}")
            yield f

    bad = False
    for f in show(installation(model)):
        bad |= f.problem and f.subject in ("ROS 2", "interfaces")
        yield f
    if install_only or bad:  # without ROS there is no graph to look at
        return
    with temporary_node("deep_tracking_doctor") as node:
        yield from show(graph(node, topic, tracker, seconds))

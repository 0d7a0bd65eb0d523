"""``deep-tracking play``: play a bag onto topics."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def play(
    bag: Path = typer.Argument(help="A rosbag2 folder, an .mcap or a .db3 file."),
    topics: list[str] = typer.Option([], "--topic", help="Play only this topic; may be given several times."),
    all_: bool = typer.Option(
        False, "--all", help="Play everything, also tracks, overlays, markers and /diagnostics of an earlier run."
    ),
    rate: float = typer.Option(1.0, help="Speed, 1 = as recorded.", min=0.01, max=100.0),
    loop: bool = typer.Option(False, "--loop", help="Start again at the end; stamps then step back."),
    start: float = typer.Option(0.0, help="Begin this many seconds after the first message.", min=0.0),
    end: float = typer.Option(0.0, help="Stop this many seconds after the first message; 0 = at the end.", min=0.0),
    clock: float = typer.Option(100.0, help="Messages per second on /clock; 0 = none.", min=0.0),
    wait: float = typer.Option(0.0, help="Wait at most this many seconds for subscribers."),
    best_effort: bool = typer.Option(False, "--best-effort", help="Offer best effort instead of reliable."),
    depth: int = typer.Option(10, help="History depth of the publishers.", min=1),
) -> None:
    """Play a bag onto topics, with the recorded stamps and /clock; nodes that listen need use_sim_time.

    What nodes of this package once published is left out, for it would mix with what they publish now: tracks,
    overlays, markers and /diagnostics. --topic plays one of them by name, --all plays everything.

    For example: deep-tracking play drive.mcap --topic /camera/image --rate 0.5 --loop
    """
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.ros.bags import describe
    from deep_tracking_ros.ros.nodes import NodeStart
    from deep_tracking_ros.ros.runner import run

    if all_ and topics:
        raise InvalidRequestError("give either --all or --topic")
    describe(bag)  # a wrong path is answered before a process is started
    parameters = {
        "bag": str(bag),
        "topics": ",".join(topics),
        "results": all_,
        "rate": rate,
        "loop": loop,
        "start_offset": start,
        "end_offset": end,
        "clock_rate": clock,
        "wait_for_subscribers": wait,
        "reliable": not best_effort,
        "depth": depth,
    }
    raise typer.Exit(run([NodeStart("bag_player", "bag_player", parameters)]))

"""``deep-tracking target``: tell a running tracker what to follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from deep_tracking_ros.types import Frame

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Tell a running tracker what to follow.")

NODE = typer.Option("/single_object_tracker", "--node", help="The tracker's node.")
TOPIC = typer.Option("/camera/image", "--topic", help="The camera's images, raw or compressed.")
BOX = "x,y,w,h: left, top, width and height in pixels."


@dataclass(frozen=True)
class Wanted:
    """One target to set."""

    box: tuple[float, float, float, float]  # x, y, w, h, px; all 0 with a track_id
    stamp: int = 0  # ns, of the image that the box was drawn on; 0 = the next
    label: str = ""
    id: int = 0  # 0 = a new target
    track_id: int = 0  # of a track of a multi-object tracker, in place of the box


def parse_box(text: str) -> tuple[float, float, float, float]:
    """``x,y,w,h``. Raises `InvalidBoxError`."""
    import math

    from deep_tracking_ros.errors import InvalidBoxError

    try:
        x, y, w, h = (float(part) for part in text.replace(" ", "").split(","))
    except ValueError:
        raise InvalidBoxError(
            f"the box {text!r} is not four numbers x,y,w,h (left, top, width, height in px)"
        ) from None
    if not all(math.isfinite(v) for v in (x, y, w, h)) or w <= 0 or h <= 0:
        raise InvalidBoxError(f"the box {text!r} must have finite numbers, and a width and height above 0")
    return x, y, w, h


def parse_stamp(text: str) -> int:
    """Seconds such as ``1700000000.040000000`` as exact nanoseconds. Raises `InvalidRequestError`."""
    from decimal import Decimal, InvalidOperation

    from deep_tracking_ros.errors import InvalidRequestError

    try:
        value = int(Decimal(text) * 1_000_000_000)
    except (InvalidOperation, ValueError, OverflowError):
        value = -1
    if not 0 <= value < 2**31 * 1_000_000_000:
        raise InvalidRequestError(f"the stamp {text!r} is no time in seconds such as 1700000000.040000000")
    return value


def format_stamp(stamp: int) -> str:
    """Nanoseconds as seconds, exactly."""
    return f"{stamp // 1_000_000_000}.{stamp % 1_000_000_000:09d}"


def read_targets(file: Path) -> list[Wanted]:
    """Targets of a YAML file: a list of ``{box: [x, y, w, h], label: car, stamp: 12.5, id: 0}``, all but box optional.

    Raises `DataError` where it is something else.
    """
    import yaml

    from deep_tracking_ros.errors import DataError

    example = "- {box: [100, 80, 40, 60], label: car}"
    try:
        entries = yaml.load(file.read_text(), yaml.BaseLoader)  # texts only: a stamp as a float would lose digits
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as YAML: {error}") from None
    if not isinstance(entries, list):
        raise DataError(f"{file} is not a list of targets such as: {example}")
    targets = []
    for number, entry in enumerate(entries, 1):
        known = {"box", "label", "stamp", "id"}
        if not isinstance(entry, dict) or not isinstance(entry.get("box"), list) or set(entry) - known:
            raise DataError(f"{file}: target {number} must be like {example}; keys are {', '.join(sorted(known))}")
        stamp, id_ = entry.get("stamp", "0"), entry.get("id", "0")
        if not id_.isdecimal():
            raise DataError(f"{file}: target {number} has the id {id_!r}, it must be a whole number")
        targets.append(Wanted(parse_box(",".join(entry["box"])), parse_stamp(stamp), entry.get("label", ""), int(id_)))
    return targets


def set_target(node: Any, tracker: str, target: Wanted) -> Any:
    """The answer of the tracker's ``set_target`` service."""
    from deep_tracking_ros.srv import SetTarget

    x, y, w, h = target.box
    request = SetTarget.Request(
        # pixel centres are at integers: the box covers the pixels x to x + w - 1
        center_x=x + (w - 1) / 2,
        center_y=y + (h - 1) / 2,
        size_x=w,
        size_y=h,
        label=target.label,
        id=target.id,
        track_id=target.track_id,
    )
    request.stamp.sec, request.stamp.nanosec = divmod(target.stamp, 1_000_000_000)
    return ask(node, SetTarget, tracker, "set_target", request)


def ask(node: Any, kind: Any, tracker: str, service: str, request: Any) -> Any:
    """The answer of a service of a tracker. Raises `DataError` where none comes, and says which trackers there are."""
    import os

    from deep_tracking_ros.errors import DataError
    from deep_tracking_ros.ros.client import call

    tracker = "/" + tracker.strip("/")
    try:
        return call(node, kind, f"{tracker}/{service}", request)
    except DataError as error:
        servers = _servers(node, f"deep_tracking_ros/srv/{kind.__name__}")
        if f"{tracker}/{service}" in servers:  # it is there and gave no answer
            raise
        missing = f"there is no service {tracker}/{service}"
        domain = f"ROS_DOMAIN_ID={os.environ.get('ROS_DOMAIN_ID') or 0}"
        if any(f"{space.rstrip('/')}/{name}" == tracker for name, space in node.get_node_names_and_namespaces()):
            answer = (
                f"{missing}: {tracker} runs but does not offer it; configure it (ros2 lifecycle set), or is it none?"
            )
        elif servers:
            others = ", ".join(sorted(name.rpartition("/")[0] for name in servers))
            answer = f"{missing}; trackers here ({domain}) are {others}: name one with --node"
        else:
            answer = (
                f"{missing}: no tracker is running here ({domain}); "
                "start it with deep-tracking run tracker image:=TOPIC"
            )
        raise DataError(answer) from error


def _servers(node: Any, type_: str) -> set[str]:
    """Services of a type that a node offers; those that are only asked for are in the graph too."""
    from rclpy.node import NodeNameNonExistentError

    found: set[str] = set()
    for name, space in node.get_node_names_and_namespaces():
        try:
            offered = node.get_service_names_and_types_by_node(name, space)
        except NodeNameNonExistentError:  # it has just ended
            continue
        found |= {service for service, types in offered if type_ in types}
    return found


def _report(answers: list[Any]) -> None:
    for answer in answers:
        typer.secho(answer.message, fg="green" if answer.success else "red", err=not answer.success)
    if not all(answer.success for answer in answers):
        raise typer.Exit(1)


@app.command("set")
def set_(
    box: str = typer.Argument("", help=BOX),
    stamp: str = typer.Option("0", help="Stamp (s) of the image on which the box was drawn; 0 = the next image."),
    on: Path = typer.Option(None, "--on", help="Picture made by `target snapshot`: its stamp is taken."),
    label: str = typer.Option("", help="Name that the target's boxes carry."),
    id_: int = typer.Option(0, "--id", help="Start this target anew instead of adding one.", min=0),
    file: Path = typer.Option(None, "--file", help="YAML list of targets, each {box: [x, y, w, h], label, stamp, id}."),
    track_id: int = typer.Option(
        0,
        "--track-id",
        help="Follow this track of a multi-object tracker, which the node listens to (tracks:=).",
        min=0,
    ),
    node: str = NODE,
) -> None:
    """Follow the object in a box, or a track of a multi-object tracker.

    For example: deep-tracking target set 120,80,60,90 --label car, or: deep-tracking target set --track-id 7
    """
    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.ros.client import temporary_node

    if sum(map(bool, (box, file, track_id))) != 1:
        raise InvalidRequestError("give either a box x,y,w,h, or --track-id 7, or --file targets.yaml")
    when = parse_stamp(_snapshot_stamp(on) if on else stamp)
    place = parse_box(box) if box else (0.0, 0.0, 0.0, 0.0)
    targets = read_targets(file) if file else [Wanted(place, when, label, id_, track_id)]
    with temporary_node("target_set") as client:
        _report([set_target(client, node, target) for target in targets])


@app.command()
def remove(id_: int = typer.Argument(metavar="ID", help="Id of the target."), node: str = NODE) -> None:
    """Stop following one target."""
    from deep_tracking_ros.ros.client import temporary_node

    with temporary_node("target_remove") as client:
        from deep_tracking_ros.srv import RemoveTarget

        _report([ask(client, RemoveTarget, node, "remove_target", RemoveTarget.Request(id=id_))])


@app.command()
def clear(node: str = NODE) -> None:
    """Stop following all targets."""
    from deep_tracking_ros.ros.client import temporary_node

    with temporary_node("target_clear") as client:
        from deep_tracking_ros.srv import ClearTargets

        _report([ask(client, ClearTargets, node, "clear_targets", ClearTargets.Request())])


def _snapshot_stamp(picture: Path) -> str:
    from deep_tracking_ros.errors import DataError

    side = picture.with_name(picture.name + ".stamp")
    if not side.exists():
        raise DataError(f"{side} is missing; make the picture by `deep-tracking target snapshot {picture}`")
    return side.read_text().strip()


def _grab(topic: str) -> Frame:
    import os

    from deep_tracking_ros.errors import DataError
    from deep_tracking_ros.ros.client import newest_image, temporary_node
    from deep_tracking_ros.ros.doctor_inputs import images_but_overlays

    topic = "/" + topic.strip("/")
    with temporary_node("target_image") as client:
        try:
            frame: Frame = newest_image(client, topic)
            return frame
        except DataError as error:
            if client.get_publishers_info_by_topic(topic):  # what it is, is not an image
                raise
            domain = f"ROS_DOMAIN_ID={os.environ.get('ROS_DOMAIN_ID') or 0}"
            others = ", ".join(sorted(images_but_overlays(client)))
            answer = f"topics of images here ({domain}) are {others}: name one with --topic"
            if not others:
                answer = f"no camera publishes images here ({domain}); start its driver, or deep-tracking play a bag"
            raise DataError(f"nobody publishes {topic}; {answer}") from error


@app.command()
def snapshot(file: Path = typer.Argument(help="Picture to write, such as now.png."), topic: str = TOPIC) -> None:
    """Save the newest image and its stamp, to read a box off it in any viewer.

    Then: deep-tracking target set x,y,w,h --on now.png
    """
    import cv2

    from deep_tracking_ros.errors import DataError

    frame = _grab(topic)
    try:
        written = cv2.imwrite(str(file), frame.image)
    except cv2.error:
        written = False
    if not written:
        raise DataError(f"{file} cannot be written as a picture; use a name such as now.png in a folder that exists")
    file.with_name(file.name + ".stamp").write_text(format_stamp(frame.stamp) + "\n")
    height, width = frame.image.shape[:2]
    typer.echo(f"{file}: {width}x{height} px, stamp {format_stamp(frame.stamp)}")
    typer.echo(f"now: deep-tracking target set x,y,w,h --on {file}")


@app.command()
def pick(
    label: str = typer.Option("", help="Name that the target's boxes carry."), topic: str = TOPIC, node: str = NODE
) -> None:
    """Draw the box with the mouse on the newest image; needs a display."""
    import os

    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.ros.client import temporary_node

    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InvalidRequestError(
            "there is no display here; use `deep-tracking target snapshot now.png`, read the box off the picture, "
            "and `deep-tracking target set x,y,w,h --on now.png`"
        )
    import cv2

    frame = _grab(topic)
    x, y, w, h = cv2.selectROI("draw a box, then press Enter (c = cancel)", frame.image, showCrosshair=False)
    cv2.destroyAllWindows()
    if w == 0 or h == 0:
        typer.echo("nothing was chosen")
        raise typer.Exit(1)
    with temporary_node("target_pick") as client:
        _report([set_target(client, node, Wanted((x, y, w, h), frame.stamp, label))])

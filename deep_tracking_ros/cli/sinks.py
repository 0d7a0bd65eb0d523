"""Where the results of an offline run go: a bag, a video, a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deep_tracking_ros.pipelines.black_box import Place
    from deep_tracking_ros.pipelines.replay import Step


class _Results:
    """All results into a bag, with the times of their images."""

    def __init__(self, path: Path, prefix: str) -> None:
        from deep_tracking_ros.ros.bags import ResultWriter

        self.writer = ResultWriter(path)
        self.prefix = prefix

    def __enter__(self) -> _Results:
        self.writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.writer.__exit__(*error)

    def take(self, step: Step) -> None:
        for output in step.outputs:
            known = max(step.frame.stamp, output.item.stamp)  # static transforms, say, may have any stamp
            self.writer.write(f"/{self.prefix}/{output.port}", output.item, known)


class _Video:
    """Each processed frame with its results drawn on it."""

    def __init__(self, path: Path) -> None:
        from deep_tracking_ros.visualization.video import VideoWriter

        self.writer = VideoWriter(path)

    def __enter__(self) -> _Video:
        self.writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.writer.__exit__(*error)

    def take(self, step: Step) -> None:
        from deep_tracking_ros.visualization.overlay import draw

        for output in step.outputs:
            self.writer.write(draw(step.frame.image, output.item), step.frame.stamp)


class _Table:
    """One line per box and frame: stamp, epoch, id, label, state, score, and x, y, w, h as ``--target`` takes them."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w", newline="")
        self.file.write("stamp,epoch,id,label,state,score,x,y,w,h\n")

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def take(self, step: Step) -> None:
        import csv

        from deep_tracking_ros.cli.target import format_stamp
        from deep_tracking_ros.geometry.boxes import xyxy_to_xywh

        rows = csv.writer(self.file, lineterminator="\n")
        for output in step.outputs:
            for *head, score, box in boxes_of(output.item):
                x, y, w, h = xyxy_to_xywh(box).tolist()
                place = [f"{value:.3f}" for value in (x + 0.5, y + 0.5, w, h)]
                rows.writerow([format_stamp(output.item.stamp), *head, f"{score:.4f}", *place])


class _Table3D:
    """One line per box in space: centre, size (m), heading in the frame (rad), velocity over ground (m/s).

    Detections have no epoch, id, state or velocity.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("w", newline="")
        self.file.write("stamp,frame_id,epoch,id,label,state,score,x,y,z,length,width,height,yaw,vx,vy,vz\n")

    def __enter__(self) -> _Table3D:
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def take(self, step: Step) -> None:
        import csv
        from math import atan2

        from deep_tracking_ros.cli.target import format_stamp

        rows = csv.writer(self.file, lineterminator="\n")
        for output in step.outputs:
            item = output.item
            for *head, score, box, velocity in boxes_in_space_of(item):
                yaw = atan2(box.pose[1, 0], box.pose[0, 0])
                numbers = [f"{number:.3f}" for number in (*box.pose[:3, 3], *box.size, yaw, *velocity)]
                numbers += [""] * (3 - len(velocity))
                rows.writerow([format_stamp(item.stamp), item.frame_id, *head, f"{score:.4f}", *numbers])


class _Recordings:
    """The black box: a file for each loss of a target."""

    def __init__(self, place: Place, prefix: str) -> None:
        from deep_tracking_ros.ros.black_box import BlackBoxFolder

        self.folder = BlackBoxFolder(place, prefix)
        self.folder.check()

    def __enter__(self) -> _Recordings:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def take(self, step: Step) -> None:
        import typer

        for recording in step.recordings:
            ids = " and ".join(map(str, recording.lost))
            typer.echo(f"target {ids} was lost: {self.folder.add(recording)}", err=True)


def boxes_of(item: Any) -> Iterator[tuple[Any, ...]]:
    """(epoch, id, label, state, score, box) of each box of a result; detections have no epoch, id or state."""
    from deep_tracking_ros.types import Detections

    if isinstance(item, Detections):
        for found in item.detections:
            yield "", "", found.label, "", found.score, found.box
    else:
        for box in item.boxes:
            yield item.epoch, box.id, box.label, box.state.name, box.score, box.box


def boxes_in_space_of(item: Any) -> Iterator[tuple[Any, ...]]:
    """(epoch, id, label, state, score, box, velocity) as `boxes_of`; the velocity of a detection is empty."""
    from deep_tracking_ros.types import Detections3D

    if isinstance(item, Detections3D):
        for found in item.detections:
            yield "", "", found.label, "", found.score, found, ()
    else:
        for box in item.boxes:
            yield item.epoch, box.id, box.label, box.state.name, box.score, box, box.velocity[:3]


def is_in_space(kind: type) -> bool:
    """Whether results of this type are boxes in 3D."""
    from deep_tracking_ros.types import Detections3D, TrackedBoxes3D

    return kind in (Detections3D, TrackedBoxes3D)


def tally(item: Any) -> Counter[str]:
    """How many boxes of each state a result has; of detections, of each class."""
    if is_in_space(type(item)):
        return Counter(state or label for _, _, label, state, *_ in boxes_in_space_of(item))
    return Counter(state or label for _, _, label, state, _, _ in boxes_of(item))


def make_sinks(
    prefix: str,
    out: Path | None,
    mp4: Path | None,
    csv: Path | None,
    black_box: Place | None = None,
    in_space: bool = False,
) -> Iterator[Any]:
    """What is asked for, to be entered; in a bag topics are ``/prefix/PORT``. ``in_space``: results are boxes in 3D."""
    if black_box is not None:
        yield _Recordings(black_box, prefix)
    if out is not None:
        yield _Results(out, prefix)
    if mp4 is not None:
        yield _Video(mp4)
    if csv is not None:
        yield _Table3D(csv) if in_space else _Table(csv)

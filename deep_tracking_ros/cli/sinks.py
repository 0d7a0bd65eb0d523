"""Where the results of an offline run go: a bag, a video, a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deep_tracking_ros.pipelines.black_box import Place
    from deep_tracking_ros.pipelines.replay import Step


class _Writing:
    """What has a writer of a file, which is whole when the block is left.

    A file that is there already is replaced at the end only: it stays as it is where the block fails.
    """

    writer: Any

    def __init__(self, path: Path, replaces: bool = True) -> None:
        self.path = path.resolve()  # what a link leads to is replaced, not the link
        self.replaces = replaces and self.path.is_file()  # no folder, no pipe, not /dev/stdout
        self.place = self.path.with_name(f".{path.stem}.partial{path.suffix}") if self.replaces else path

    def __enter__(self) -> _Writing:
        self.writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.writer.__exit__(*error)
        if self.replaces and error[0] is None:
            self.place.replace(self.path)
        elif self.replaces:
            self.place.unlink()


class _Results(_Writing):
    """All results into a bag, with the times of their images."""

    def __init__(self, path: Path, prefix: str) -> None:
        from deep_tracking_ros.ros.bags import ResultWriter

        super().__init__(path, replaces=path.suffix == ".mcap")  # else it is a folder, which has to be new
        self.writer = ResultWriter(self.place)
        self.prefix = prefix

    def take(self, step: Step) -> None:
        for output in step.outputs:
            known = max(step.frame.stamp, output.item.stamp)  # static transforms, say, may have any stamp
            self.writer.write(f"/{self.prefix}/{output.port}", output.item, known)


class _Video(_Writing):
    """Each processed frame with its results drawn on it."""

    def __init__(self, path: Path) -> None:
        from deep_tracking_ros.visualization.video import VideoWriter

        super().__init__(path, replaces=False)  # the writer itself does so
        self.writer = VideoWriter(path)

    def take(self, step: Step) -> None:
        from deep_tracking_ros.visualization.overlay import draw

        for output in step.outputs:
            self.writer.write(draw(step.frame.image, output.item), step.frame.stamp)


class _Table(_Writing):
    """One line per box: in the image x, y, w, h as ``--target`` takes them; in space centre, size (m), heading in the
    frame (rad) and velocity over ground (m/s). Detections have no epoch, id, state or velocity.
    """

    def __init__(self, path: Path, in_space: bool) -> None:
        import csv

        super().__init__(path)
        self.lines = _lines_in_space if in_space else _lines_in_image
        self.writer = self.place.open("w", newline="")
        self.rows = csv.writer(self.writer, lineterminator="\n")
        place = "x,y,z,length,width,height,yaw,vx,vy,vz" if in_space else "x,y,w,h"
        self.rows.writerow(f"stamp,{'frame_id,' * in_space}epoch,id,label,state,score,{place}".split(","))

    def take(self, step: Step) -> None:
        for output in step.outputs:
            self.rows.writerows(self.lines(output.item))


def _lines_in_image(item: Any) -> Iterator[list[Any]]:
    from deep_tracking_ros.cli.target import format_stamp
    from deep_tracking_ros.geometry.boxes import xyxy_to_xywh

    for *head, score, box in boxes_of(item):
        x, y, w, h = xyxy_to_xywh(box.box).tolist()
        place = [f"{value:.3f}" for value in (x + 0.5, y + 0.5, w, h)]
        yield [format_stamp(item.stamp), *head, f"{score:.4f}", *place]


def _lines_in_space(item: Any) -> Iterator[list[Any]]:
    from math import atan2

    from deep_tracking_ros.cli.target import format_stamp

    for *head, score, box in boxes_of(item):
        velocity = getattr(box, "velocity", ())[:3]
        yaw = atan2(box.pose[1, 0], box.pose[0, 0])
        numbers = [f"{number:.3f}" for number in (*box.pose[:3, 3], *box.size, yaw, *velocity)]
        numbers += [""] * (3 - len(velocity))
        yield [format_stamp(item.stamp), item.frame_id, *head, f"{score:.4f}", *numbers]


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
    """(epoch, id, label, state, score) and what else it is, of each box of a result, in the image or in space.

    Detections have no epoch, id or state.
    """
    from deep_tracking_ros.types import Detections, Detections3D

    if isinstance(item, Detections | Detections3D):
        for found in item.detections:
            yield "", "", found.label, "", found.score, found
    else:
        for box in item.boxes:
            yield item.epoch, box.id, box.label, box.state.name, box.score, box


def is_in_space(kind: type) -> bool:
    """Whether results of this type are boxes in 3D."""
    from deep_tracking_ros.types import Detections3D, TrackedBoxes3D

    return kind in (Detections3D, TrackedBoxes3D)


def tally(item: Any) -> Counter[str]:
    """How many boxes of each state a result has; of detections, of each class."""
    return Counter(state or label for _, _, label, state, *_ in boxes_of(item))


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Sequence[Path]]) -> None:
    """Refuse outputs that would be written over what is read, or over each other; before any of them is opened.

    Option -> its file, and what an input is called -> its files, folders or patterns. Links are followed. Raises
    `InvalidRequestError`.
    """
    from deep_tracking_ros.errors import InvalidRequestError

    taken = [(name, file) for name, paths in inputs.items() for path in paths for file in _files_of(path)]
    for option, path in outputs.items():
        if path is None:
            continue
        for name, file in taken:
            if _is_same(path, file):
                raise InvalidRequestError(f"{option} {path} is {name} itself; name another file")
        taken.append((f"the file of {option}", path))


def _files_of(path: Path) -> list[Path]:
    """What is read of an input, as far as it exists: a file, a folder and what is in it, what a pattern matches."""
    from deep_tracking_ros.cli.inputs import is_bag
    from deep_tracking_ros.errors import DataError
    from deep_tracking_ros.pipelines.sources import image_files

    if path.is_dir() and is_bag(path):
        return [path, *path.iterdir()]
    if path.exists() and not path.is_dir():
        return [path]
    try:
        return [path, *image_files(path)]
    except (DataError, ValueError):  # nothing there: who reads it says so
        return []


def _is_same(one: Path, other: Path) -> bool:
    """Whether both names are of one file or folder, by whatever links; devices such as /dev/null can be shared."""
    if one.exists() and other.exists():
        return one.samefile(other) and (one.is_file() or one.is_dir())
    return one.resolve() == other.resolve()


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
        yield _Table(csv, in_space)

"""Where the results of an offline run go: a bag, a video, a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
            self.writer.write(f"/{self.prefix}/{output.port}", output.item, step.frame.stamp)


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


def boxes_of(item: Any) -> Iterator[tuple[Any, ...]]:
    """(epoch, id, label, state, score, box) of each box of a result; detections have no epoch, id or state."""
    from deep_tracking_ros.types import Detections

    if isinstance(item, Detections):
        for found in item.detections:
            yield "", "", found.label, "", found.score, found.box
    else:
        for box in item.boxes:
            yield item.epoch, box.id, box.label, box.state.name, box.score, box.box


def tally(item: Any) -> Counter[str]:
    """How many boxes of each state a result has; of detections, of each class."""
    return Counter(state or label for _, _, label, state, _, _ in boxes_of(item))


def make_sinks(prefix: str, out: Path | None, mp4: Path | None, csv: Path | None) -> Iterator[Any]:
    """What is asked for, to be entered; in a bag topics are ``/prefix/PORT``."""
    if out is not None:
        yield _Results(out, prefix)
    if mp4 is not None:
        yield _Video(mp4)
    if csv is not None:
        yield _Table(csv)

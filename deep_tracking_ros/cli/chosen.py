"""What an offline run is to follow, and from when on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deep_tracking_ros.cli.inputs import is_bag

if TYPE_CHECKING:
    from deep_tracking_ros.pipelines.replay import TimedTarget
    from deep_tracking_ros.pipelines.sources import Beside
    from deep_tracking_ros.types import Frame

WHEN = (
    "WHEN is the number of a frame (@12; 0 = the first, as without WHEN), a time after the first frame (@2.5s) or a "
    "stamp (@1700000000.040000000). May be given several times."
)
TARGET = (
    "Box to follow: x,y,w,h or x,y,w,h@WHEN or x,y,w,h@WHEN:LABEL, with left, top, width and height in pixels. " + WHEN
)
TRACK = (
    "Follow this track of a multi-object tracker: ID, ID@WHEN or ID@WHEN:LABEL, as soon as it was seen from WHEN on. "
    "Its boxes are at the input tracks, see --topic. " + WHEN
)


def parse_target(text: str) -> TimedTarget:
    """``x,y,w,h[@WHEN][:LABEL]``. Raises `InvalidBoxError` or `InvalidRequestError` naming what is wrong."""
    what, when, label = _parts(text.removeprefix("="))  # the short option -t=x,y,w,h comes with its equals sign
    return _timed(_request(what, label), when)


def parse_track(text: str) -> TimedTarget:
    """``ID[@WHEN][:LABEL]``. Raises `InvalidRequestError` naming what is wrong."""
    import numpy as np

    from deep_tracking_ros.errors import InvalidRequestError
    from deep_tracking_ros.pipelines.requests import SetTarget

    what, when, label = _parts(text)
    if not what.isdecimal() or int(what) == 0:
        raise InvalidRequestError(f"--track-id {text!r}: {what!r} is not the id of a track, a whole number from 1 on")
    return _timed(SetTarget(np.zeros(4, np.float32), label=label, track_id=int(what)), when)


def _parts(text: str) -> tuple[str, str, str]:
    rest, _, label = text.partition(":")
    what, _, when = rest.partition("@")
    return what, when, label


def _timed(request: Any, when: str) -> TimedTarget:
    from deep_tracking_ros.cli.target import parse_stamp
    from deep_tracking_ros.pipelines.replay import TimedTarget
    from deep_tracking_ros.types import nanoseconds

    if not when:
        return TimedTarget(request, index=0)
    if when.isdecimal():
        return TimedTarget(request, index=int(when))
    if re.fullmatch(r"\d+(\.\d*)?s", when):
        return TimedTarget(request, offset=nanoseconds(float(when[:-1])))
    return TimedTarget(request, stamp=parse_stamp(when))


def _request(box: str, label: str) -> Any:
    """A request for x,y,w,h, where x and y are the left and top pixel: the box begins at that pixel's outer edge."""
    from deep_tracking_ros.cli.target import parse_box
    from deep_tracking_ros.geometry.boxes import xywh_to_xyxy
    from deep_tracking_ros.pipelines.requests import SetTarget

    x, y, w, h = parse_box(box)
    return SetTarget(xywh_to_xyxy([x - 0.5, y - 0.5, w, h]), label=label)


def targets_of_file(file: Path) -> list[TimedTarget]:
    """Those of a YAML file, as `target set --file` takes it. Raises `DataError` where it is something else."""
    from deep_tracking_ros.cli.target import read_targets
    from deep_tracking_ros.pipelines.replay import TimedTarget

    chosen = []
    for wanted in read_targets(file):
        request = _request("{},{},{},{}".format(*wanted.box), wanted.label)
        # stamp 0 is the next image, which here is the first
        chosen.append(TimedTarget(request, stamp=wanted.stamp) if wanted.stamp else TimedTarget(request, index=0))
    return chosen


def targets_of_recording(source: str) -> list[TimedTarget]:
    """What a recording of the black box says of where its targets were; none for any other input."""
    from deep_tracking_ros.pipelines.replay import TimedTarget
    from deep_tracking_ros.pipelines.requests import SetTarget

    if not is_bag(Path(source)):
        return []
    from deep_tracking_ros.ros.black_box import start_boxes

    return [TimedTarget(SetTarget(box.box, label=box.label), stamp=stamp) for stamp, box in start_boxes(source)]


def draw_target(frames: Iterator[Frame | Beside]) -> tuple[Iterator[Frame | Beside], TimedTarget]:
    """A box drawn by the user on the first frame, and the whole stream."""
    import os
    from itertools import chain

    from deep_tracking_ros.errors import DataError, InvalidRequestError
    from deep_tracking_ros.pipelines.replay import TimedTarget
    from deep_tracking_ros.pipelines.sources import Beside

    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InvalidRequestError(
            "there is no display to draw on; read the box off a picture and give --target x,y,w,h"
        )
    import cv2

    before: list[Frame | Beside] = []
    for first in frames:
        before.append(first)
        if not isinstance(first, Beside):
            break
    else:
        raise DataError("there is no frame to draw on")
    box = cv2.selectROI("draw a box, then press Enter (c = cancel)", first.image, showCrosshair=False)
    cv2.destroyAllWindows()
    return chain(before, frames), TimedTarget(_request("{},{},{},{}".format(*box), ""), index=0)

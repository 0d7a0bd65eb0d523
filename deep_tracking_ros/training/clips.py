"""Real video clips with one marked target each.

Layout: ``ROOT/NAME/img/0001.jpg ...`` with ``ROOT/NAME/boxes.txt`` (one ``x,y,w,h`` line per image, counted from the
outer edge of the first pixel; ``nan`` = target not visible or not trusted), optionally ``mask/0001.png ...`` (0 or
255) and ``ROOT/index.csv`` with the columns ``name`` and ``video`` (folders of one video share its name).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.files import natural_order
from deep_tracking_ros.training.pictures import SUFFIXES, ImageCache
from deep_tracking_ros.training.views import TargetView
from deep_tracking_ros.types import FloatArray


@dataclass(frozen=True, eq=False)
class Clip:
    """One target in one video."""

    name: str
    video: str  # clips of one video must not be split between training and validation
    frames: tuple[Path, ...]
    boxes: FloatArray  # (T, 4) xyxy px, pixel centres at integers; nan = not visible or not trusted
    masks: tuple[Path, ...] = ()  # one a frame, or none at all

    def seen(self) -> NDArray[np.intp]:
        """Numbers of the frames in which the target has a box."""
        return np.flatnonzero(np.isfinite(self.boxes).all(1))


class ClipSet:
    """The clips of a training; may be empty."""

    def __init__(self, clips: Sequence[Clip] = ()) -> None:
        # a target must be seen twice to make a pair
        self.clips = tuple(clip for clip in clips if len(clip.seen()) >= 2)
        self.cache = ImageCache()

    def view(self, clip: Clip, frame: int) -> TargetView:
        """The target in one frame of a clip."""
        mask = self.cache.read(clip.masks[frame], cv2.IMREAD_GRAYSCALE) if clip.masks else None
        return TargetView(self.cache.read(clip.frames[frame]), clip.boxes[frame], mask)


def load_clips(roots: Iterable[Path | str]) -> ClipSet:
    """Read folders of clips. Raises `DataError` where a folder has no clip or its files do not fit together."""
    clips: list[Clip] = []
    for name in roots:
        root = Path(name)
        found = sorted(p.parent for p in root.glob("*/boxes.txt"))
        if not found:
            raise DataError(
                f"no clip in {root}; each clip should be a folder NAME with NAME/img/*.jpg and NAME/boxes.txt"
            )
        videos = _videos(root / "index.csv")
        clips += [_read_clip(folder, videos.get(folder.name, folder.name)) for folder in found]
    return ClipSet(clips)


def _videos(index: Path) -> dict[str, str]:
    if not index.is_file():
        return {}
    with index.open(newline="") as file:
        return {row["name"]: row["video"] for row in csv.DictReader(file)}


def _read_clip(folder: Path, video: str) -> Clip:
    frames = tuple(natural_order(p for p in (folder / "img").glob("*") if p.suffix.lower() in SUFFIXES))
    masks = tuple(natural_order((folder / "mask").glob("*.png")))
    try:
        boxes = np.loadtxt(folder / "boxes.txt", delimiter=",", ndmin=2, dtype=np.float32).reshape(-1, 4)
    except ValueError as error:
        raise DataError(f"{folder / 'boxes.txt'} should hold one x,y,w,h line per image: {error}") from error
    if len(boxes) != len(frames) or (masks and len(masks) != len(frames)):
        raise DataError(f"{folder} has {len(frames)} images, {len(boxes)} boxes and {len(masks)} masks; give one each")
    boxes[:, 2:] += boxes[:, :2]
    return Clip(folder.name, video, frames, boxes - np.float32(0.5), masks)


def split(clips: ClipSet, holdout: tuple[str, ...]) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on and clips to choose and calibrate on.

    ``holdout`` names videos; empty = every fifth one, of two the second, of a single one none. Raises `DataError` for a
    name that no video has.
    """
    videos = sorted({clip.video for clip in clips.clips})
    if unknown := sorted(set(holdout) - set(videos)):
        raise DataError(
            f"there are no videos {', '.join(unknown)} to hold out; there are {', '.join(videos) or 'none'}"
        )
    held = set(holdout) or set(videos[2::5] or videos[1:])
    return [c for c in clips.clips if c.video not in held], [c for c in clips.clips if c.video in held]

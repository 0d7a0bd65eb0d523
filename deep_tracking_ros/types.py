"""The values that every floor speaks: frozen dataclasses over numpy arrays.

Conventions. Time is integer nanoseconds of the sensor's clock. Boxes are ``(x0, y0, x1, y1)`` float32 pixels with
pixel centres at integers, x right, y down: pixel ``p`` covers ``p - 0.5`` to ``p + 0.5``, and the full image is
``(-0.5, -0.5, width - 0.5, height - 0.5)``. Images are ``(H, W, 3)`` uint8 BGR, as OpenCV has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
NANOSECONDS = 1_000_000_000


class State(IntEnum):
    """State of a followed object; the numbers are those of ``TrackedBox.msg``."""

    UNKNOWN = 0
    TRACKED = 1
    UNCERTAIN = 2
    LOST = 3
    TENTATIVE = 4
    CONFIRMED = 5
    OCCLUDED = 6


@dataclass(frozen=True, eq=False)
class Camera:
    """Pinhole camera of a stream, as in ``sensor_msgs/CameraInfo``."""

    width: int
    height: int
    matrix: NDArray[np.float64]  # (3, 3) K, px
    distortion: NDArray[np.float64]  # (n,) in the order of the model
    distortion_model: str = "plumb_bob"


class Frame:
    """One image of a stream with its stamp and frame id.

    ``image`` may be given as an array or as a function that makes it: a frame that is only kept for later (or
    dropped) is then never decoded. ``image`` is decoded once, on first use, and must not be written to.
    """

    def __init__(
        self,
        image: NDArray[np.uint8] | Callable[[], NDArray[np.uint8]],
        stamp: int,
        frame_id: str = "",
        camera: Camera | None = None,
        nbytes: int | None = None,
    ) -> None:
        self._source = image
        self.stamp = stamp
        self.frame_id = frame_id
        self.camera = camera
        self._source_bytes = nbytes if nbytes is not None else (image.nbytes if isinstance(image, np.ndarray) else 0)

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR. Raises `InvalidImageError` where the data cannot be decoded."""
        return self._source if isinstance(self._source, np.ndarray) else self._source()

    @property
    def nbytes(self) -> int:
        """What the frame costs while it waits in a buffer, bytes: as it came, and decoded once it was."""
        decoded = self.__dict__.get("image")  # there once it was looked at
        if decoded is None or decoded is self._source or not decoded.flags.owndata:
            return self._source_bytes
        return self._source_bytes + int(decoded.nbytes)

    def __repr__(self) -> str:
        return f"Frame(stamp={self.stamp}, frame_id={self.frame_id!r})"


@dataclass(frozen=True, eq=False)
class Mask:
    """Part of an image that belongs to an object: ``data`` (h, w) uint8, 255 = object, its top-left pixel at (x, y)."""

    x: int
    y: int
    data: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TrackedBox:
    """One followed object; see ``TrackedBox.msg`` for units."""

    id: int
    box: FloatArray  # (4,) xyxy, px
    state: State
    score: float  # probability that IoU > 0.5; -1 = unknown
    label: str = ""
    velocity: FloatArray = field(default_factory=lambda: np.zeros(4, np.float32))  # (cx, cy, w, h) px/s
    covariance: FloatArray | None = None  # (4, 4) of (cx, cy, w, h), px^2
    contour: FloatArray | None = None  # (n, 2) px
    mask: Mask | None = None
    age: float = 0.0  # s
    unseen: float = 0.0  # s


@dataclass(frozen=True, eq=False)
class TrackedBoxes:
    """All followed objects of one image; the result of one `step` of a tracking pipeline."""

    stamp: int  # ns, of the image
    frame_id: str
    epoch: int
    valid_at: int  # ns, time for which the boxes hold
    width: int
    height: int
    model: str
    boxes: tuple[TrackedBox, ...] = ()


def seconds(nanoseconds: int) -> float:
    """Nanoseconds as seconds."""
    return nanoseconds / NANOSECONDS


def nanoseconds(seconds_: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds_ * NANOSECONDS)

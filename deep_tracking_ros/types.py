"""The values that every floor speaks: frozen dataclasses over numpy arrays.

Conventions. Time is integer nanoseconds of the sensor's clock. Boxes are ``(x0, y0, x1, y1)`` float32 pixels with
pixel centres at integers, x right, y down: pixel ``p`` covers ``p - 0.5`` to ``p + 0.5``, and the full image is
``(-0.5, -0.5, width - 0.5, height - 0.5)``. Images are ``(H, W, 3)`` uint8 BGR, as OpenCV has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Matrix = NDArray[np.float64]
"""What describes places in space, where single precision would lose centimetres a few hundred kilometres out."""
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
    frame_id: str = ""  # optical frame; empty = unknown


class Frame:
    """One image of a stream with its stamp and frame id.

    ``image`` may be given as an array or as a function that makes it: a frame that is only kept for later (or
    dropped) is then never decoded. ``image`` is decoded on first use and kept until `release`; it must not be written
    to. Threads that look at a frame for the first time at the same time decode it twice, which does no harm.
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
        self._decoded: NDArray[np.uint8] | None = None
        self.stamp = stamp
        self.frame_id = frame_id
        self.camera = camera
        self._source_bytes = nbytes if nbytes is not None else (image.nbytes if isinstance(image, np.ndarray) else 0)

    @property  # not cached_property: its lock in Python 3.11 would let only one camera decode at a time
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR. Raises `InvalidImageError` where the data cannot be decoded."""
        if isinstance(self._source, np.ndarray):
            return self._source
        image = self._decoded
        if image is None:
            image = self._decoded = self._source()
        return image

    def release(self) -> None:
        """Free the decoded image where it was made by a function; it is made again when it is next looked at."""
        self._decoded = None

    @property
    def nbytes(self) -> int:
        """What the frame costs while it waits in a buffer, bytes: as it came, and decoded once it was."""
        decoded = self._decoded
        if decoded is None or not decoded.flags.owndata:
            return self._source_bytes
        return self._source_bytes + int(decoded.nbytes)

    def __repr__(self) -> str:
        return f"Frame(stamp={self.stamp}, frame_id={self.frame_id!r})"


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points of one sweep of a lidar, or of any other sensor that measures places."""

    stamp: int  # ns
    frame_id: str
    points: FloatArray  # (N, 3) x, y, z in the frame, m
    intensity: FloatArray | None = None  # (N,) in the sensor's own scale


@dataclass(frozen=True, eq=False)
class Mask:
    """Part of an image that belongs to an object: ``data`` (h, w) uint8, 255 = object, its top-left pixel at (x, y)."""

    x: int
    y: int
    data: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Detection:
    """One detected object in an image; see ``Detection2D.msg``."""

    box: FloatArray  # (4,) xyxy, px
    score: float  # confidence of the detector, 0 to 1
    label: str = ""
    embedding: FloatArray | None = None  # (D,) appearance, of unit length


@dataclass(frozen=True, eq=False)
class Detections:
    """All detections of one image, in no order."""

    stamp: int  # ns, of the image
    frame_id: str
    detections: tuple[Detection, ...] = ()


@dataclass(frozen=True, eq=False)
class TrackedBox:
    """One followed object; see ``TrackedBox.msg`` for units."""

    id: int
    box: FloatArray  # (4,) xyxy, px
    state: State
    score: float  # single object: probability that IoU > 0.5; many objects: the detector's; -1 = unknown
    label: str = ""
    velocity: FloatArray = field(default_factory=lambda: np.zeros(4, np.float32))  # (cx, cy, w, h) px/s
    covariance: FloatArray | None = None  # (4, 4) of the error of `box` as (cx, cy, w, h), px^2
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


@dataclass(frozen=True, eq=False)
class Detection3D:
    """One detected object in space; see ``Detection3D.msg``."""

    pose: Matrix  # (4, 4) of the centre of the box in the frame; x along the length, z up
    size: Matrix  # (3,) length, width, height, m
    score: float  # confidence of the detector, any scale that grows with certainty
    label: str = ""
    covariance: Matrix | None = None  # (6, 6) of the pose: x, y, z (m), rotations about them (rad)


@dataclass(frozen=True, eq=False)
class Detections3D:
    """All detections in space at one time, in no order."""

    stamp: int  # ns, of the sweep
    frame_id: str
    detections: tuple[Detection3D, ...] = ()


@dataclass(frozen=True, eq=False)
class TrackedBox3D:
    """One object followed in space; see ``TrackedBox3D.msg``."""

    id: int
    pose: Matrix  # (4, 4) of the centre of the box in the frame; x along the length, z up
    size: Matrix  # (3,) length, width, height, m
    state: State
    score: float  # probability that the object exists; -1 = unknown
    label: str = ""
    covariance: Matrix | None = None  # (6, 6) of the pose: x, y, z (m), rotations about them (rad)
    velocity: Matrix = field(default_factory=lambda: np.zeros(6))  # over ground, axes of the frame: m/s, rad/s
    velocity_covariance: Matrix | None = None  # (6, 6)
    age: float = 0.0  # s
    unseen: float = 0.0  # s
    image_id: int = 0  # of the track in a camera's image that is the same object; 0 = none known


@dataclass(frozen=True, eq=False)
class TrackedBoxes3D:
    """All objects followed in space at one time, ordered by id."""

    stamp: int  # ns, of the detections or sweep
    frame_id: str
    epoch: int
    valid_at: int  # ns, time for which the boxes hold
    boxes: tuple[TrackedBox3D, ...] = ()


@dataclass(frozen=True, eq=False)
class Odometry:
    """Where a frame that moves is in one that is fixed; see ``nav_msgs/Odometry``."""

    stamp: int  # ns
    frame_id: str  # that is fixed, such as odom
    child_frame_id: str  # that moves, such as base_link
    pose: Matrix  # (4, 4) of the child frame in the fixed one, m
    covariance: Matrix | None = None  # (6, 6) of the pose: x, y, z (m), rotations about them (rad)


@dataclass(frozen=True, eq=False)
class Transform:
    """Where one frame is in another at one time; see ``geometry_msgs/TransformStamped``."""

    stamp: int  # ns
    parent: str
    child: str
    pose: Matrix  # (4, 4) of the child frame in its parent, m


@dataclass(frozen=True, eq=False)
class Transforms:
    """Transforms that change, as on ``/tf``."""

    transforms: tuple[Transform, ...] = ()

    @property
    def stamp(self) -> int:
        """That of the newest one, ns; 0 where there is none."""
        return max((transform.stamp for transform in self.transforms), default=0)


class StaticTransforms(Transforms):
    """Transforms that hold at all times, as on ``/tf_static``."""


def seconds(nanoseconds: int) -> float:
    """Nanoseconds as seconds."""
    return nanoseconds / NANOSECONDS


def nanoseconds(seconds_: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds_ * NANOSECONDS)

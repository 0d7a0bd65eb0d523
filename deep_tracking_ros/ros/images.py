"""``sensor_msgs/Image`` and ``CompressedImage`` to BGR arrays and back, by the layouts that ``cv_bridge`` uses.

Messages are taken by their fields: those of rclpy, of rosbags and views of CDR bytes go through alike, with ``data`` as
``array.array``, bytes, memoryview or ndarray.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import InvalidImageError
from deep_tracking_ros.types import NANOSECONDS, Camera, Frame

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """How the pixels of an encoding lie in ``data``."""

    convert: Callable[[NDArray[Any]], Image]  # (rows, width[, channels]) of the message to (height, width, 3) BGR
    channels: int = 1  # values per pixel and row
    dtype: str = "u1"
    even: tuple[bool, bool] = (False, False)  # whether width and height must be even
    rows_of_two: int = 2  # rows in `data` for two rows of the image


def _opencv(code: str) -> Callable[[NDArray[Any]], Image]:
    def convert(rows: NDArray[Any]) -> Image:
        import cv2

        return np.asarray(cv2.cvtColor(rows, getattr(cv2, f"COLOR_{code}")), np.uint8)

    return convert


def stretched(values: NDArray[Any]) -> Image:
    """16 bit grey as 8 bit: the 1st to 99th percentile of the pixels that are not 0 become 0 to 255.

    Depth, thermal and 10- to 14-bit cameras each use a small part of the 16 bits, so a fixed scale would leave them
    black; 0 is what depth cameras give for "unknown". Percentiles are those of every eighth pixel of every eighth row.
    """
    import cv2

    native = values.astype(np.uint16)  # in the byte order of this machine
    sample = native[::8, ::8]
    sample = sample[sample > 0]
    low, high = np.percentile(sample, (1, 99)) if sample.size else (0.0, 1.0)
    scale = 255.0 / max(high - low, 1.0)
    grey = cv2.addWeighted(native, scale, native, 0, -low * scale, dtype=cv2.CV_8U)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


_BGR = Layout(np.ascontiguousarray, 3)
_GREY = Layout(_opencv("GRAY2BGR"))
_DEEP = Layout(stretched, dtype="u2")
_UYVY = Layout(_opencv("YUV2BGR_UYVY"), 2, even=(True, False))
_YUYV = Layout(_opencv("YUV2BGR_YUY2"), 2, even=(True, False))

ENCODINGS = {
    "bgr8": _BGR,
    "8UC3": _BGR,
    "rgb8": Layout(_opencv("RGB2BGR"), 3),
    "bgra8": Layout(_opencv("BGRA2BGR"), 4),
    "8UC4": Layout(_opencv("BGRA2BGR"), 4),
    "rgba8": Layout(_opencv("RGBA2BGR"), 4),
    "mono8": _GREY,
    "8UC1": _GREY,
    "mono16": _DEEP,
    "16UC1": _DEEP,
    "bayer_rggb8": Layout(_opencv("BayerRGGB2BGR")),
    "bayer_bggr8": Layout(_opencv("BayerBGGR2BGR")),
    "bayer_gbrg8": Layout(_opencv("BayerGBRG2BGR")),
    "bayer_grbg8": Layout(_opencv("BayerGRBG2BGR")),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": Layout(_opencv("YUV2BGR_NV12"), even=(True, True), rows_of_two=3),
    "nv21": Layout(_opencv("YUV2BGR_NV21"), even=(True, True), rows_of_two=3),
}
"""Encodings that are read, as ``sensor_msgs/image_encodings.hpp`` names them."""


def frame(message: Any, camera: Camera | None = None) -> Frame:
    """A raw or compressed image as a frame that is decoded when it is first looked at.

    Nothing is copied: the message must not be changed afterwards.
    """
    decode = compressed_to_bgr if hasattr(message, "format") else to_bgr
    header = message.header
    stamp = header.stamp.sec * NANOSECONDS + header.stamp.nanosec
    return Frame(partial(decode, message), stamp, header.frame_id, camera, nbytes=len(message.data))


def to_bgr(message: Any) -> Image:
    """(H, W, 3) uint8 BGR of a ``sensor_msgs/Image``; a view of its data for bgr8 without padding.

    16 bit images are `stretched`. Raises `InvalidImageError` where encoding, size, step and data do not fit together.
    """
    layout = ENCODINGS.get(message.encoding)
    if layout is None:
        raise InvalidImageError(
            f"the image's encoding {message.encoding!r} is not known; known are {', '.join(sorted(ENCODINGS))}"
        )
    width, height, step = int(message.width), int(message.height), int(message.step)
    what = f"{message.encoding} image of {width}x{height}"
    if width == 0 or height == 0:
        raise InvalidImageError(f"{what} has no pixels; width and height must be above 0")
    if (layout.even[0] and width % 2) or (layout.even[1] and height % 2):
        raise InvalidImageError(f"{what}: this encoding needs {'even sizes' if layout.even[1] else 'an even width'}")
    dtype = np.dtype(layout.dtype).newbyteorder(">" if message.is_bigendian else "<")
    tight = width * layout.channels * dtype.itemsize
    if step < tight:
        raise InvalidImageError(f"{what} has a step of {step} bytes, a row needs at least {tight}")
    rows = height * layout.rows_of_two // 2
    needed = step * (rows - 1) + tight  # the padding of the last row may be left out
    if len(message.data) < needed:
        raise InvalidImageError(f"{what} with a step of {step} has {len(message.data)} bytes of data, not {needed}")
    shape = (rows, width, layout.channels)[: 2 if layout.channels == 1 else 3]
    strides = (step, layout.channels * dtype.itemsize, dtype.itemsize)[: len(shape)]
    return layout.convert(np.ndarray(shape, dtype, memoryview(message.data), 0, strides))


def compressed_to_bgr(message: Any) -> Image:
    """(H, W, 3) uint8 BGR of a ``sensor_msgs/CompressedImage`` (JPEG, PNG and what else OpenCV reads).

    Pixels are given as stored: a rotation in the EXIF data is not applied, since the camera's calibration does not know
    of it. 16 bit images are `stretched`. Raises `InvalidImageError` for data that is cut off or no image.
    """
    import cv2

    data = np.frombuffer(message.data, np.uint8)
    encoding, _, stored = message.format.partition(";")
    what = f"compressed image of format {message.format!r} with {data.size} bytes"
    if "compressedDepth" in stored:
        raise InvalidImageError(f"{what} is compressed depth; subscribe to the raw image")
    deep = ENCODINGS.get(encoding.strip()) is _DEEP
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE if deep else cv2.IMREAD_COLOR
    cut = data[:2].tobytes() == b"\xff\xd8" and b"\xff\xd9" not in data[2:].tobytes()  # OpenCV pads a cut JPEG in grey
    try:
        image = None if cut or not data.size else cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # sizes beyond OpenCV's limit
        image = None
    if image is None:
        raise InvalidImageError(f"{what} cannot be decoded: it is {'cut off' if cut else 'no image or damaged'}")
    if image.dtype == np.uint16:
        return stretched(image)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    elif "compressed rgb" in stored:  # the publisher gave RGB to an encoder that takes BGR
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return np.asarray(image, np.uint8)


def fill_image(message: Any, image: Image, encoding: str = "") -> Any:
    """Write a (H, W) or (H, W, 3) uint8 image into a ``sensor_msgs/Image``, all but its header; gives the message.

    ``encoding`` is mono8 or bgr8 by the shape where it is not given.
    """
    message.height, message.width = image.shape[:2]
    message.encoding = encoding or ("mono8" if image.ndim == 2 else "bgr8")
    message.step = image.shape[1] * (1 if image.ndim == 2 else image.shape[2])
    message.is_bigendian = 0
    data = array("B")  # the one type that rclpy takes without touching each value; an ndarray takes it seconds
    data.frombytes(np.ascontiguousarray(image).data.cast("B"))
    message.data = data
    return message

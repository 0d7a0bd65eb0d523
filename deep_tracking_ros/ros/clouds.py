"""Point clouds of ``sensor_msgs/PointCloud2`` in any layout to `Cloud` and back, without a loop over points."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.types import NANOSECONDS, Cloud, FloatArray

DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""Numbers of ``sensor_msgs/PointField`` as numpy has them."""
FLOAT32 = 7
INTENSITY = ("intensity", "intensities", "i", "reflectivity")
"""Names under which drivers publish how strong the echo was; the first that is there is taken."""


def read_cloud(message: Any) -> Cloud:
    """The finite points of a ``PointCloud2`` with float32 coordinates; organised clouds lose their rows.

    Raises `DataError` where x, y or z is missing or is no number per point, or size, steps and data do not fit.
    """
    n, values = _columns(message)
    points = np.empty((n, 3), np.float32)
    for axis, name in enumerate("xyz"):
        points[:, axis] = values[name].reshape(n)
    strength = next((values[name].reshape(n) for name in INTENSITY if name in (values.dtype.names or ())), None)
    finite = np.isfinite(points).all(1)
    intensity: FloatArray | None = None
    if strength is not None:
        intensity = strength[finite].astype(np.float32)
    header = message.header
    return Cloud(
        stamp=header.stamp.sec * NANOSECONDS + header.stamp.nanosec,
        frame_id=header.frame_id,
        points=points[finite],
        intensity=intensity,
    )


def _columns(message: Any) -> tuple[int, NDArray[Any]]:
    """Number of points, and a structured view of them with the fields that are needed."""
    height, width, step, row = (int(getattr(message, name)) for name in ("height", "width", "point_step", "row_step"))
    what = f"point cloud of {width}x{height} points"
    known = {str(f.name): f for f in message.fields}
    if missing := [name for name in "xyz" if name not in known]:
        listed = ", ".join(known) or "none"
        raise DataError(f"{what} has no field {', '.join(missing)}; its fields are {listed}")
    order = ">" if message.is_bigendian else "<"
    names, formats, offsets = [], [], []
    for name in ("x", "y", "z", *(name for name in INTENSITY if name in known)):
        f = known[name]
        kind, offset = DATATYPES.get(int(f.datatype)), int(f.offset)
        if kind is None or int(f.count) > 1:
            raise DataError(
                f"{what}: field {name} has datatype {f.datatype} and {f.count} elements; it must be one number "
                f"(datatype 1 to 8)"
            )
        if offset + np.dtype(kind).itemsize > step:
            raise DataError(f"{what}: field {name} at byte {offset} does not fit into points of {step} bytes")
        names.append(name)
        formats.append(order + kind)
        offsets.append(offset)
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": step})
    if height * width == 0:
        return 0, np.zeros((0, 0), dtype)
    if height > 1 and row < width * step:
        raise DataError(f"{what} has rows of {row} bytes, {width} points of {step} bytes need {width * step}")
    needed = (height - 1) * row + width * step  # drivers leave row_step 0 where there is one row
    if len(message.data) < needed:
        raise DataError(f"{what} of {step} bytes each has {len(message.data)} bytes of data, not {needed}")
    view: NDArray[Any] = np.ndarray((height, width), dtype, memoryview(message.data), 0, (row, step))
    return height * width, view


def write_cloud(item: Cloud, new: Any) -> Any:
    """``PointCloud2`` of one row: x, y, z and, where it is known, intensity as little-endian float32."""
    message = new("sensor_msgs/msg/PointCloud2")
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(item.stamp, NANOSECONDS)
    message.header.frame_id = item.frame_id
    columns = item.points if item.intensity is None else np.column_stack([item.points, item.intensity])
    table = np.ascontiguousarray(columns, "<f4")
    message.fields = []
    for place, name in enumerate(("x", "y", "z", "intensity")[: table.shape[1]]):
        f = new("sensor_msgs/msg/PointField")
        f.name, f.offset, f.datatype, f.count = name, 4 * place, FLOAT32, 1
        message.fields.append(f)
    message.height, message.width = 1, len(table)
    message.is_bigendian, message.is_dense = False, bool(np.isfinite(table).all())
    message.point_step = 4 * table.shape[1]
    message.row_step = message.point_step * len(table)
    data = array("B")  # the one type that rclpy takes without touching each value
    data.frombytes(table.tobytes())
    message.data = data
    return message

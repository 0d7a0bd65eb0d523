"""Tracks in space as markers that RViz and Foxglove draw: boxes, names and arrows of where they will be in a second."""

from __future__ import annotations

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from typing import Any

import numpy as np

from deep_tracking_ros.ros.conversion import New, set_stamp
from deep_tracking_ros.ros.messages_3d import fill, fill_poses
from deep_tracking_ros.types import State, TrackedBox3D, TrackedBoxes3D

ARROW, CUBE, TEXT, DELETE_ALL = 0, 1, 9, 3  # of visualization_msgs/Marker
OPACITY = {State.CONFIRMED: 0.6, State.TENTATIVE: 0.25, State.OCCLUDED: 0.25, State.LOST: 0.1}
LIFETIME = 1
"""Markers vanish after so long when nothing follows, s."""
SLOW = 0.3
"""Slower objects have no arrow, m/s."""
TEXT_HEIGHT = 0.6  # m
GOLDEN = 0.618033988749895
"""Turns of the colour wheel from one id to the next: neighbouring ids look different."""


def write_markers(item: TrackedBoxes3D, new: New) -> Any:
    """A ``visualization_msgs/MarkerArray`` that takes the place of the one before."""
    message = new("visualization_msgs/msg/MarkerArray")
    clear = new("visualization_msgs/msg/Marker")
    clear.action = DELETE_ALL
    markers = [clear]
    for box in item.boxes:
        markers += _markers(box, new)
    for marker in markers:
        set_stamp(marker.header.stamp, item.stamp)
        marker.header.frame_id = item.frame_id
        marker.lifetime.sec = LIFETIME
    message.markers = markers
    return message


def _markers(box: TrackedBox3D, new: New) -> list[Any]:
    body = _marker("boxes", CUBE, box, OPACITY.get(box.state, 0.25), box.size.tolist(), new)
    speed = float(np.linalg.norm(box.velocity[:3]))
    name = _marker("names", TEXT, box, 1.0, (0.0, 0.0, TEXT_HEIGHT), new)
    name.text = f"{box.label} {box.id}".strip() + (f"  {speed:.1f} m/s" if speed >= SLOW else "")
    above = box.pose.copy()
    above[:3, 3] += box.pose[:3, 2] * (box.size[2] / 2 + TEXT_HEIGHT)
    fill_poses([body.pose, name.pose], np.stack([box.pose, above]))
    if speed < SLOW:
        return [body, name]
    arrow = _marker("velocities", ARROW, box, 1.0, (0.15, 0.35, 0.5), new)  # shaft, head, length of the head, m
    centre = box.pose[:3, 3]
    arrow.points = [_point(centre.tolist(), new), _point((centre + box.velocity[:3]).tolist(), new)]
    return [body, name, arrow]


def _marker(space: str, kind: int, box: TrackedBox3D, opacity: float, scale: Sequence[float], new: New) -> Any:
    marker = new("visualization_msgs/msg/Marker")
    marker.ns, marker.id, marker.type = space, box.id % 2**31, kind
    marker.pose.orientation.w = 1.0
    fill(marker.scale, "xyz", scale)
    fill(marker.color, "rgba", (*hsv_to_rgb(box.id * GOLDEN % 1, 0.65, 1.0), opacity))
    return marker


def _point(place: Sequence[float], new: New) -> Any:
    point = new("geometry_msgs/msg/Point")
    fill(point, "xyz", place)
    return point

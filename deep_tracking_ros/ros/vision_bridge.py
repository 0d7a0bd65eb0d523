"""Detections and tracks as ``vision_msgs``, as Humble and newer have it (4.x); the package is needed only where used.

Of several hypotheses of an object the one of the best score is taken. Where there is none, nothing is said of the class
and the detector counts as sure. Tracks go out as detections whose ``id`` is that of the track; states, velocities and
epochs have no place there.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, sin
from typing import Any

import numpy as np

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.ros.conversion import Converter, New, set_stamp, stamp_of
from deep_tracking_ros.ros.messages_3d import fill, fill_poses, read_poses, vector
from deep_tracking_ros.types import (
    Detection,
    Detection3D,
    Detections,
    Detections3D,
    FloatArray,
    Matrix,
    TrackedBox,
    TrackedBox3D,
    TrackedBoxes,
    TrackedBoxes3D,
)


def _hypothesis(message: Any) -> tuple[str, float, Any]:
    """Class, score and pose with covariance of the best hypothesis; the pose is None where there is no hypothesis."""
    if not message.results:
        return "", 1.0, None
    best = max(message.results, key=lambda result: result.hypothesis.score)
    return str(best.hypothesis.class_id), float(best.hypothesis.score), best.pose


def _fill_hypothesis(message: Any, item: Any, new: New) -> Any:
    """Write class and score; gives the hypothesis. A score that is not known (-1) becomes 0."""
    result = new("vision_msgs/msg/ObjectHypothesisWithPose")
    result.hypothesis.class_id, result.hypothesis.score = item.label, max(0.0, float(item.score))
    message.results = [result]
    return result


def _fill_header(message: Any, item: Any) -> None:
    set_stamp(message.header.stamp, item.stamp)
    message.header.frame_id = item.frame_id


def _upright(box: Any) -> FloatArray:
    """(4,) xyxy that encloses a box which may be turned by ``theta``."""
    c, s = abs(cos(box.center.theta)), abs(sin(box.center.theta))
    size = (c * box.size_x + s * box.size_y, s * box.size_x + c * box.size_y)
    return cxcywh_to_xyxy((box.center.position.x, box.center.position.y, *size))


def _read_detections(message: Any) -> Detections:
    found = []
    for detection in message.detections:
        label, score, _ = _hypothesis(detection)
        found.append(Detection(_upright(detection.bbox), score, label))
    return Detections(stamp_of(message.header.stamp), message.header.frame_id, tuple(found))


def _write_boxes(item: Detections | TrackedBoxes, new: New) -> Any:
    message = new("vision_msgs/msg/Detection2DArray")
    _fill_header(message, item)
    parts = item.detections if isinstance(item, Detections) else item.boxes
    message.detections = [_write_box(part, item, new) for part in parts]
    return message


def _write_box(part: Detection | TrackedBox, item: Any, new: New) -> Any:
    message = new("vision_msgs/msg/Detection2D")
    _fill_header(message, item)
    x, y, w, h = (float(value) for value in xyxy_to_cxcywh(part.box))
    fill(message.bbox.center.position, "xy", (x, y))
    fill(message.bbox, ("size_x", "size_y"), (w, h))
    _fill_hypothesis(message, part, new)
    if isinstance(part, TrackedBox):
        message.id = str(part.id)
    return message


def _read_detections_3d(message: Any) -> Detections3D:
    detections = message.detections
    poses = read_poses([d.bbox.center for d in detections])
    found = []
    for pose, detection in zip(poses, detections, strict=True):
        label, score, estimate = _hypothesis(detection)
        size = np.array(vector(detection.bbox.size))
        found.append(Detection3D(pose, size, score, label, _covariance(estimate)))
    return Detections3D(stamp_of(message.header.stamp), message.header.frame_id, tuple(found))


def _covariance(estimate: Any) -> Matrix | None:
    """(6, 6); one that is all zero was not filled in."""
    covariance = np.zeros(36) if estimate is None else np.array(estimate.covariance, np.float64)
    return covariance.reshape(6, 6) if covariance.any() else None


def _write_boxes_3d(item: Detections3D | TrackedBoxes3D, new: New) -> Any:
    message = new("vision_msgs/msg/Detection3DArray")
    _fill_header(message, item)
    parts = item.detections if isinstance(item, Detections3D) else item.boxes
    message.detections = [_write_box_3d(part, item, new) for part in parts]
    poses = np.array([part.pose for part in parts], np.float64).reshape(-1, 4, 4)
    fill_poses([m.bbox.center for m in message.detections], poses)
    fill_poses([m.results[0].pose.pose for m in message.detections], poses)
    return message


def _write_box_3d(part: Detection3D | TrackedBox3D, item: Any, new: New) -> Any:
    message = new("vision_msgs/msg/Detection3D")
    _fill_header(message, item)
    fill(message.bbox.size, "xyz", part.size.tolist())
    result = _fill_hypothesis(message, part, new)
    if part.covariance is not None:
        result.pose.covariance = np.asarray(part.covariance, np.float64).reshape(36)
    if isinstance(part, TrackedBox3D):
        message.id = str(part.id)
    return message


DETECTIONS: Mapping[type, Converter] = {
    Detections: Converter("vision_msgs/msg/Detection2DArray", _write_boxes, _read_detections),
    Detections3D: Converter("vision_msgs/msg/Detection3DArray", _write_boxes_3d, _read_detections_3d),
}
"""What can come in as ``vision_msgs``, and go out."""
TRACKS: Mapping[type, Converter] = {
    TrackedBoxes: Converter("vision_msgs/msg/Detection2DArray", _write_boxes, _read_detections),
    TrackedBoxes3D: Converter("vision_msgs/msg/Detection3DArray", _write_boxes_3d, _read_detections_3d),
}
"""What can go out only: read back, tracks are detections."""

"""Dataclasses of the house to messages and back: one row per type of result and of request.

Messages are reached by their fields only, so rclpy's classes and those of rosbags go through alike, without ROS.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deep_tracking_ros.errors import DeepTrackingError, ErrorCode
from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.pipelines.pipeline import Reply
from deep_tracking_ros.pipelines.requests import ClearTargets, RemoveTarget, SetTarget
from deep_tracking_ros.ros.cameras import read_camera, write_camera
from deep_tracking_ros.ros.clouds import read_cloud, write_cloud
from deep_tracking_ros.ros.conversion import Converter as Converter
from deep_tracking_ros.ros.conversion import New as New
from deep_tracking_ros.ros.conversion import set_stamp as set_stamp
from deep_tracking_ros.ros.conversion import stamp_of as stamp_of
from deep_tracking_ros.ros.images import fill_image
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.messages_3d import CONVERTERS_3D
from deep_tracking_ros.types import (
    Camera,
    Cloud,
    Detection,
    Detections,
    FloatArray,
    Mask,
    State,
    TrackedBox,
    TrackedBoxes,
)


def new_message(name: str) -> Any:
    """An empty rclpy message of ``package/msg/Name``."""
    return message_class(name)()


def to_message(item: Any, new: New = new_message) -> Any:
    """The message of a result. ``new`` makes empty messages: rclpy's by default, `interfaces.make` without ROS."""
    return CONVERTERS[type(item)].write(item, new)


def from_message(kind: type, message: Any) -> Any:
    """The dataclass ``kind`` of a message of its type."""
    return CONVERTERS[kind].read(message)


def write_tracked_box(item: TrackedBox, new: New) -> Any:
    """``TrackedBox`` message."""
    message = new("deep_tracking_ros/msg/TrackedBox")
    message.id, message.label = item.id, item.label
    message.state, message.score = int(item.state), float(item.score)
    message.center_x, message.center_y, message.size_x, message.size_y = xyxy_to_cxcywh(item.box).tolist()
    message.velocity = np.asarray(item.velocity, np.float32)
    covariance = np.zeros(16, np.float32)
    covariance[0] = -1
    message.covariance = covariance if item.covariance is None else np.asarray(item.covariance, np.float32).reshape(16)
    if item.contour is not None:
        message.contour = array("f", np.asarray(item.contour, np.float32).tobytes())
    if item.mask is not None:
        message.mask_x, message.mask_y = item.mask.x, item.mask.y
        fill_image(message.mask, item.mask.data)
    message.age, message.unseen = float(item.age), float(item.unseen)
    return message


def read_tracked_box(message: Any) -> TrackedBox:
    """`TrackedBox` of a message."""
    covariance = np.asarray(message.covariance, np.float32).reshape(4, 4)
    contour = np.asarray(message.contour, np.float32).reshape(-1, 2)
    mask = None
    if message.mask.height:
        data = np.frombuffer(memoryview(message.mask.data), np.uint8)
        rows = data.reshape(message.mask.height, message.mask.step)[:, : message.mask.width]
        mask = Mask(int(message.mask_x), int(message.mask_y), rows)
    return TrackedBox(
        id=int(message.id),
        box=read_box(message),
        state=State(message.state),
        score=float(message.score),
        label=message.label,
        velocity=np.asarray(message.velocity, np.float32),
        covariance=None if covariance[0, 0] == -1 else covariance,
        contour=contour if len(contour) else None,
        mask=mask,
        age=float(message.age),
        unseen=float(message.unseen),
    )


def read_box(message: Any) -> FloatArray:
    """(4,) xyxy of the centre and size in a message or request."""
    return cxcywh_to_xyxy((message.center_x, message.center_y, message.size_x, message.size_y))


def _write_tracked_boxes(item: TrackedBoxes, new: New) -> Any:
    message = new("deep_tracking_ros/msg/TrackedBoxArray")
    set_stamp(message.header.stamp, item.stamp)
    message.header.frame_id = item.frame_id
    message.epoch, message.model = item.epoch, item.model
    set_stamp(message.valid_at, item.valid_at)
    message.image_width, message.image_height = item.width, item.height
    message.boxes = [write_tracked_box(box, new) for box in item.boxes]
    return message


def _read_tracked_boxes(message: Any) -> TrackedBoxes:
    return TrackedBoxes(
        stamp=stamp_of(message.header.stamp),
        frame_id=message.header.frame_id,
        epoch=int(message.epoch),
        valid_at=stamp_of(message.valid_at),
        width=int(message.image_width),
        height=int(message.image_height),
        model=message.model,
        boxes=tuple(read_tracked_box(box) for box in message.boxes),
    )


def _write_detections(item: Detections, new: New) -> Any:
    message = new("deep_tracking_ros/msg/Detection2DArray")
    set_stamp(message.header.stamp, item.stamp)
    message.header.frame_id = item.frame_id
    message.detections = [_write_detection(detection, new) for detection in item.detections]
    return message


def _write_detection(item: Detection, new: New) -> Any:
    message = new("deep_tracking_ros/msg/Detection2D")
    message.label, message.score = item.label, float(item.score)
    message.center_x, message.center_y, message.size_x, message.size_y = xyxy_to_cxcywh(item.box).tolist()
    if item.embedding is not None:
        message.embedding = array("f", np.asarray(item.embedding, np.float32).tobytes())
    return message


def _read_detections(message: Any) -> Detections:
    return Detections(
        stamp=stamp_of(message.header.stamp),
        frame_id=message.header.frame_id,
        detections=tuple(_read_detection(detection) for detection in message.detections),
    )


def _read_detection(message: Any) -> Detection:
    embedding = np.asarray(message.embedding, np.float32)
    return Detection(read_box(message), float(message.score), message.label, embedding if len(embedding) else None)


CONVERTERS: Mapping[type, Converter] = {
    Camera: Converter("sensor_msgs/msg/CameraInfo", write_camera, read_camera, quality="sensor"),
    Cloud: Converter("sensor_msgs/msg/PointCloud2", write_cloud, read_cloud),
    Detections: Converter("deep_tracking_ros/msg/Detection2DArray", _write_detections, _read_detections),
    TrackedBoxes: Converter("deep_tracking_ros/msg/TrackedBoxArray", _write_tracked_boxes, _read_tracked_boxes),
    **CONVERTERS_3D,
}
"""Results: dataclass to message type. A new pipeline adds its rows here."""


def read_set_target(request: Any) -> SetTarget:
    """`SetTarget` of a service request, or of an action goal, which names no id."""
    return SetTarget(
        box=read_box(request),
        stamp=stamp_of(request.stamp),
        label=request.label,
        id=int(getattr(request, "id", 0)),
        track_id=int(request.track_id),
    )


@dataclass(frozen=True)
class Service:
    """How a command is called from outside."""

    type: str  # package/srv/Name
    read: Callable[[Any], Any]  # service request -> request dataclass


SERVICES: Mapping[type, Service] = {
    SetTarget: Service("deep_tracking_ros/srv/SetTarget", read_set_target),
    RemoveTarget: Service("deep_tracking_ros/srv/RemoveTarget", lambda request: RemoveTarget(int(request.id))),
    ClearTargets: Service("deep_tracking_ros/srv/ClearTargets", lambda request: ClearTargets()),
}
"""Commands: request dataclass to service. A new pipeline adds its rows here."""


def failure(error: Exception) -> Reply:
    """What a caller is told of an error: the one place where errors become codes."""
    if isinstance(error, DeepTrackingError):
        return Reply(str(error), error.code)
    return Reply(f"fault of the node ({type(error).__name__}: {error}); its log has the traceback", ErrorCode.INTERNAL)


def write_reply(reply: Reply, response: Any) -> Any:
    """Write a reply into the response of any service of this package, or into the result of an action."""
    response.success = reply.code is ErrorCode.SUCCESS
    response.code, response.message = int(reply.code), reply.message
    if hasattr(response, "id"):
        response.id = reply.id
    if hasattr(response, "removed"):
        response.removed = reply.count
    return response

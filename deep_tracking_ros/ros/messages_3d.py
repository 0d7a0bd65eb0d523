"""Objects in space, odometry and transforms to messages and back; the rows of ``messages.CONVERTERS`` for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deep_tracking_ros.geometry.poses import pose_of, quaternion_of
from deep_tracking_ros.ros.conversion import Converter, New, set_stamp, stamp_of
from deep_tracking_ros.types import (
    Detection3D,
    Detections3D,
    Matrix,
    Odometry,
    State,
    StaticTransforms,
    TrackedBox3D,
    TrackedBoxes3D,
    Transform,
    Transforms,
)


def read_poses(poses: Sequence[Any]) -> Matrix:
    """(N, 4, 4) of ``geometry_msgs/Pose`` messages; not a number where a quaternion is no rotation."""
    places = [(p.position.x, p.position.y, p.position.z) for p in poses]
    turns = [(p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w) for p in poses]
    return pose_of(np.reshape(np.array(places, np.float64), (-1, 3)), np.reshape(np.array(turns, np.float64), (-1, 4)))


def fill_poses(messages: Sequence[Any], poses: Matrix) -> None:
    """Write poses (N, 4, 4) into ``geometry_msgs/Pose`` messages."""
    for message, place, turn in zip(
        messages, poses[:, :3, 3].tolist(), quaternion_of(poses[:, :3, :3]).tolist(), strict=True
    ):
        fill(message.position, "xyz", place)
        fill(message.orientation, "xyzw", turn)


def fill(message: Any, names: Sequence[str], values: Sequence[float]) -> None:
    """Write numbers into fields."""
    for name, value in zip(names, values, strict=True):
        setattr(message, name, float(value))


def vector(message: Any) -> list[float]:
    """x, y, z of a ``geometry_msgs/Vector3`` or ``Point``."""
    return [float(message.x), float(message.y), float(message.z)]


def read_covariance(values: Any) -> Matrix | None:
    """(6, 6) of 36 numbers; None where the first is -1: unknown."""
    covariance = np.array(values, np.float64).reshape(6, 6)
    return None if covariance[0, 0] == -1 else covariance


def covariance_field(covariance: Matrix | None) -> Matrix:
    """36 numbers of a (6, 6) covariance, the first -1 where it is unknown."""
    if covariance is not None:
        return np.asarray(covariance, np.float64).reshape(36)
    unknown = np.zeros(36)
    unknown[0] = -1
    return unknown


def _stack(matrices: Sequence[Matrix]) -> Matrix:
    return np.array(matrices, np.float64).reshape(-1, 4, 4)


def _write_detections(item: Detections3D, new: New) -> Any:
    message = new("deep_tracking_ros/msg/Detection3DArray")
    set_stamp(message.header.stamp, item.stamp)
    message.header.frame_id = item.frame_id
    message.detections = [_write_detection(detection, new) for detection in item.detections]
    fill_poses([m.pose for m in message.detections], _stack([d.pose for d in item.detections]))
    return message


def _write_detection(item: Detection3D, new: New) -> Any:
    message = new("deep_tracking_ros/msg/Detection3D")
    message.label, message.score = item.label, float(item.score)
    fill(message.size, "xyz", item.size.tolist())
    message.covariance = covariance_field(item.covariance)
    return message


def _read_detections(message: Any) -> Detections3D:
    detections = message.detections
    poses = read_poses([d.pose for d in detections])
    return Detections3D(
        stamp=stamp_of(message.header.stamp),
        frame_id=message.header.frame_id,
        detections=tuple(
            Detection3D(pose, np.array(vector(d.size)), float(d.score), d.label, read_covariance(d.covariance))
            for pose, d in zip(poses, detections, strict=True)
        ),
    )


def _write_tracked_boxes(item: TrackedBoxes3D, new: New) -> Any:
    message = new("deep_tracking_ros/msg/TrackedBox3DArray")
    set_stamp(message.header.stamp, item.stamp)
    message.header.frame_id = item.frame_id
    message.epoch = item.epoch
    set_stamp(message.valid_at, item.valid_at)
    message.boxes = [_write_tracked_box(box, new) for box in item.boxes]
    fill_poses([m.pose for m in message.boxes], _stack([box.pose for box in item.boxes]))
    return message


def _write_tracked_box(item: TrackedBox3D, new: New) -> Any:
    message = new("deep_tracking_ros/msg/TrackedBox3D")
    message.id, message.label, message.image_id = item.id, item.label, item.image_id
    message.state, message.score = int(item.state), float(item.score)
    fill(message.size, "xyz", item.size.tolist())
    velocity = item.velocity.tolist()
    fill(message.twist.linear, "xyz", velocity[:3])
    fill(message.twist.angular, "xyz", velocity[3:])
    message.pose_covariance = covariance_field(item.covariance)
    message.twist_covariance = covariance_field(item.velocity_covariance)
    message.age, message.unseen = float(item.age), float(item.unseen)
    return message


def _read_tracked_boxes(message: Any) -> TrackedBoxes3D:
    poses = read_poses([box.pose for box in message.boxes])
    return TrackedBoxes3D(
        stamp=stamp_of(message.header.stamp),
        frame_id=message.header.frame_id,
        epoch=int(message.epoch),
        valid_at=stamp_of(message.valid_at),
        boxes=tuple(_read_tracked_box(box, pose) for box, pose in zip(message.boxes, poses, strict=True)),
    )


def _read_tracked_box(message: Any, pose: Matrix) -> TrackedBox3D:
    return TrackedBox3D(
        id=int(message.id),
        pose=pose,
        size=np.array(vector(message.size)),
        state=State(message.state),
        score=float(message.score),
        label=message.label,
        covariance=read_covariance(message.pose_covariance),
        velocity=np.array([*vector(message.twist.linear), *vector(message.twist.angular)]),
        velocity_covariance=read_covariance(message.twist_covariance),
        age=float(message.age),
        unseen=float(message.unseen),
        image_id=int(message.image_id),
    )


def _write_odometry(item: Odometry, new: New) -> Any:
    """The twist stays empty: nothing here knows it."""
    message = new("nav_msgs/msg/Odometry")
    set_stamp(message.header.stamp, item.stamp)
    message.header.frame_id, message.child_frame_id = item.frame_id, item.child_frame_id
    fill_poses([message.pose.pose], item.pose[None])
    message.pose.covariance = covariance_field(item.covariance)
    return message


def _read_odometry(message: Any) -> Odometry:
    return Odometry(
        stamp=stamp_of(message.header.stamp),
        frame_id=message.header.frame_id,
        child_frame_id=message.child_frame_id,
        pose=read_poses([message.pose.pose])[0],
        covariance=read_covariance(message.pose.covariance),
    )


def _write_transforms(item: Transforms, new: New) -> Any:
    message = new("tf2_msgs/msg/TFMessage")
    message.transforms = []
    for transform in item.transforms:
        one = new("geometry_msgs/msg/TransformStamped")
        set_stamp(one.header.stamp, transform.stamp)
        one.header.frame_id, one.child_frame_id = transform.parent, transform.child
        fill(one.transform.translation, "xyz", transform.pose[:3, 3].tolist())
        fill(one.transform.rotation, "xyzw", quaternion_of(transform.pose[:3, :3]).tolist())
        message.transforms.append(one)
    return message


def _read_transforms(message: Any) -> tuple[Transform, ...]:
    found = []
    for one in message.transforms:
        turn = one.transform.rotation
        pose = pose_of(vector(one.transform.translation), [turn.x, turn.y, turn.z, turn.w])
        found.append(Transform(stamp_of(one.header.stamp), one.header.frame_id, one.child_frame_id, pose))
    return tuple(found)


CONVERTERS_3D: Mapping[type, Converter] = {
    Detections3D: Converter("deep_tracking_ros/msg/Detection3DArray", _write_detections, _read_detections),
    TrackedBoxes3D: Converter("deep_tracking_ros/msg/TrackedBox3DArray", _write_tracked_boxes, _read_tracked_boxes),
    Odometry: Converter("nav_msgs/msg/Odometry", _write_odometry, _read_odometry, quality="sensor"),
    Transforms: Converter(
        "tf2_msgs/msg/TFMessage", _write_transforms, lambda m: Transforms(_read_transforms(m)), "/tf", "transforms"
    ),
    StaticTransforms: Converter(
        "tf2_msgs/msg/TFMessage",
        _write_transforms,
        lambda m: StaticTransforms(_read_transforms(m)),
        "/tf_static",
        "latched",
    ),
}

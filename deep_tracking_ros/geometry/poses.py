"""Poses in space: (..., 4, 4) matrices that take points of a frame to the frame in which the pose is given.

Quaternions are (..., 4) in ROS's order x, y, z, w. All functions work in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.geometry.boxes3d import Array

_NO_ROTATION = 1e-6
"""Quaternions shorter than this mean nothing."""
LEAN = 0.7
"""Boxes whose z axis points up by less than this (its cosine: 45 degrees) do not stand."""


def rotation_of(quaternion: ArrayLike) -> Array:
    """(..., 3, 3) rotation of a quaternion of any length; not a number where the length is 0 or not finite."""
    q = np.asarray(quaternion, np.float64)
    length = np.sqrt((q * q).sum(-1, keepdims=True))
    length = np.where((length > _NO_ROTATION) & np.isfinite(length), length, np.nan)
    x, y, z, w = np.moveaxis(q / length, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def quaternion_of(rotation: ArrayLike) -> Array:
    """(..., 4) quaternion of unit length, w not negative, of a rotation (..., 3, 3).

    Each row of the matrix 4 q q^T, made of sums of the rotation's elements, is the quaternion up to its length: the
    longest row loses the fewest digits (Shepperd, 1978).
    """
    r = np.asarray(rotation, np.float64)
    outer = np.zeros((*r.shape[:-2], 4, 4))
    trace = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        outer[..., i, i] = 1 + 2 * r[..., i, i] - trace
        outer[..., i, j] = outer[..., j, i] = r[..., i, j] + r[..., j, i]
        outer[..., i, 3] = outer[..., 3, i] = r[..., k, j] - r[..., j, k]
    outer[..., 3, 3] = 1 + trace
    longest = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), -1)
    q = np.take_along_axis(outer, longest[..., None, None], -2)[..., 0, :]
    q = q / np.sqrt((q * q).sum(-1, keepdims=True))
    return np.asarray(np.where(q[..., 3:] < 0, -q, q))


def pose_of(position: ArrayLike, quaternion: ArrayLike) -> Array:
    """(..., 4, 4) pose of a position (..., 3) in m and a quaternion."""
    place = np.asarray(position, np.float64)
    pose = np.zeros((*place.shape[:-1], 4, 4))
    pose[..., :3, :3], pose[..., :3, 3], pose[..., 3, 3] = rotation_of(quaternion), place, 1
    return pose


def inverse(pose: ArrayLike) -> Array:
    """The pose the other way round."""
    p = np.asarray(pose, np.float64)
    back = np.zeros(p.shape)
    turned = np.swapaxes(p[..., :3, :3], -1, -2)
    back[..., :3, :3], back[..., 3, 3] = turned, 1
    back[..., :3, 3] = -(turned @ p[..., :3, 3:])[..., 0]
    return back


def interpolate(first: ArrayLike, second: ArrayLike, share: float) -> Array:
    """The (4, 4) pose at ``share`` (0 to 1) of the way from one pose to another.

    The place goes straight and the rotation turns evenly about one axis, the shorter way (Shoemake, 1985).
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    one, two = quaternion_of(a[:3, :3]), quaternion_of(b[:3, :3])
    if one @ two < 0:
        two = -two
    angle = 2 * np.arctan2(np.linalg.norm(one - two), np.linalg.norm(one + two))  # exact also where it is small
    if angle < 1e-9:
        q = one + share * (two - one)
    else:
        q = (np.sin((1 - share) * angle) * one + np.sin(share * angle) * two) / np.sin(angle)
    return pose_of(a[:3, 3] + share * (b[:3, 3] - a[:3, 3]), q)


def turned_covariance(covariance: ArrayLike, rotation: ArrayLike) -> Array:
    """(..., 6, 6) covariance of three lengths and three rotations, with the axes turned by a rotation (3, 3)."""
    r = np.asarray(rotation, np.float64)
    both = np.zeros((6, 6))
    both[:3, :3] = both[3:, 3:] = r
    return np.asarray(both @ np.asarray(covariance, np.float64) @ both.T)


def boxes_of(poses: ArrayLike, sizes: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """Boxes (N, 7), see `boxes3d`, of poses (N, 4, 4) and sizes (N, 3) in a frame with z up, and which of them stand.

    The heading is that of the pose's x axis seen from above. Boxes that lean over by more than 45 degrees do not
    stand: what is their length and what is their height is then unclear.
    """
    p, s = np.asarray(poses, np.float64).reshape(-1, 4, 4), np.asarray(sizes, np.float64).reshape(-1, 3)
    yaw = np.arctan2(p[:, 1, 0], p[:, 0, 0])
    return np.concatenate([p[:, :3, 3], s, yaw[:, None]], 1), np.asarray(p[:, 2, 2] >= LEAN)


def poses_of(boxes: ArrayLike) -> Array:
    """(N, 4, 4) poses of boxes (N, 7) that stand upright."""
    b = np.asarray(boxes, np.float64).reshape(-1, 7)
    poses = np.tile(np.eye(4), (len(b), 1, 1))
    cos, sin = np.cos(b[:, 6]), np.sin(b[:, 6])
    poses[:, 0, 0] = poses[:, 1, 1] = cos
    poses[:, 0, 1], poses[:, 1, 0] = -sin, sin
    poses[:, :3, 3] = b[:, :3]
    return poses


def pose_of_angles(x: float, y: float, z: float, roll: float, pitch: float, yaw: float) -> Array:
    """(4, 4) pose of a place (m) and angles (rad) about the fixed axes x, y, z in this order, as in URDF."""
    q = np.array([0.0, 0.0, 0.0, 1.0])
    for axis, angle in ((2, yaw), (1, pitch), (0, roll)):
        turn = np.zeros(4)
        turn[axis], turn[3] = np.sin(angle / 2), np.cos(angle / 2)
        q = _product(q, turn)
    return pose_of([x, y, z], q)


def _product(first: Array, second: Array) -> Array:
    """Quaternion of the second rotation followed by the first."""
    a, b = first[:3], second[:3]
    vector = first[3] * b + second[3] * a + np.cross(a, b)
    return np.append(vector, first[3] * second[3] - a @ b)

"""A driving robot, cars around it, and steps of a `MultiObject3DPipeline` that is told of both."""

import numpy as np

from deep_tracking_ros.geometry.poses import pose_of_angles
from deep_tracking_ros.pipelines.multi_object_3d import MultiObject3DParameters, MultiObject3DPipeline
from deep_tracking_ros.types import Detection3D, Detections3D, Odometry, StaticTransforms, Transforms

DT, START = 100_000_000, 100 * 10**9  # ns
SIZE = np.array([4.2, 1.8, 1.5])
MOUNT = pose_of_angles(1, 0, 2, 0, 0.05, 0.3)


def car(x, y=0.0, yaw=0.0, z=0.7):
    """Pose of the car of a scene in the fixed frame."""
    return pose_of_angles(x, y, z, 0, 0, yaw)


def seen(k, *poses, frame_id="lidar", score=0.95, label="car"):
    return Detections3D(START + k * DT, frame_id, tuple(Detection3D(pose, SIZE, score, label) for pose in poses))


def robot(t):
    """Pose of a robot that drives a bend, t in steps."""
    return pose_of_angles(0.6 * t, 0.01 * t * t, 0.0, 0.0, 0.0, 0.02 * t)


def odometry(k, **frames):
    return Odometry(START + round(k * DT), frames.get("frame_id", "odom"), frames.get("child", "lidar"), robot(k))


def make(**parameters):
    return MultiObject3DPipeline(MultiObject3DParameters(**parameters))


def give(pipeline, port, item):
    pipeline.remember(port, item)
    return [output.item for output in pipeline.step(port, item)]


def feed(pipeline, *items):
    ports = {Detections3D: "detections", Odometry: "odometry", Transforms: "tf", StaticTransforms: "tf_static"}
    return [result for item in items for result in give(pipeline, ports[type(item)], item)]


def steps(results):
    return [(r.stamp - START) / DT for r in results]

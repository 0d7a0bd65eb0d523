"""The launch files of this package as data: what each starts, and its arguments.

Plain Python: launch files and ``deep-tracking run`` import it on machines without launch, without rclpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

SWITCH = ("true", "false")
CAMERA = "/camera/image"  # topic of images where none is given


@dataclass(frozen=True)
class Argument:
    """A launch argument, ``name:=value``."""

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()
    role: str = ""  # "topic": the input port of this name is there; "optional topic": it is, unless empty;
    # "parameter": the node's, unless empty
    follower: bool = False  # it is for the node that follows, and not for the first


@dataclass(frozen=True)
class Launch:
    """A launch file: the node of a pipeline, one that takes its results, and where asked for a player of a bag.

    A params file is for both nodes, by their names; ``name`` is that of the first.
    """

    executable: str
    arguments: tuple[Argument, ...]
    follower: str = ""  # executable of the second node; empty = none
    port: str = ""  # of the first node's results and of the second node's input


# An argument that is empty is not passed on: the params file, or a launch file that includes ours, has the word.
_IMAGES = (
    Argument(
        "image",
        "",
        f"topic of the camera's images; compressed ones are at this name + /compressed; empty = {CAMERA}, or the only "
        "images in the bag",
        role="topic",
    ),
    Argument(
        "image_transport",
        "",
        "which images to subscribe to, raw or compressed; empty = as in the params file, or those that the bag has",
        ("", "raw", "compressed"),
        role="parameter",
    ),
)
_DETECTIONS = (
    Argument(
        "detections_type",
        "",
        "messages that the detections come as; empty = as in the params file",
        ("", "deep_tracking", "vision_msgs"),
        role="parameter",
    ),
    Argument(
        "publish_vision_msgs",
        "",
        "publish the results as vision_msgs too, at ~/boxes_vision; empty = as in the params file",
        ("", *SWITCH),
        role="parameter",
    ),
)
_POINTS = (
    Argument(
        "points",
        "",
        "topic of the point clouds (PointCloud2); empty = /points, or the only point clouds in the bag",
        role="topic",
    ),
    Argument("classes", "", "classes such as car,pedestrian; empty = as in the params file", role="parameter"),
)
_EGO_MOTION = (
    Argument(
        "ego_motion",
        "",
        "how the sensor's own motion is known; empty = as in the params file",
        ("", "none", "odometry", "tf"),
        role="parameter",
    ),
    Argument(
        "odometry",
        "",
        "topic of the odometry, for ego_motion:=odometry; empty = /odom, or the only odometry in the bag",
        role="topic",
    ),
    Argument(
        "mounting",
        "",
        "for ego_motion:=odometry: x y z roll pitch yaw (m, rad) of the sensor in the odometry's child frame; empty = "
        "as in the params file",
        role="parameter",
    ),
    Argument(
        "fixed_frame",
        "",
        "for ego_motion:=tf: frame with z up that does not move; empty = as in the params file",
        role="parameter",
    ),
)
FOR_ALL = ("autostart", "use_sim_time")
"""Arguments that are parameters of each node of a launch file."""
_OTHERS = (
    Argument(
        "tracks",
        "",
        "topic of the boxes of a multi-object tracker on these images: targets by track id, and where to look for lost "
        "ones; empty = none",
        role="optional topic",
    ),
    Argument(
        "proposals",
        "",
        "topic of detections on these images (Detection2DArray), where to look for lost targets; empty = none",
        role="optional topic",
    ),
)
_COMMON = (
    Argument("params_file", "", "YAML file of parameters; empty = the one in config/ of this package"),
    Argument("name", "", "name of the node; empty = that of its executable"),
    Argument("namespace", "", "namespace of the node, such as one for each camera"),
    Argument(
        "autostart",
        "",
        "configure and activate the node at once; empty = as in the params file",
        ("", *SWITCH),
        role="parameter",
    ),
    Argument(
        "use_sim_time",
        "",
        "follow /clock; empty = as in the params file, and true where a bag is played",
        ("", *SWITCH),
        role="parameter",
    ),
    Argument("bag", "", "bag to play (rosbag2 folder, .mcap or .db3); empty = none"),
    Argument("bag_rate", "1.0", "speed of the bag, 1 = as recorded"),
    Argument("bag_loop", "false", "play the bag again and again", SWITCH),
)

LAUNCHES: Mapping[str, Launch] = {
    "tracker": Launch(
        "single_object_tracker",
        (
            *_IMAGES,
            Argument("model", "", "name or folder of the model; empty = as in the params file", role="parameter"),
            Argument(
                "backend",
                "",
                "auto, torch, onnxruntime or tensorrt; empty = as in the params file",
                role="parameter",
            ),
            *_OTHERS,
            *_COMMON,
        ),
    ),
    "multi_object_tracker": Launch(
        "multi_object_tracker",
        (
            Argument("detections", "/detections", "topic of the detections (Detection2DArray)", role="topic"),
            *_DETECTIONS,
            Argument(
                "camera_motion",
                "",
                "take the camera's own motion out of that of the objects, by its images; empty = as in the params file",
                ("", *SWITCH),
                role="parameter",
            ),
            *_IMAGES,
            *_COMMON,
        ),
    ),
    "multi_object_tracker_3d": Launch(
        "multi_object_tracker_3d",
        (
            Argument("detections", "/detections", "topic of the detections (Detection3DArray)", role="topic"),
            *_DETECTIONS,
            *_EGO_MOTION,
            *_COMMON,
        ),
    ),
    "detector": Launch(
        "detector",
        (
            *_IMAGES,
            Argument(
                "cameras",
                "",
                "topics of several cameras with commas between them, in place of image; empty = as in the params file",
                role="parameter",
            ),
            Argument(
                "model",
                "",
                "path of an ONNX file, or motion = what moves, without a network; empty = as in the params file",
                role="parameter",
            ),
            Argument("card", "", "path of the model's YAML card; empty = as in the params file", role="parameter"),
            Argument("classes", "", "classes such as person,car; empty = as in the params file", role="parameter"),
            Argument(
                "appearance_model",
                "",
                "path of an ONNX file for embeddings; empty = as in the params file",
                role="parameter",
            ),
            Argument("backend", "", "auto, onnxruntime or tensorrt; empty = as in the params file", role="parameter"),
            *_COMMON,
        ),
    ),
    "fusion": Launch(
        "fusion",
        (
            Argument("boxes_3d", "/boxes_3d", "topic of the objects in space (TrackedBox3DArray)", role="topic"),
            Argument("boxes", "/boxes", "topic of the objects in the image (TrackedBoxArray)", role="topic"),
            Argument("camera_info", "/camera/camera_info", "topic of the camera's calibration", role="topic"),
            Argument(
                "camera_pose",
                "",
                "x y z roll pitch yaw (m, rad) of the camera's optical frame in that of the objects in space; empty = "
                "as in the params file",
                role="parameter",
            ),
            Argument(
                "camera_frame",
                "",
                "optical frame of the camera, found by transforms; empty = as in the params file",
                role="parameter",
            ),
            *_COMMON,
        ),
    ),
    "lidar_proposals": Launch("lidar_proposals", (*_POINTS, *_COMMON)),
    "lidar_tracker": Launch(
        "lidar_proposals",
        (*_POINTS, *(replace(argument, follower=True) for argument in _EGO_MOTION), *_COMMON),
        follower="multi_object_tracker_3d",
        port="detections",
    ),
}
"""Launch file to what it starts. The first topic is the one that the node cannot do without."""

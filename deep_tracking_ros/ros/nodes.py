"""The nodes of this package and how they are started: one description for launch files, runner and executables.

Plain Python: launch files and ``deep-tracking run`` import it on machines without launch, without rclpy.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from deep_tracking_ros.errors import DataError, DeepTrackingError, InvalidRequestError
from deep_tracking_ros.ros.interfaces import PACKAGE, share_file

SWITCH = ("true", "false")
CAMERA = "/camera/image"  # topic of images where none is given
DEFAULT_TOPICS = {"image": CAMERA, "odometry": "/odom", "points": "/points"}
"""Where inputs are sought of which neither an argument nor a bag says where they are."""
ALONE = {"odometry": "nav_msgs/msg/Odometry", "points": "sensor_msgs/msg/PointCloud2"}
"""Types of inputs whose topic need not be named where a bag has one of that type."""


@dataclass(frozen=True)
class NodeDescription:
    """An executable of this package; its default name is that of the executable."""

    executable: str  # in lib/deep_tracking_ros, for `ros2 run` and launch
    make: str  # module:callable that gives the node
    pipeline: str = ""  # name in the registry of pipelines, given to `make`; empty = none
    params_file: str = ""  # under config/


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
    """A launch file: the node of a pipeline, one that takes its results, and where asked for a player of a bag."""

    executable: str
    arguments: tuple[Argument, ...]
    follower: str = ""  # executable of the second node; empty = none
    port: str = ""  # of the first node's results and of the second node's input


@dataclass(frozen=True)
class NodeStart:
    """One node to start, with everything resolved."""

    executable: str
    name: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    params_files: tuple[str, ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    namespace: str = ""  # empty = none, or that of the launch file which includes ours
    lifecycle: bool = False

    def ros_arguments(self) -> list[str]:
        """Everything as arguments of the executable."""
        arguments = ["--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for file in self.params_files:
            arguments += ["--params-file", file]
        for name, value in self.parameters.items():
            arguments += ["-p", f"{name}:={_yaml(value)}"]
        for source, target in self.remappings:
            arguments += ["-r", f"{source}:={target}"]
        return arguments


def _yaml(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"  # else a bag named 123 would be a number
    return str(value).lower() if isinstance(value, bool) else str(value)


NODES = {
    node.executable: node
    for node in (
        NodeDescription(
            "single_object_tracker",
            "deep_tracking_ros.ros.node:PipelineNode",
            pipeline="single_object_tracker",
            params_file="single_object_tracker.yaml",
        ),
        NodeDescription(
            "multi_object_tracker",
            "deep_tracking_ros.ros.node:PipelineNode",
            pipeline="multi_object_tracker",
            params_file="multi_object_tracker.yaml",
        ),
        NodeDescription(
            "multi_object_tracker_3d",
            "deep_tracking_ros.ros.node:PipelineNode",
            pipeline="multi_object_tracker_3d",
            params_file="multi_object_tracker_3d.yaml",
        ),
        NodeDescription(
            "detector",
            "deep_tracking_ros.ros.node:PipelineNode",
            pipeline="detector",
            params_file="detector.yaml",
        ),
        NodeDescription(
            "lidar_proposals",
            "deep_tracking_ros.ros.node:PipelineNode",
            pipeline="lidar_proposals",
            params_file="lidar_proposals.yaml",
        ),
        NodeDescription(
            "fusion",
            "deep_tracking_ros.ros.node:PipelineNode",
            pipeline="fusion",
            params_file="fusion.yaml",
        ),
        NodeDescription("bag_player", "deep_tracking_ros.ros.player:BagPlayer"),
        NodeDescription("bag_recorder", "deep_tracking_ros.ros.recorder:BagRecorder"),
    )
}

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


def resolve(launch: str, values: Mapping[str, str]) -> list[NodeStart]:
    """The nodes that a launch file starts with these arguments; missing ones have their defaults.

    Raises `InvalidRequestError` for an unknown argument or a value that is not among the choices, and `DataError` for a
    bag that cannot be read or has no such images.
    """
    if launch not in LAUNCHES:
        raise InvalidRequestError(f"there is no launch file {launch!r}; there are {', '.join(LAUNCHES)}")
    arguments = LAUNCHES[launch].arguments
    known = {a.name: a for a in arguments}
    if unknown := sorted(set(values) - set(known)):
        raise InvalidRequestError(f"unknown arguments {', '.join(unknown)}; known are {', '.join(known)}")
    value = {a.name: values.get(a.name, a.default) for a in arguments}
    for name, given in value.items():
        if known[name].choices and given not in known[name].choices:
            raise InvalidRequestError(
                f"argument {name} is {given!r}, it must be one of {', '.join(filter(None, known[name].choices))}"
            )

    try:
        rate = float(value["bag_rate"])
    except ValueError:
        raise InvalidRequestError(f"argument bag_rate is {value['bag_rate']!r}, it must be a number") from None
    topics = [a.name for a in arguments if a.role == "topic"]
    cameras = ["/" + name.strip().lstrip("/") for name in value.get("cameras", "").split(",") if name.strip()]
    if cameras:  # each is an input of its own
        topics.remove("image")
        if value["bag"]:
            found = [_images_of_bag(value["bag"], camera, value["image_transport"]) for camera in cameras]
            value["image_transport"] = found[0][1]
    if value["bag"]:
        value |= _of_bag(topics, value) | {"use_sim_time": "true"}
    first, second = (
        tuple(a for a in arguments if a.follower is follower or a.name in FOR_ALL) for follower in (False, True)
    )
    node = _node(LAUNCHES[launch].executable, first, topics, value)
    started = [node]
    if LAUNCHES[launch].follower:
        port = LAUNCHES[launch].port
        own = {"name": "", "params_file": ""}
        follower = _node(LAUNCHES[launch].follower, second, topics, value | own)
        source = (port, f"{node.name}/{port}")
        started.append(replace(follower, remappings=(source, *follower.remappings)))
    if not value["bag"]:
        return started
    play = {
        "bag": value["bag"],
        "rate": rate,
        "loop": value["bag_loop"] == "true",
        "wait_for_subscribers": 60.0,  # the node may have an engine to build first
        "wait_topic": cameras[0] if cameras else value[topics[0]],
    }
    return [*started, NodeStart("bag_player", "bag_player", play)]


def _node(executable: str, arguments: Sequence[Argument], topics: Sequence[str], value: Mapping[str, str]) -> NodeStart:
    """The node of a pipeline with those of the arguments that are its own."""
    description = NODES[executable]
    mine = [a.name for a in arguments if a.role == "topic" and a.name in topics]
    return NodeStart(
        executable,
        value["name"] or executable,
        {a.name: _parameter(a, value[a.name]) for a in arguments if a.role == "parameter" and value[a.name]},
        (value["params_file"] or str(share_file(f"config/{description.params_file}")),),
        (
            *((name, value[name] or DEFAULT_TOPICS[name]) for name in mine),
            *((a.name, value[a.name]) for a in arguments if a.role == "optional topic" and value[a.name]),
        ),
        value["namespace"],
        lifecycle=True,
    )


def _parameter(argument: Argument, text: str) -> object:
    return text == "true" if set(SWITCH) <= set(argument.choices) else text


def _of_bag(topics: Sequence[str], value: Mapping[str, str]) -> dict[str, str]:
    """The arguments that say what to listen to, as the bag has it. Raises `DataError` where it does not."""
    from deep_tracking_ros.ros import bags

    found = {}
    for name in topics:
        given = "/" + value[name].lstrip("/") if value[name] else ""  # in a bag all names are absolute
        if name == "image":
            try:
                found["image"], found["image_transport"] = _images_of_bag(value["bag"], given, value["image_transport"])
            except DataError:
                if given or name == topics[0]:
                    raise
        elif given or (name == topics[0] and name not in ALONE):
            bag = bags.describe(value["bag"])
            if given not in {t.name for t in bag.topics}:
                raise DataError(f"{value['bag']} has no topic {given} of {name}; it has {bag.listing()}")
            found[name] = given
        else:
            bag = bags.describe(value["bag"])
            alone = [t.name for t in bag.topics if t.type == ALONE[name]]
            if len(alone) == 1:
                found[name] = alone[0]
            elif name == topics[0]:
                which = f"several topics of {name}, name one" if alone else f"no topic of {name}"
                raise DataError(f"{value['bag']} has {which}: {bag.listing([ALONE[name]] if alone else None)}")
    return found


def _images_of_bag(path: str, topic: str, transport: str) -> tuple[str, str]:
    """Name and transport of the images in a bag that are meant; the transport is empty where there is a choice."""
    from deep_tracking_ros.ros import bags

    found = bags.image_topic(path, topic or None, transport or "auto")
    image = found.name
    if found.type == bags.COMPRESSED:
        image = found.name.removesuffix("/compressed")
        if image == found.name:
            raise InvalidRequestError(
                f"{path}: compressed images must be on a topic whose name ends in /compressed, this is {image}; "
                "`deep-tracking process` takes it as it is"
            )
        return image, "compressed"
    both = any(t.name == f"{image}/compressed" for t in bags.describe(path).topics)
    return image, transport or ("" if both else "raw")


def main(executable: str, args: list[str] | None = None) -> None:
    """Run one node until it is done or interrupted; what the executables in lib/ call."""
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.utilities import try_shutdown

    description = NODES[executable]
    module, attribute = description.make.split(":")
    make = getattr(importlib.import_module(module), attribute)
    rclpy.init(args=args)
    node = None
    try:
        node = make(description.pipeline) if description.pipeline else make()
        node.run()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except DeepTrackingError as error:
        sys.exit(f"{executable}: {error}")
    finally:
        if node is not None:
            node.destroy_node()
        try_shutdown()


__all__ = ["LAUNCHES", "NODES", "PACKAGE", "Argument", "Launch", "NodeDescription", "NodeStart", "main", "resolve"]

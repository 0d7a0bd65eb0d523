"""The nodes of this package, and how launch files, runner and executables start them.

Plain Python: launch files and ``deep-tracking run`` import it on machines without launch, without rclpy.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from deep_tracking_ros.errors import DataError, DeepTrackingError, InvalidRequestError
from deep_tracking_ros.ros.interfaces import share_file
from deep_tracking_ros.ros.launches import CAMERA, FOR_ALL, LAUNCHES, SWITCH, Argument

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
        follower = _node(LAUNCHES[launch].follower, second, topics, value | {"name": ""})
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

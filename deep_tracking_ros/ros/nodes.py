"""The nodes of this package and how they are started: one description for launch files, runner and executables.

Plain Python: launch files and ``deep-tracking run`` import it on machines without launch, without rclpy.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from deep_tracking_ros.errors import DeepTrackingError, InvalidRequestError
from deep_tracking_ros.ros.interfaces import PACKAGE, share_file

SWITCH = ("true", "false")


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


@dataclass(frozen=True)
class NodeStart:
    """One node to start, with everything resolved."""

    executable: str
    name: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    params_files: tuple[str, ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    lifecycle: bool = False

    def ros_arguments(self) -> list[str]:
        """Everything as arguments of the executable."""
        arguments = ["--ros-args", "-r", f"__node:={self.name}"]
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
        NodeDescription("bag_player", "deep_tracking_ros.ros.player:BagPlayer"),
        NodeDescription("bag_recorder", "deep_tracking_ros.ros.recorder:BagRecorder"),
    )
}

# launch file -> the node of a pipeline that it starts
LAUNCHES = {"tracker": "single_object_tracker"}

ARGUMENTS = (
    Argument("image", "/camera/image", "topic of the camera's images; compressed ones are at this name + /compressed"),
    Argument("image_transport", "raw", "which images to subscribe to", ("raw", "compressed")),
    Argument("model", "", "name or folder of the model; empty = as in the params file"),
    Argument("backend", "", "auto, torch, onnxruntime or tensorrt; empty = as in the params file"),
    Argument("params_file", "", "YAML file of parameters; empty = the one in config/ of this package"),
    Argument("autostart", "true", "configure and activate the node at once", SWITCH),
    Argument("use_sim_time", "false", "follow /clock; always so where a bag is played", SWITCH),
    Argument("bag", "", "bag to play (rosbag2 folder, .mcap or .db3); empty = none"),
    Argument("bag_rate", "1.0", "speed of the bag, 1 = as recorded"),
    Argument("bag_loop", "false", "play the bag again and again", SWITCH),
)


def resolve(launch: str, values: Mapping[str, str]) -> list[NodeStart]:
    """The nodes that a launch file starts with these arguments; missing ones have their defaults.

    Raises `InvalidRequestError` for an unknown argument or a value that is not among the choices.
    """
    if launch not in LAUNCHES:
        raise InvalidRequestError(f"there is no launch file {launch!r}; there are {', '.join(LAUNCHES)}")
    known = {a.name: a for a in ARGUMENTS}
    if unknown := sorted(set(values) - set(known)):
        raise InvalidRequestError(f"unknown arguments {', '.join(unknown)}; known are {', '.join(known)}")
    value = {a.name: values.get(a.name, a.default) for a in ARGUMENTS}
    for name, given in value.items():
        if known[name].choices and given not in known[name].choices:
            raise InvalidRequestError(
                f"argument {name} is {given!r}, it must be one of {', '.join(known[name].choices)}"
            )

    description = NODES[LAUNCHES[launch]]
    parameters: dict[str, object] = {
        "image_transport": value["image_transport"],
        "autostart": value["autostart"] == "true",
        "use_sim_time": value["use_sim_time"] == "true" or bool(value["bag"]),
    }
    parameters.update({name: value[name] for name in ("model", "backend") if value[name]})
    tracker = NodeStart(
        description.executable,
        description.executable,
        parameters,
        (value["params_file"] or str(share_file(f"config/{description.params_file}")),),
        (("image", value["image"]),),
        lifecycle=True,
    )
    if not value["bag"]:
        return [tracker]
    try:
        rate = float(value["bag_rate"])
    except ValueError:
        raise InvalidRequestError(f"argument bag_rate is {value['bag_rate']!r}, it must be a number") from None
    play = {
        "bag": value["bag"],
        "rate": rate,
        "loop": value["bag_loop"] == "true",
        "wait_for_subscribers": 60.0,  # the tracker may have an engine to build first
        "wait_topic": value["image"] + ("/compressed" if value["image_transport"] == "compressed" else ""),
    }
    return [tracker, NodeStart("bag_player", "bag_player", play)]


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


__all__ = ["ARGUMENTS", "LAUNCHES", "NODES", "PACKAGE", "Argument", "NodeDescription", "NodeStart", "main", "resolve"]

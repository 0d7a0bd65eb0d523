"""A launch file's description as ``ros2 launch`` takes it; only what ROS calls imports this."""

from __future__ import annotations

from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from deep_tracking_ros.ros import launches, nodes, player_topics
from deep_tracking_ros.ros.interfaces import PACKAGE


def describe(launch: str) -> LaunchDescription:
    """All arguments, then the nodes with what was given: the same that ``deep-tracking run`` starts."""
    arguments = launches.LAUNCHES[launch].arguments

    def start(context: Any) -> list[Any]:
        values = {a.name: LaunchConfiguration(a.name).perform(context) for a in arguments}
        return [_action(node) for node in player_topics.beside(nodes.resolve(launch, values))]

    declared = [
        DeclareLaunchArgument(
            a.name, default_value=a.default, description=a.description, choices=list(a.choices) or None
        )
        for a in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def _action(node: nodes.NodeStart) -> Any:
    return (LifecycleNode if node.lifecycle else Node)(
        package=PACKAGE,
        executable=node.executable,
        name=node.name,
        namespace=node.namespace,
        parameters=[*node.params_files, {name: _value(value) for name, value in node.parameters.items()}],
        remappings=list(node.remappings),
        on_exit=None if node.lifecycle else _end_with_it,
        output="screen",
        emulate_tty=True,
    )


def _value(value: object) -> Any:
    """launch_ros reads plain text as YAML, and a bag named 20240101 as a number."""
    return ParameterValue(value, value_type=str) if isinstance(value, str) else value


def _end_with_it(event: Any, context: Any) -> list[Any] | None:
    """Nothing more comes from a bag whose player failed."""
    return [Shutdown(reason=f"{event.process_name} failed")] if event.returncode else None

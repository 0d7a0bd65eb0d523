"""Follow targets in a camera stream, or in a bag that is played: see the arguments with ``--show-args``."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from deep_tracking_ros.ros import nodes
from launch import LaunchDescription


def start_nodes(context):
    """The nodes with the arguments that were given; the same that ``deep-tracking run tracker`` starts."""
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in nodes.ARGUMENTS}
    return [
        (LifecycleNode if node.lifecycle else Node)(
            package=nodes.PACKAGE,
            executable=node.executable,
            name=node.name,
            namespace="",
            parameters=[*node.params_files, dict(node.parameters)],
            remappings=list(node.remappings),
            output="screen",
            emulate_tty=True,
        )
        for node in nodes.resolve("tracker", values)
    ]


def generate_launch_description():
    """All arguments, then the nodes."""
    arguments = [
        DeclareLaunchArgument(
            a.name, default_value=a.default, description=a.description, choices=list(a.choices) or None
        )
        for a in nodes.ARGUMENTS
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start_nodes)])

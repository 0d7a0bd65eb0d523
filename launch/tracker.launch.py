"""Follow targets in a camera stream, or in a bag that is played: see the arguments with ``--show-args``."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from deep_tracking_ros.ros import nodes
from launch import LaunchDescription


def as_given(value):
    """A parameter that keeps its type: launch_ros reads plain text as YAML, a bag named 20240101 as a number."""
    return ParameterValue(value, value_type=str) if isinstance(value, str) else value


def end_with_it(event, context):
    """Nothing more comes from a bag whose player failed."""
    return [Shutdown(reason=f"{event.process_name} failed")] if event.returncode else None


def start_nodes(context):
    """The nodes with the arguments that were given; the same that ``deep-tracking run tracker`` starts."""
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in nodes.LAUNCHES["tracker"].arguments}
    return [
        (LifecycleNode if node.lifecycle else Node)(
            package=nodes.PACKAGE,
            executable=node.executable,
            name=node.name,
            namespace=node.namespace,
            parameters=[*node.params_files, {name: as_given(value) for name, value in node.parameters.items()}],
            remappings=list(node.remappings),
            on_exit=None if node.lifecycle else end_with_it,
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
        for a in nodes.LAUNCHES["tracker"].arguments
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start_nodes)])

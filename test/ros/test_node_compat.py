"""What is taken from rclpy must be in all distributions that are served, which no one machine can show."""

import ast
from pathlib import Path

import pytest

import deep_tracking_ros

PACKAGE = Path(deep_tracking_ros.__file__).parent

# Names that are in rclpy's branches humble, jazzy, kilted and rolling alike; look there before one is added.
EVERYWHERE = {
    "rclpy": {"clock", "create_node", "executors", "init", "signals"},
    "rclpy.action.server": {"ActionServer", "CancelResponse", "GoalResponse"},
    "rclpy.callback_groups": {"ReentrantCallbackGroup"},
    "rclpy.clock": {"Clock"},
    "rclpy.context": {"Context"},
    "rclpy.duration": {"Duration"},
    "rclpy.exceptions": {"InvalidParameterValueException"},
    "rclpy.executors": {"Executor", "ExternalShutdownException", "SingleThreadedExecutor"},
    "rclpy.impl.implementation_singleton": {"rclpy_implementation"},
    "rclpy.lifecycle": {"LifecycleNode", "LifecycleState", "TransitionCallbackReturn"},
    "rclpy.node": {"Node", "NodeNameNonExistentError"},
    "rclpy.parameter": {"parameter_value_to_python"},
    "rclpy.qos": {
        "DurabilityPolicy", "QoSCompatibility", "QoSPolicyKind", "QoSProfile", "ReliabilityPolicy",
        "qos_check_compatible",
    },
    "rclpy.signals": {"uninstall_signal_handlers"},
    "rclpy.subscription": {"Subscription"},
    "rclpy.task": {"Future"},
    "rclpy.utilities": {"get_rmw_implementation_identifier", "try_shutdown"},
}  # fmt: skip

NEWER = ("add_post_set_parameters_callback", "add_pre_set_parameters_callback", "get_publisher_count")
"""Methods that Humble's rclpy lacks."""


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "compat.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_of_rclpy_are_in_all_distributions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rclpy":
            assert {name.name for name in node.names} <= EVERYWHERE.get(node.module, set()), node.module
        if isinstance(node, ast.Import):
            assert not [name.name for name in node.names if name.name.startswith("rclpy.")], "import names from it"
        if isinstance(node, ast.Attribute):
            assert node.attr not in NEWER
            if isinstance(node.value, ast.Name) and node.value.id == "rclpy":
                assert node.attr in EVERYWHERE["rclpy"]


def test_the_rest_comes_from_where_it_is():
    pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
    from deep_tracking_ros.ros.compat import ClockType, SubscriptionEventCallbacks

    assert ClockType.STEADY_TIME.name == "STEADY_TIME"
    assert SubscriptionEventCallbacks(message_lost=print).message_lost is print

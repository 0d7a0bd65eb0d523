"""Several nodes in one process, in an executor of somebody else with several threads."""

from contextlib import suppress
from threading import Thread

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.parameter import Parameter
from rig import Rig
from template_node import TemplatePipeline
from test_node_action import Goal

from deep_tracking_ros.ros.client import temporary_node
from deep_tracking_ros.ros.node import PipelineNode

pytestmark = pytest.mark.ros


@pytest.fixture
def nodes():
    context = Context()
    rclpy.init(context=context, args=[], signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    executor = MultiThreadedExecutor(3, context=context)
    model = Parameter("model", value="template")
    made = [
        PipelineNode(TemplatePipeline, context=context, namespace=space, parameter_overrides=[model])
        for space in ("/left", "/right")
    ]
    for node in made:
        executor.add_node(node)

    def spin():
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = Thread(target=spin)
    thread.start()
    yield made
    executor.shutdown()
    thread.join()
    for node in made:
        node.destroy_node()
    context.try_shutdown()


def test_two_cameras_share_nothing(nodes):
    with temporary_node("operator") as observer:
        left, right = Rig(observer, "/left"), Rig(observer, "/right")
        left.ready()
        right.ready()
        assert left.set_target((40, 60), label="one").id == 1
        assert right.set_target((100, 60), label="other").id == 1
        goal = Goal(left, at=(130, 60), frames=2)
        goal.waits(2)
        for _ in range(3):
            one, other = left.show((40, 60), None, None), right.show(None, (100, 60))
            assert {box.label for box in other.boxes} == {"other"}
            assert "one" in {box.label for box in one.boxes}
        goal.result()
        assert left.change("deactivate")
        assert [box.label for box in right.show(None, (100, 60)).boxes] == ["other"]
        assert left.change("cleanup")
        assert right.diagnostics(lambda values: values["targets"] == "1")[0] == 0

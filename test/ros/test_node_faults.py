"""What callers do wrong to a node, each in a process of its own, must not end it."""

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

import subprocess
import sys
import time
from pathlib import Path

import rclpy
from patience import PATIENCE
from rclpy.context import Context
from rclpy.parameter import Parameter
from rig import running
from template_node import TemplatePipeline

from deep_tracking_ros.ros import node as node_module
from deep_tracking_ros.ros.node import PipelineNode

pytestmark = pytest.mark.ros

VANISHING = """
import sys, rclpy
from deep_tracking_ros.ros.interfaces import message_class
kind = message_class("deep_tracking_ros/srv/ClearTargets")
rclpy.init()
node = rclpy.create_node("vanishing")
client = node.create_client(kind, "single_object_tracker/clear_targets")
assert client.wait_for_service(90.0)
for _ in range(50):
    client.call_async(kind.Request())
node.destroy_client(client)
if sys.argv[1] == "destroyed":
    node.destroy_node()
    rclpy.shutdown()
else:
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""

FORGETTING = """
import rclpy
from template_node import TemplatePipeline
from deep_tracking_ros.ros.node import PipelineNode
from rclpy.parameter import Parameter
rclpy.init()
node = PipelineNode(TemplatePipeline, parameter_overrides=[Parameter("model", value="template")])
node.trigger_configure()
node.trigger_activate()
assert node.lifecycle_state == "active"
"""


def test_an_impossible_transition_is_refused(tmp_path):
    with running(tmp_path) as (rig, _):
        rig.ready()
        for transition in ("configure", "cleanup", "activate"):
            assert not rig.change(transition)
        assert rig.state() == "active"
        rig.show()
        assert rig.change("deactivate")
        assert not rig.change("deactivate")
        assert rig.change("activate")
        rig.show()


@pytest.mark.parametrize("way", ["destroyed", "killed"])
def test_callers_that_do_not_wait_for_their_answer(tmp_path, way):
    with running(tmp_path) as (rig, _):
        rig.ready()
        for _ in range(3):
            subprocess.run([sys.executable, "-c", VANISHING, way], check=way == "destroyed", timeout=PATIENCE)
            rig.show()
        assert rig.clear_targets().success


def test_a_script_that_forgets_the_node_ends():
    result = subprocess.run(
        [sys.executable, "-c", FORGETTING], cwd=Path(__file__).parent, timeout=PATIENCE, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_a_node_whose_callbacks_only_fail_gives_up(monkeypatch):
    monkeypatch.setattr(node_module, "monotonic", time.thread_time)  # nobody else's time counts
    context = Context()
    rclpy.init(context=context, args=[], signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    values = [Parameter("autostart", value=False), Parameter("diagnostics_period", value=0.1)]
    node = PipelineNode(TemplatePipeline, context=context, parameter_overrides=values)
    try:
        node.create_timer(0.001, lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            node.run()
        assert node.diagnostics.measurements.counts()["faults"] == 100
        assert "ZeroDivisionError: division by zero" in node.diagnostics.status().message
    finally:
        node.destroy_node()
        context.try_shutdown()

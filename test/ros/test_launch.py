"""The launch file and the runner start the same nodes."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.ros import nodes, runner

LAUNCH_FILE = Path(__file__).parents[2] / "launch" / "tracker.launch.py"
CASES = [
    {},
    {"image": "/front/image_raw", "image_transport": "compressed", "autostart": "false"},
    {"model": "siamfc", "backend": "onnxruntime", "use_sim_time": "true"},
    {"bag": "/data/my drive.mcap", "bag_rate": "0.5", "bag_loop": "true"},
]


def load_launch_file():
    spec = importlib.util.spec_from_file_location("tracker_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stock_names(monkeypatch):
    """Just enough of launch and launch_ros to see what the launch file makes."""

    def action(kind):
        return lambda *args, **kwargs: SimpleNamespace(kind=kind, args=args, **kwargs)

    class LaunchConfiguration:
        def __init__(self, name):
            self.name = name

        def perform(self, context):
            return context[self.name]

    contents = {
        "launch": {"LaunchDescription": lambda entities: entities},
        "launch.actions": {n: action(n) for n in ("DeclareLaunchArgument", "OpaqueFunction")},
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
        "launch_ros": {},
        "launch_ros.actions": {n: action(n) for n in ("Node", "LifecycleNode")},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("values", CASES)
def test_launch_file_and_runner_start_the_same_nodes(stock_names, values):
    *arguments, function = load_launch_file().generate_launch_description()
    declared = {a.args[0]: a for a in arguments}
    assert list(declared) == [a.name for a in nodes.ARGUMENTS]
    assert all(a.description for a in arguments)
    context = {name: a.default_value for name, a in declared.items()} | values
    launched = function.function(context)
    started = nodes.resolve("tracker", values)
    assert [(n.executable, n.name) for n in launched] == [(n.executable, n.name) for n in started]
    for one, other in zip(launched, started, strict=True):
        assert one.package == "deep_tracking_ros"
        assert one.kind == ("LifecycleNode" if other.lifecycle else "Node")
        assert one.parameters == [*other.params_files, other.parameters]
        assert one.remappings == list(other.remappings)


@pytest.mark.parametrize("values", CASES)
def test_the_real_launch_makes_the_same_nodes(values):
    launch = pytest.importorskip(
        "launch.launch_context", reason="ROS 2's launch is not on PyPI; this runs where apt has it"
    )
    description = load_launch_file().generate_launch_description()
    context = launch.LaunchContext()
    context.launch_configurations.update(values)
    made = []
    for entity in description.entities:
        made += entity.visit(context) or []
    assert [n.node_executable for n in made] == [n.executable for n in nodes.resolve("tracker", values)]


def test_arguments_become_parameters():
    tracker, player = nodes.resolve("tracker", {"bag": "drive.mcap", "image": "/cam", "image_transport": "compressed"})
    assert tracker.parameters["use_sim_time"] is True
    assert tracker.parameters["image_transport"] == "compressed"
    assert tracker.remappings == (("image", "/cam"),)
    assert Path(tracker.params_files[0]).name == "single_object_tracker.yaml"
    assert player.parameters["wait_topic"] == "/cam/compressed"
    assert "use_sim_time" not in player.parameters
    assert "model" not in tracker.parameters  # as in the params file


def test_config_names_every_parameter_with_its_default():
    import yaml

    from deep_tracking_ros.pipelines.parameters import declared
    from deep_tracking_ros.pipelines.registry import find_pipeline
    from deep_tracking_ros.ros.parameters import NodeParameters

    for node in nodes.NODES.values():
        if node.params_file:
            text = (LAUNCH_FILE.parents[1] / "config" / node.params_file).read_text()
            values = yaml.safe_load(text)["/**"]["ros__parameters"]
            kinds = (find_pipeline(node.pipeline).Parameters, NodeParameters)
            assert values == {p.name: p.default for kind in kinds for p in declared(kind)}


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({"imaeg": "/x"}, "unknown arguments imaeg; known are image"),
        ({"autostart": "yes"}, "must be one of true, false"),
        ({"bag": "x", "bag_rate": "fast"}, "it must be a number"),
    ],
)
def test_wrong_arguments(values, answer):
    with pytest.raises(InvalidRequestError, match=answer):
        nodes.resolve("tracker", values)


def test_texts_stay_texts_on_the_command_line():
    start = nodes.NodeStart("bag_player", "it", {"bag": "123", "label": "it's", "loop": True, "rate": 2.0})
    arguments = start.ros_arguments()
    assert arguments[:3] == ["--ros-args", "-r", "__node:=it"]
    assert [a for a in arguments if ":=" in a][1:] == ["bag:='123'", "label:='it''s'", "loop:=true", "rate:=2.0"]


def write_child(tmp_path, monkeypatch, code):
    monkeypatch.setattr(runner, "_CODE", "import ctypes, sys\nctypes.CDLL(None).prctl(1, 2)\n" + code)


def test_runner_gives_the_status_of_the_node_that_failed(tmp_path, monkeypatch, capfd):
    write_child(tmp_path, monkeypatch, "print('hello'); sys.exit(3 if sys.argv[1] == 'b' else 0)")
    status = runner.run([nodes.NodeStart("a", "first"), nodes.NodeStart("b", "second")])
    assert status == 3
    assert "[second] hello" in capfd.readouterr().out


def test_nodes_end_when_the_runner_is_killed():
    code = (
        "from deep_tracking_ros.ros import runner, nodes\n"
        "runner._CODE = runner._CODE.split('from')[0] + 'import time; print(\"up\", flush=True); time.sleep(60)'\n"
        "p = runner.Processes(); child = p.start(nodes.NodeStart('a', 'a')); print(child.pid, flush=True); p.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert "up" in parent.stdout.readline()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return  # ended; whoever adopted it has not looked yet
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the node outlived its runner by 5 s")

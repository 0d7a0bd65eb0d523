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
import yaml
from patience import PATIENCE

from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.ros import bags, interfaces, launches, nodes, player_topics, runner

ROOT = Path(__file__).parents[2]
CASES = [
    ("tracker", {}),
    ("tracker", {"image": "/front/image_raw", "image_transport": "compressed", "autostart": "false"}),
    ("tracker", {"backend": "onnxruntime", "use_sim_time": "true", "name": "it", "namespace": "front"}),
    ("tracker", {"model": "20240101", "params_file": "1.5"}),  # texts, whatever YAML makes of them
    ("tracker", {"bag": "20240101", "bag_rate": "0.5", "bag_loop": "true"}),
    ("multi_object_tracker", {}),
    ("detector", {"model": "motion", "classes": "person,car", "image": "/front"}),
    ("detector", {"model": "20240101", "cameras": "left, /right", "bag": "two"}),
    ("multi_object_tracker", {"detections": "yolo", "bag": "found", "params_file": "mine.yaml"}),
    ("multi_object_tracker_3d", {"ego_motion": "tf", "detections_type": "vision_msgs"}),
    ("multi_object_tracker_3d", {"detections": "boxes", "bag": "drive", "ego_motion": "odometry"}),
    ("fusion", {"camera_pose": "0 0 0 -1.57 0 -1.57", "boxes": "/front/boxes"}),
    ("lidar_proposals", {"points": "/top", "classes": "car"}),
    ("lidar_tracker", {"bag": "sweeps", "ego_motion": "odometry", "params_file": "mine.yaml", "name": "it"}),
]
DETECTIONS = "deep_tracking_ros/msg/Detection2DArray"
DETECTIONS_3D = "deep_tracking_ros/msg/Detection3DArray"


@pytest.fixture
def in_bags(tmp_path, monkeypatch):
    """A working folder with bags; the one named by a date has the images of one camera."""
    monkeypatch.chdir(tmp_path)
    for name, topics in {
        "20240101": {"/drive/image": bags.IMAGE},
        "small": {"/drive/image/compressed": bags.COMPRESSED},
        "both": {"/drive/image": bags.IMAGE, "/drive/image/compressed": bags.COMPRESSED},
        "two": {"/left": bags.IMAGE, "/right": bags.IMAGE},
        "odd": {"/jpeg": bags.COMPRESSED},
        "found": {"/yolo": DETECTIONS},
        "drive": {"/boxes": DETECTIONS_3D, "/wheels/odom": nodes.ALONE["odometry"]},
        "parked": {"/boxes": DETECTIONS_3D},
        "sweeps": {"/velodyne": bags.CLOUD, "/wheels/odom": nodes.ALONE["odometry"]},
        "rings": {"/front": bags.CLOUD, "/rear": bags.CLOUD},
    }.items():
        with bags.BagWriter(name) as writer:
            for topic, type_ in topics.items():
                writer.write_message(topic, interfaces.make(type_), 1)


def load_launch_file(name):
    spec = importlib.util.spec_from_file_location(f"{name}_launch", ROOT / f"launch/{name}.launch.py")
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

    class ParameterValue:
        def __init__(self, value, *, value_type):
            self.value = value_type(value)

    contents = {
        "launch": {},
        "launch.launch_description": {"LaunchDescription": lambda entities: entities},
        "launch.actions": {n: action(n) for n in ("DeclareLaunchArgument", "OpaqueFunction", "Shutdown")},
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
        "launch_ros": {},
        "launch_ros.parameter_descriptions": {"ParameterValue": ParameterValue},
        "launch_ros.actions": {n: action(n) for n in ("Node", "LifecycleNode")},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "deep_tracking_ros.ros.launching", raising=False)


def evaluated(value):
    """What the node gets of a parameter: launch_ros reads plain texts as YAML."""
    if hasattr(value, "value"):
        return value.value
    return yaml.safe_load(value) if isinstance(value, str) else value


@pytest.mark.parametrize(("name", "values"), CASES)
def test_launch_file_and_runner_start_the_same_nodes(stock_names, in_bags, name, values):
    *arguments, function = load_launch_file(name).generate_launch_description()
    declared = {a.args[0]: a for a in arguments}
    assert list(declared) == [a.name for a in launches.LAUNCHES[name].arguments]
    assert all(a.description for a in arguments)
    context = {key: a.default_value for key, a in declared.items()} | values
    launched = function.function(context)
    started = player_topics.beside(nodes.resolve(name, values))
    assert [(n.executable, n.name) for n in launched] == [(n.executable, n.name) for n in started]
    for one, other in zip(launched, started, strict=True):
        assert one.package == "deep_tracking_ros"
        assert one.kind == ("LifecycleNode" if other.lifecycle else "Node")
        *files, parameters = one.parameters
        assert files == list(other.params_files)
        got = {key: evaluated(value) for key, value in parameters.items()}
        assert got == other.parameters
        assert {k: type(v) for k, v in got.items()} == {k: type(v) for k, v in other.parameters.items()}
        assert one.remappings == list(other.remappings)
        assert one.namespace == other.namespace


def test_launch_ends_when_the_player_fails(stock_names, in_bags):
    *arguments, function = load_launch_file("tracker").generate_launch_description()
    tracker, player = function.function({a.args[0]: a.default_value for a in arguments} | {"bag": "20240101"})
    assert tracker.on_exit is None  # others in the launch of a robot go on
    (end,) = player.on_exit(SimpleNamespace(returncode=1, process_name="bag_player-2"), None)
    assert (end.kind, end.reason) == ("Shutdown", "bag_player-2 failed")
    assert not player.on_exit(SimpleNamespace(returncode=0, process_name="bag_player-2"), None)


@pytest.mark.parametrize(("name", "values"), CASES)
def test_the_real_launch_makes_the_same_nodes(in_bags, name, values):
    launch = pytest.importorskip(
        "launch.launch_context", reason="ROS 2's launch is not on PyPI; this runs where apt has it"
    )
    description = load_launch_file(name).generate_launch_description()
    context = launch.LaunchContext()
    context.launch_configurations.update(values)
    made = []
    for entity in description.entities:
        made += entity.visit(context) or []
    assert [n.node_executable for n in made] == [n.executable for n in nodes.resolve(name, values)]


def test_what_is_not_given_is_left_to_the_params_file():
    (tracker,) = nodes.resolve("tracker", {})
    assert tracker.parameters == {}
    assert Path(tracker.params_files[0]).name == "single_object_tracker.yaml"
    assert (tracker.name, tracker.namespace) == ("single_object_tracker", "")
    assert tracker.remappings == (("image", "/camera/image"),)


def test_arguments_become_parameters():
    given = {"image": "/cam", "image_transport": "compressed", "autostart": "false", "use_sim_time": "false"}
    (tracker,) = nodes.resolve("tracker", {**given, "name": "it", "namespace": "/front/"})
    assert tracker.parameters == {"image_transport": "compressed", "autostart": False, "use_sim_time": False}
    assert tracker.remappings == (("image", "/cam"),)
    assert [a for a in tracker.ros_arguments() if ":=" in a][:2] == ["__node:=it", "__ns:=/front"]


@pytest.mark.parametrize(
    ("values", "image", "transport"),
    [
        ({"bag": "20240101"}, "/drive/image", "raw"),
        ({"bag": "20240101", "image": "drive/image"}, "/drive/image", "raw"),
        ({"bag": "small"}, "/drive/image", "compressed"),
        ({"bag": "small", "image": "/drive/image/compressed"}, "/drive/image", "compressed"),
        ({"bag": "both"}, "/drive/image", None),
        ({"bag": "both", "image_transport": "compressed"}, "/drive/image", "compressed"),
        ({"bag": "both", "image": "/drive/image/compressed"}, "/drive/image", "compressed"),
        ({"bag": "two", "image": "/right"}, "/right", "raw"),
    ],
)
def test_images_of_a_bag(in_bags, values, image, transport):
    tracker, player = nodes.resolve("tracker", values)
    assert tracker.remappings == (("image", image),)
    assert tracker.parameters.get("image_transport") == transport
    assert tracker.parameters["use_sim_time"] is True
    assert player.parameters["wait_topic"] == image
    assert "use_sim_time" not in player.parameters


@pytest.mark.parametrize(
    ("launch", "values", "answer"),
    [
        ("tracker", {"bag": "none"}, "there is no bag none"),
        ("tracker", {"bag": "two"}, r"several topics of images, name one: /left \(.*/right"),
        ("tracker", {"bag": "two", "image": "/front"}, "there is no topic /front; topics of images are /left"),
        ("tracker", {"bag": "small", "image_transport": "raw"}, "has no topic of images: /drive/image/compressed"),
        ("tracker", {"bag": "odd"}, "a topic whose name ends in /compressed, this is /jpeg"),
        ("multi_object_tracker", {"bag": "two"}, "has no topic /detections of detections; it has /left"),
        ("multi_object_tracker", {"bag": "found", "detections": "yolo", "image": "/x"}, "there is no topic /x"),
        (
            "multi_object_tracker_3d",
            {"bag": "drive", "detections": "/x"},
            "has no topic /x of detections; it has /boxes",
        ),
        (
            "multi_object_tracker_3d",
            {"bag": "drive", "detections": "boxes", "odometry": "/x"},
            "has no topic /x of odom",
        ),
        ("lidar_proposals", {"bag": "rings"}, r"several topics of points, name one: /front \(.*/rear"),
        ("lidar_proposals", {"bag": "two"}, "has no topic of points: /left"),
        ("lidar_tracker", {"bag": "rings", "points": "/top"}, "has no topic /top of points; it has /front"),
    ],
)
def test_a_bag_without_what_is_asked_for(in_bags, launch, values, answer):
    with pytest.raises((DataError, InvalidRequestError), match=answer):
        nodes.resolve(launch, values)


def test_the_multi_object_tracker_waits_for_detections(in_bags):
    tracker, player = nodes.resolve("multi_object_tracker", {"bag": "found", "detections": "yolo"})
    assert tracker.remappings == (("detections", "/yolo"), ("image", "/camera/image"))
    assert Path(tracker.params_files[0]).name == "multi_object_tracker.yaml"
    assert player.parameters["wait_topic"] == "/yolo"
    (tracker,) = nodes.resolve("multi_object_tracker", {"image": "/front", "camera_motion": "true"})
    assert tracker.remappings == (("detections", "/detections"), ("image", "/front"))
    assert tracker.parameters == {"camera_motion": True}


@pytest.mark.parametrize(
    ("values", "odometry"),
    [
        ({"bag": "drive"}, "/wheels/odom"),
        ({"bag": "drive", "odometry": "wheels/odom"}, "/wheels/odom"),
        ({"bag": "parked"}, "/odom"),
        ({"odometry": "/filtered"}, "/filtered"),
    ],
)
def test_odometry_is_found_where_it_is(in_bags, values, odometry):
    tracker, *_ = nodes.resolve("multi_object_tracker_3d", {"detections": "/boxes", **values})
    assert tracker.remappings == (("detections", "/boxes"), ("odometry", odometry))


def test_what_finds_in_sweeps_feeds_what_follows(in_bags):
    values = {"bag": "sweeps", "name": "it", "namespace": "front", "classes": "car", "ego_motion": "odometry"}
    finder, follower, player = nodes.resolve("lidar_tracker", {**values, "params_file": "mine.yaml"})
    assert (finder.name, finder.executable, finder.params_files) == ("it", "lidar_proposals", ("mine.yaml",))
    assert finder.remappings == (("points", "/velodyne"),)
    assert finder.parameters == {"classes": "car", "use_sim_time": True}
    assert (follower.name, follower.namespace) == ("multi_object_tracker_3d", "front")
    assert follower.params_files == ("mine.yaml",)  # one file for both, by their names
    assert follower.remappings == (("detections", "it/detections"), ("odometry", "/wheels/odom"))
    assert follower.parameters == {"ego_motion": "odometry", "use_sim_time": True}
    assert player.parameters["wait_topic"] == "/velodyne"
    finder, follower = nodes.resolve("lidar_tracker", {})
    assert finder.remappings == (("points", "/points"),)
    assert follower.remappings == (("detections", "lidar_proposals/detections"), ("odometry", "/odom"))
    assert [Path(n.params_files[0]).stem for n in (finder, follower)] == ["lidar_proposals", "multi_object_tracker_3d"]


@pytest.mark.parametrize("launch", ["lidar_tracker", "multi_object_tracker_3d"])
def test_where_the_sensor_is_can_be_told_at_the_launch(launch):
    where = {"mounting": "0.3 0 1.7 0 0 0", "fixed_frame": "map"}
    *_, tracker = nodes.resolve(launch, where)
    assert tracker.parameters == where
    assert launch == "multi_object_tracker_3d" or nodes.resolve(launch, where)[0].parameters == {}


def test_a_detector_of_several_cameras_listens_to_each(in_bags):
    detector, player = nodes.resolve("detector", {"cameras": "left, /right", "bag": "two"})
    assert detector.remappings == ()
    assert detector.parameters == {"cameras": "left, /right", "image_transport": "raw", "use_sim_time": True}
    assert player.parameters["wait_topic"] == "/left"
    with pytest.raises(DataError, match="there is no topic /rear; topics of images are /left"):
        nodes.resolve("detector", {"cameras": "left,rear", "bag": "two"})
    (alone,) = nodes.resolve("detector", {})
    assert alone.remappings == (("image", "/camera/image"),)


def test_config_names_every_parameter_with_its_default():
    from deep_tracking_ros.parameters import declared
    from deep_tracking_ros.pipelines.registry import find_pipeline
    from deep_tracking_ros.ros.parameters import node_parameters

    for node in nodes.NODES.values():
        if node.params_file:
            text = (ROOT / "config" / node.params_file).read_text()
            values = yaml.safe_load(text)["/**"]["ros__parameters"]
            pipeline = find_pipeline(node.pipeline)
            kinds = (pipeline.Parameters, *node_parameters(pipeline))
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


def test_extra_arguments_go_to_the_pipeline_alone_and_win(tmp_path, monkeypatch, capfd):
    write_child(tmp_path, monkeypatch, "print(*sys.argv[2:])")
    assert runner.run([nodes.NodeStart("a", "a"), nodes.NodeStart("b", "b")], ["--ros-args", "-r", "x:=y"]) == 0
    lines = sorted(capfd.readouterr().out.splitlines())
    assert lines == [
        "[a] --ros-args -r x:=y --ros-args -r __node:=a --ros-args -r x:=y",  # first remapping, last parameter
        "[b] --ros-args -r __node:=b",
    ]


def test_nodes_end_when_the_runner_is_killed():
    code = (
        "from deep_tracking_ros.ros import runner, nodes\n"
        "runner._CODE = runner._CODE.split('from')[0] + 'import time; print(\"up\", flush=True); time.sleep(600)'\n"
        "p = runner.Processes(); child = p.start(nodes.NodeStart('a', 'a')); print(child.pid, flush=True); p.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert "up" in parent.stdout.readline()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return  # ended; whoever adopted it has not looked yet
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the node outlived its runner")

"""What of a bag is played beside live nodes."""

import pytest

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.ros.bags import COMPRESSED, IMAGE, BagWriter, Topic, describe
from deep_tracking_ros.ros.interfaces import make
from deep_tracking_ros.ros.nodes import resolve
from deep_tracking_ros.ros.player_topics import DIAGNOSTICS, MARKERS, beside, chosen, recorded_results

TRACKS = "deep_tracking_ros/msg/TrackedBoxArray"
TRACKS_3D = "deep_tracking_ros/msg/TrackedBox3DArray"
DETECTIONS = "deep_tracking_ros/msg/Detection2DArray"
RESULTS = {
    "/it/boxes": TRACKS,
    "/it/boxes_vision": "vision_msgs/msg/Detection2DArray",
    "/it/overlay": IMAGE,
    "/it/overlay/compressed": COMPRESSED,
    "/front/mot3d/boxes": TRACKS_3D,
    "/front/mot3d/markers": MARKERS,
    "/detector/front/image/overlay": IMAGE,
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}
SENSORS = {
    "/camera/image": IMAGE,
    "/camera/overlay": IMAGE,  # somebody else's
    "/map/markers": MARKERS,
    "/yolo_vision": "vision_msgs/msg/Detection2DArray",
    "/detector/detections": DETECTIONS,
    "/tf": "tf2_msgs/msg/TFMessage",
}
TOPICS = [Topic(name, type_, 1) for name, type_ in {**SENSORS, **RESULTS, "/clock": "rosgraph_msgs/msg/Clock"}.items()]


def test_results_of_our_nodes_are_told_from_what_sensors_and_others_gave():
    assert recorded_results(TOPICS) == list(RESULTS)
    assert chosen(TOPICS, False, []) == (list(SENSORS), list(RESULTS))
    assert chosen(TOPICS, True, []) == ([*SENSORS, *RESULTS], [])


def test_results_that_a_node_listens_to_are_played():
    played, left_out = chosen(TOPICS, False, ["/it/overlay", "/front/mot3d/boxes"])
    assert {"/it/overlay", "/it/overlay/compressed", "/front/mot3d/boxes"} <= set(played)
    assert "/it/boxes" in left_out


@pytest.fixture
def bag(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for name, type_ in {"/camera/image": IMAGE, "/mot/boxes": TRACKS, "/boxes_3d": TRACKS_3D}.items():
            writer.write_message(name, make(type_), 1)
    return str(tmp_path / "bag")


@pytest.mark.parametrize(
    ("launch", "values", "extra", "listens"),
    [
        ("tracker", {}, (), {"/camera/image"}),
        ("tracker", {"tracks": "/mot/boxes"}, (), {"/camera/image", "/mot/boxes"}),
        ("tracker", {"tracks": "mot/boxes", "namespace": "front"}, (), {"/camera/image", "/front/mot/boxes"}),
        ("tracker", {}, ("--ros-args", "-r", "tracks:=/mot/boxes"), {"/camera/image", "/mot/boxes"}),
    ],
)
def test_the_player_knows_what_the_started_nodes_listen_to(bag, launch, values, extra, listens):
    node, player = beside(resolve(launch, {"bag": bag, **values}), extra)
    assert set(player.parameters["inputs"].split(",")) == listens
    assert player.parameters["results"] is False
    assert "results" not in node.parameters


def test_fusion_is_fed_tracks(bag, tmp_path):
    with BagWriter(tmp_path / "both") as writer:
        for name, type_ in {
            "/camera/camera_info": "sensor_msgs/msg/CameraInfo",
            "/boxes": TRACKS,
            "/boxes_3d": TRACKS_3D,
            "/old/boxes": TRACKS,
            DIAGNOSTICS: "diagnostic_msgs/msg/DiagnosticArray",
        }.items():
            writer.write_message(name, make(type_), 1)
    *_, player = beside(resolve("fusion", {"bag": str(tmp_path / "both")}))
    played, left_out = chosen(describe(tmp_path / "both").topics, False, player.parameters["inputs"].split(","))
    assert set(played) == {"/camera/camera_info", "/boxes", "/boxes_3d"}
    assert set(left_out) == {"/old/boxes", DIAGNOSTICS}


def test_play_takes_all_or_some_but_not_both(bag):
    from typer.testing import CliRunner

    from deep_tracking_ros.cli import main

    result = CliRunner().invoke(main.app, ["play", bag, "--all", "--topic", "/mot/boxes"])
    assert isinstance(result.exception, InvalidRequestError)
    assert "either --all or --topic" in str(result.exception)

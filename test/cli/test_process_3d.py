"""``deep-tracking process`` with objects in space, odometry and transforms beside them."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.geometry.poses import inverse, pose_of_angles
from deep_tracking_ros.ros.bags import ResultWriter, read_items
from deep_tracking_ros.types import (
    Detection3D,
    Detections3D,
    Odometry,
    StaticTransforms,
    TrackedBoxes3D,
    Transform,
    Transforms,
)

START, DT, FRAMES = 10**9, 100_000_000, 12
SIZE = np.array([4.2, 1.8, 1.5])
PARKED = pose_of_angles(20, 4, 0.8, 0, 0, 0.3)
MOUNT = pose_of_angles(1, 0, 2, 0, 0, 0.2)


def robot(k):
    return pose_of_angles(0.8 * k, 0, 0, 0, 0, 0.03 * k)


def write(path, child="lidar", second_odometry=False, detections_frame="lidar", transforms=False):
    """Detections at 10 Hz of a parked car, odometry at 20 Hz which comes 30 ms late, all from a robot that drives."""
    sensor = (lambda k: robot(k) @ MOUNT) if transforms else robot
    rows = []
    for k in range(FRAMES):
        found = (Detection3D(inverse(sensor(k)) @ PARKED, SIZE, 0.9, "car"),) if k != 6 else ()
        rows.append((START + k * DT, "/boxes", Detections3D(START + k * DT, detections_frame, found)))
        for t in (k + 0.3, k + 0.8):
            stamp = START + round(t * DT)
            move = Odometry(stamp, "odom", child, robot(t))
            if transforms:
                rows.append((stamp + 30_000_000, "/tf", Transforms((Transform(stamp, "odom", "base", robot(t)),))))
            else:
                rows.append((stamp + 30_000_000, "/wheels/odom", move))
            if second_odometry:
                rows.append((stamp + 30_000_000, "/odom2", Odometry(stamp, "odom", child, np.eye(4))))
    rows.sort(key=lambda row: row[0])
    with ResultWriter(path) as writer:
        if transforms:
            writer.write("/tf_static", StaticTransforms((Transform(0, "base", "lidar", MOUNT),)), START - DT)
        for log_time, topic, item in rows:
            writer.write(topic, item, log_time)
    return path


def process(*arguments):
    texts = ["process", *map(str, arguments), "--pipeline", "multi_object_tracker_3d"]
    return CliRunner().invoke(app, texts, catch_exceptions=False)


@pytest.mark.parametrize("mode", ["odometry", "tf"])
def test_a_parked_car_stands_still_seen_from_a_robot_that_drives(tmp_path, mode):
    bag = write(tmp_path / "drive.mcap", transforms=mode == "tf")
    files = [tmp_path / name for name in ("one.mcap", "two.mcap", "table.csv", "figures.json")]
    arguments = (bag, "--set", f"ego_motion={mode}")
    assert process(*arguments, "--out", files[0], "--csv", files[2], "--json", files[3]).exit_code == 0
    assert process(*arguments, "--out", files[1]).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes()

    tracks = list(read_items(files[0], TrackedBoxes3D))
    # the first detections come before any odometry, and what is beside the last ones never comes
    assert [(t.stamp - START) // DT for t in tracks] == list(range(1, FRAMES))
    assert [[b.id for b in t.boxes] for t in tracks] == [[1]] * (FRAMES - 1)
    assert np.linalg.norm(tracks[-1].boxes[0].velocity[:3]) < 0.3
    rows = list(csv.DictReader(files[2].open()))
    assert len(rows) == FRAMES - 1
    assert (rows[-1]["id"], rows[-1]["label"], rows[-1]["frame_id"]) == ("1", "car", "lidar")
    sensor = robot(11) @ MOUNT if mode == "tf" else robot(11)
    place = inverse(sensor) @ PARKED
    assert [float(rows[-1][axis]) for axis in "xyz"] == pytest.approx(place[:3, 3].tolist(), abs=0.05)
    assert float(rows[-1]["yaw"]) == pytest.approx(np.arctan2(place[1, 0], place[0, 0]), abs=0.02)
    figures = json.loads(files[3].read_text())
    assert (figures["frames"], figures["processed"], figures["without_pose"]) == (FRAMES, FRAMES - 1, 1)
    assert figures["boxes"]["OCCLUDED"] == 1


def test_without_compensation_it_moves(tmp_path):
    out = tmp_path / "out.mcap"
    assert process(write(tmp_path / "drive.mcap"), "--out", out).exit_code == 0
    tracks = list(read_items(out, TrackedBoxes3D))
    assert len(tracks) == FRAMES
    assert np.linalg.norm(tracks[-1].boxes[0].velocity[:3]) > 5


def test_a_part_of_a_bag(tmp_path):
    out = tmp_path / "out.mcap"
    bag = write(tmp_path / "drive.mcap")
    assert process(bag, "--set", "ego_motion=odometry", "--start", 0.3, "--end", 0.7, "--out", out).exit_code == 0
    assert [(t.stamp - START) // DT for t in read_items(out, TrackedBoxes3D)] == [3, 4, 5, 6, 7]


def test_a_live_run_is_simulated_with_what_is_beside(tmp_path):
    figures = tmp_path / "figures.json"
    arguments = ("--set", "ego_motion=odometry", "--realtime", "--latency-ms", 120, "--json", figures)
    assert process(write(tmp_path / "drive.mcap"), *arguments).exit_code == 0
    values = json.loads(figures.read_text())
    assert values["frames"] == FRAMES
    assert 0 < values["dropped"] < FRAMES
    assert values["processed"] + values["without_pose"] + values["dropped"] <= FRAMES


def test_the_odometry_that_is_meant(tmp_path):
    bag, out = write(tmp_path / "drive.mcap", second_odometry=True), tmp_path / "out.mcap"
    with pytest.raises(DataError, match="2 topics are, name one of type nav_msgs/msg/Odometry, for odometry"):
        process(bag, "--set", "ego_motion=odometry")
    arguments = ("--set", "ego_motion=odometry", "--topic", "/boxes", "--topic", "odometry:=/wheels/odom")
    assert process(bag, *arguments, "--out", out).exit_code == 0
    assert np.linalg.norm(list(read_items(out, TrackedBoxes3D))[-1].boxes[0].velocity[:3]) < 0.3
    with pytest.raises(InvalidRequestError, match="has no input 'odo'; it has detections, odometry, tf, tf_static"):
        process(bag, "--topic", "odo:=/odom")
    with pytest.raises(DataError, match="topic /x is none of type nav_msgs/msg/Odometry"):
        process(bag, "--set", "ego_motion=odometry", "--topic", "odometry:=/x")


def test_frames_that_do_not_match_end_with_an_error(tmp_path):
    bag = write(tmp_path / "drive.mcap", child="base_link")
    with pytest.raises(
        DataError, match="there is no result: the detections are in the frame 'lidar', but odometry tell"
    ):
        process(bag, "--set", "ego_motion=odometry")


def test_a_bag_without_transforms_says_so(tmp_path):
    with pytest.raises(DataError, match="no transforms lead from 'lidar' of the detections to 'odom'; known are none"):
        process(write(tmp_path / "drive.mcap"), "--set", "ego_motion=tf")


def test_what_goes_wrong_again_and_again_is_told_once(tmp_path):
    texts = ["process", str(write(tmp_path / "drive.mcap")), "--pipeline", "multi_object_tracker_3d"]
    result = CliRunner().invoke(app, [*texts, "--set", "ego_motion=odometry", "--set", "pose_gap=0.04"])
    assert isinstance(result.exception, DataError)
    assert result.stderr.count("apart, the limit pose_gap is") == 1
    assert result.stderr.count("warning: ") == 2  # and before the first odometry


def test_noise_comes_from_a_parameter_file(tmp_path):
    params, out = tmp_path / "params.yaml", tmp_path / "out.mcap"
    params.write_text("/**:\n  ros__parameters:\n    noise: |\n      car: {position: 2.0}\n    max_unseen: 0.5\n")
    assert process(write(tmp_path / "drive.mcap"), "--params", params, "--out", out).exit_code == 0
    assert next(iter(read_items(out, TrackedBoxes3D))).boxes[0].covariance[0, 0] == pytest.approx(4)

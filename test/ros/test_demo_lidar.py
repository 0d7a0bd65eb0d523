"""The demo of lidar proposals as a user starts it."""

import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.demo import app
from deep_tracking_ros.evaluation.lidar_scene import Scene, Thing
from deep_tracking_ros.ros import bags, demo_lidar, interfaces, messages
from deep_tracking_ros.types import Cloud

DT = 100_000_000
SCENE = Scene([Thing("car", (4.5, 1.8, 1.55), 14, 4, speed=8), Thing("car", (4.5, 1.8, 1.55), 16, -5)], speed=3)


def pictures(video):
    import av

    with av.open(str(video)) as container:
        return [(frame.time, frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]


def test_the_simulated_street(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_lidar, "SIMULATED", 4)
    result = CliRunner().invoke(app, ["--lidar", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "simulated street" in result.output
    shown = pictures(tmp_path / "out" / "demo_lidar.mp4")
    assert len(shown) == 4
    assert shown[0][1].shape == (700, 1274, 3)
    assert (shown[0][1] != shown[3][1]).any()


def test_a_bag(tmp_path):
    with bags.BagWriter(tmp_path / "drive") as writer:
        for k in range(4):
            cloud = Cloud(10**9 + k * DT, "lidar", SCENE.sweep(k).cloud.points)
            writer.write_message("/points", messages.to_message(cloud, interfaces.make), cloud.stamp)
    result = CliRunner().invoke(app, ["--lidar", "--data", str(tmp_path / "drive"), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "drive: 4 sweeps" in " ".join(result.output.split())
    assert len(pictures(tmp_path / "demo_lidar.mp4")) == 4


def test_objects_keep_their_ids_while_the_sensor_moves(tmp_path):
    sweeps = [SCENE.sweep(k) for k in range(6)]
    shown = [demo_lidar.Shown(s.cloud, s.pose) for s in sweeps]
    outcome = demo_lidar.run(shown, "test", tmp_path / "x.mp4")
    assert (outcome.sweeps, outcome.ids, outcome.detections) == (6, {1, 2}, 12)
    # half a second is shown over six
    assert pictures(tmp_path / "x.mp4")[-1][0] == pytest.approx(5.0, abs=0.5)


def test_what_cannot_be(tmp_path):
    from deep_tracking_ros.errors import DataError, InvalidRequestError

    with pytest.raises(DataError, match="has no sweeps to show"):
        demo_lidar.run([], "nothing", tmp_path / "x.mp4")
    for arguments in (["--data", "x.npz"], ["--lidar", "--video", "x.mp4"], ["--lidar", "--many"]):
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, InvalidRequestError)
    result = CliRunner().invoke(app, ["--lidar", "--data", str(tmp_path / "none"), "--out", str(tmp_path)])
    assert isinstance(result.exception, DataError)
    same = demo_lidar.Shown(Cloud(0, "lidar", np.zeros((0, 3), np.float32)))
    with pytest.raises(DataError, match="has the stamp of an earlier one"):
        demo_lidar.run([same, same], "twice", tmp_path / "x.mp4")

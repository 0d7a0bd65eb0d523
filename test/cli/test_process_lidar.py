"""``deep-tracking process`` with the sweeps of a lidar."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.evaluation.lidar_scene import Scene, Thing
from deep_tracking_ros.ros.bags import ResultWriter, read_items
from deep_tracking_ros.types import Detections3D


def test_proposals_go_into_a_bag_a_table_and_figures(tmp_path):
    bag, out, table, figures = (tmp_path / name for name in ("drive.mcap", "out.mcap", "out.csv", "out.json"))
    scene = Scene((Thing("car", (4.5, 1.8, 1.55), 12, 4, 0.3),))
    with ResultWriter(bag) as writer:
        for number in range(2):
            cloud = scene.sweep(number).cloud
            writer.write("/velodyne_points", cloud, cloud.stamp)
    texts = ["process", str(bag), "--pipeline", "lidar_proposals", "--out", str(out)]
    texts += ["--csv", str(table), "--json", str(figures), "--set", "least_score=0.5"]
    assert CliRunner().invoke(app, texts, catch_exceptions=False).exit_code == 0
    assert [len(item.detections) for item in read_items(out, Detections3D)] == [1, 1]
    rows = list(csv.DictReader(table.open()))
    assert [(row["label"], row["id"], row["state"], row["vx"], row["vz"]) for row in rows] == [
        ("car", "", "", "", "")
    ] * 2
    assert [float(rows[0][axis]) for axis in "xy"] == pytest.approx([12, 4], abs=0.3)
    # which way the car faces is not seen
    assert abs(np.sin(float(rows[0]["yaw"]) - 0.3)) < 0.1
    values = json.loads(figures.read_text())
    assert (values["processed"], values["boxes"]) == (2, {"car": 2})

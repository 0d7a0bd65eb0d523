"""``deep-tracking process`` with a pipeline that is not fed with images."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.ros.bags import ResultWriter, read_items
from deep_tracking_ros.types import Detection, Detections, TrackedBoxes


@pytest.fixture
def bag(tmp_path):
    path = tmp_path / "detections.mcap"
    with ResultWriter(path) as writer:
        for k in range(10):
            box = np.array([10 + 2 * k, 20, 50 + 2 * k, 100], np.float32)
            item = Detections(10**9 + k * 40_000_000, "camera", (Detection(box, 0.9, "person"),) if k != 5 else ())
            writer.write("/detections", item, item.stamp)
    return path


def process(*arguments):
    return CliRunner().invoke(app, ["process", *map(str, arguments)], catch_exceptions=False)


def test_detections_of_a_bag_get_ids(bag, tmp_path):
    out, figures = tmp_path / "tracks.mcap", tmp_path / "figures.json"
    arguments = (bag, "--pipeline", "multi_object_tracker", "--set", "memory=0.5", "--out", out, "--json", figures)
    assert process(*arguments).exit_code == 0
    tracks = list(read_items(out, TrackedBoxes))
    assert [t.stamp for t in tracks] == [10**9 + k * 40_000_000 for k in range(10)]
    assert [[b.id for b in t.boxes] for t in tracks] == [[1]] * 10
    values = json.loads(figures.read_text())
    assert values["processed"] == 10
    assert values["boxes"] == {"CONFIRMED": 9, "OCCLUDED": 1}


def test_what_cannot_be_is_said(bag, tmp_path):
    with pytest.raises(InvalidRequestError, match="takes Detections, not images"):
        process(bag, "--pipeline", "multi_object_tracker", "--mp4", tmp_path / "x.mp4")
    with pytest.raises(DataError, match="topic /other is none of type deep_tracking_ros/msg/Detection2DArray"):
        process(bag, "--pipeline", "multi_object_tracker", "--topic", "/other")
    with pytest.raises(DataError, match="no topic is of type deep_tracking_ros/msg/TrackedBoxArray"):
        list(read_items(bag, TrackedBoxes))

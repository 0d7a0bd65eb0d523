"""``deep-tracking process`` finds objects in a video, and follows what it found, in one command."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.pipelines.sources import read_video
from deep_tracking_ros.ros.bags import read_items
from deep_tracking_ros.types import Detections, TrackedBoxes
from deep_tracking_ros.visualization.video import VideoWriter

FRAMES, STEP = 30, 4  # px per image


def process(*arguments):
    result = CliRunner().invoke(app, ["process", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A textured square of 60 px that moves to the right over a textured ground, 25 images a second."""
    rng = np.random.default_rng(1)
    ground, square = (rng.integers(30, 226, (n, m, 3)).astype(np.uint8).repeat(6, 0).repeat(6, 1) for n, m in
                      ((40, 54), (10, 10)))  # fmt: skip
    path = tmp_path_factory.mktemp("clip") / "square.mp4"
    with VideoWriter(path, fps=25) as writer:
        for k in range(FRAMES):
            image = ground.copy()
            image[90:150, 20 + STEP * k : 80 + STEP * k] = square
            writer.write(image, k * 40_000_000)
    return path


def test_detections_of_a_video(clip, tmp_path):
    out, table, video, figures = (tmp_path / name for name in ("d.mcap", "d.csv", "d.mp4", "d.json"))
    process(clip, "--pipeline", "detector", "--set", "score=0.5", "--out", out, "--csv", table, "--mp4", video,
            "--json", figures)  # fmt: skip
    found = list(read_items(out, Detections, "/detector/detections"))
    assert len(found) == FRAMES
    counts = [len(item.detections) for item in found]
    assert counts[0] == 0
    assert counts[5:] == [1] * (FRAMES - 5)
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == sum(counts)
    assert {(row["label"], row["id"], row["state"]) for row in rows} == {("moving", "", "")}
    assert float(rows[-1]["x"]) == pytest.approx(20 + STEP * (FRAMES - 1), abs=25)
    values = json.loads(figures.read_text())
    assert (values["model"], values["boxes"]) == ("motion", {"moving": sum(counts)})
    assert sum(1 for _ in read_video(video)) == FRAMES


def test_a_detector_and_a_tracker_in_one_command(clip, tmp_path):
    out, table, video = tmp_path / "t.mcap", tmp_path / "t.csv", tmp_path / "t.mp4"
    process(clip, "--pipeline", "multi_object_tracker", "--detector", "motion", "--detector-set", "score=0.5",
            "--set", "start_score=0.6", "--out", out, "--csv", table, "--mp4", video)  # fmt: skip
    items = list(read_items(out, TrackedBoxes, "/multi_object_tracker/boxes"))
    assert len(items) == FRAMES
    assert {(item.width, item.height, item.model) for item in items} == {(324, 240, "motion")}
    assert {box.id for item in items for box in item.boxes} == {1}
    (last,) = items[-1].boxes
    assert last.label == "moving"
    assert last.velocity[0] == pytest.approx(STEP * 25, rel=0.3)
    rows = list(csv.DictReader(table.open()))
    assert {row["id"] for row in rows} == {"1"}
    assert sum(1 for _ in read_video(video)) == FRAMES


def test_the_same_video_gives_the_same_bytes(clip, tmp_path):
    chain = ("--pipeline", "multi_object_tracker", "--detector", "motion", "--set", "camera_motion=true", "--out")
    for name in ("a.mcap", "b.mcap"):
        process(clip, *chain, tmp_path / name)
    assert (tmp_path / "a.mcap").read_bytes() == (tmp_path / "b.mcap").read_bytes()


def test_what_cannot_be_is_said(clip):
    with pytest.raises(InvalidRequestError, match="give --pipeline detector --set model=motion"):
        process(clip, "--detector", "motion")
    with pytest.raises(InvalidRequestError, match=r"--detector-set 'scroe=1' is not name=value; names are .*score"):
        process(clip, "--pipeline", "multi_object_tracker", "--detector", "motion", "--detector-set", "scroe=1")

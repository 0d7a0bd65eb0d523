"""``deep-tracking process`` with what two trackers wrote, each into a bag of its own."""

import json

from pipelines.test_fusion_pipeline import CAMERA, LEFT, NEAR, PLACE, in_image, in_space
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.ros.bags import ResultWriter, read_items
from deep_tracking_ros.types import TrackedBoxes3D


def record(path, topic, *items):
    """Log times of their own: recordings made at different times have only stamps in common."""
    with ResultWriter(path) as writer:
        for log_time, item in enumerate(items):
            writer.write(topic, item, log_time + 1000 * len(topic))
    return str(path)


def test_objects_of_two_runs_are_linked(tmp_path):
    space = record(
        tmp_path / "space.mcap", "/multi_object_tracker_3d/boxes", *(in_space(k, NEAR, LEFT) for k in range(9))
    )
    image = record(tmp_path / "image.mcap", "/multi_object_tracker/boxes", *(in_image(k, NEAR) for k in range(9)))
    drive = record(tmp_path / "drive.mcap", "/camera/camera_info", *[CAMERA] * 9)
    out, figures = tmp_path / "fused.mcap", tmp_path / "figures.json"
    texts = ["process", space, "--pipeline", "fusion", "--set", f"camera_pose={PLACE}", "--beside", image]
    texts += ["--beside", drive, "--out", str(out), "--json", str(figures)]
    assert CliRunner().invoke(app, texts, catch_exceptions=False).exit_code == 0
    fused = list(read_items(out, TrackedBoxes3D))
    assert [item.stamp for item in fused] == [in_space(k).stamp for k in range(9)]
    # calibration has no time, so all of it comes before the first boxes
    assert [[(box.id, box.image_id) for box in item.boxes] for item in fused] == [[(7, 40), (8, 0)]] * 9
    assert json.loads(figures.read_text())["processed"] == 9

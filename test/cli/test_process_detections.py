"""``deep-tracking process`` with a pipeline that is not fed with images."""

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.ros import interfaces
from deep_tracking_ros.ros.bags import IMAGE, BagWriter, ResultWriter, read_items
from deep_tracking_ros.ros.images import fill_image
from deep_tracking_ros.ros.messages import set_stamp, to_message
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


def test_images_beside_the_detections_take_the_cameras_motion_out(tmp_path):
    """The camera turns by 60 px at once: only with the images of the bag it is seen that the object stood still."""
    noise = np.random.default_rng(0).integers(0, 255, (18, 24, 3), np.uint8)
    picture = cv2.resize(noise, (960, 720), interpolation=cv2.INTER_CUBIC)
    bag = tmp_path / "drive.mcap"
    with BagWriter(bag) as writer:
        for k, shift in enumerate([0, 0, 0, 60]):
            stamp = 10**9 + k * 40_000_000
            image = fill_image(interfaces.make(IMAGE), np.roll(picture, shift, 1))
            set_stamp(image.header.stamp, stamp)
            image.header.frame_id = "camera"
            writer.write_message("/camera/image", image, stamp)
            box = np.array([380 + shift, 10, 420 + shift, 90], np.float32)
            found = to_message(Detections(stamp, "camera", (Detection(box, 0.9, "person"),)), interfaces.make)
            writer.write_message("/detections", found, stamp + 1)
    ids = {}
    for value in ("true", "false"):
        out = tmp_path / f"{value}.mcap"
        arguments = ("--pipeline", "multi_object_tracker", "--set", f"camera_motion={value}", "--out", out)
        assert process(bag, *arguments).exit_code == 0
        ids[value] = [box.id for box in list(read_items(out, TrackedBoxes))[-1].boxes]
    assert ids == {"true": [1], "false": [1, 2]}

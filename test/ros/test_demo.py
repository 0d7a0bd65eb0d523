"""The demo on a clip of known motion."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli import main
from deep_tracking_ros.errors import DataError, OutsideImageError
from deep_tracking_ros.ros import bags, demo, interfaces
from deep_tracking_ros.types import NANOSECONDS, Mask, State, TrackedBox, TrackedBoxes
from deep_tracking_ros.visualization.video import VideoWriter

MAKEFILE = Path(__file__).parents[2] / "Makefile"
SIZE = 40  # px, of the square that moves 3 px per frame


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """2 s at 25 frames per second: a textured square that moves to the right over a textured ground."""
    path = tmp_path_factory.mktemp("clip") / "square.mp4"
    rng = np.random.default_rng(1)
    ground = np.kron(rng.integers(60, 120, (30, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    square = np.kron(rng.integers(0, 256, (5, 5, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    with VideoWriter(path, fps=25) as writer:
        for i in range(50):
            image = ground.copy()
            image[100 : 100 + SIZE, 60 + 3 * i : 60 + 3 * i + SIZE] = square
            writer.write(image, i * NANOSECONDS // 25)
    return path


def test_clips_become_a_camera_and_an_operator(clip, tmp_path):
    drawn = demo.Drawn(5, (75, 100, SIZE, SIZE), "square", until=30)
    acts, count = demo.write_clips([demo.Clip(clip, (drawn,)), demo.Clip(clip, ())], tmp_path / "bag", 10.0)
    stamps = [frame.stamp for frame in bags.read_frames(tmp_path / "bag")]
    assert count == len(stamps) == 100
    assert stamps[0] == demo.START
    assert (np.diff(stamps[:50]) == NANOSECONDS // 25).all()
    assert stamps[50] - stamps[49] == demo.GAP
    start, end = acts
    assert start.stamp == stamps[5]
    assert start.at == stamps[5] + round(demo.REACTION * NANOSECONDS)  # on a frame that is past by then
    assert (end.at, end.stamp) == (stamps[30], 0)


def test_only_the_beginning_of_a_long_clip(clip, tmp_path):
    assert demo.write_clips([demo.Clip(clip, ())], tmp_path / "bag", 1.0)[1] == 25


def test_large_clips_are_sent_smaller_and_their_boxes_too(tmp_path):
    with VideoWriter(tmp_path / "large.mp4") as writer:
        writer.write(np.zeros((1080, 1920, 3), np.uint8), 0)
    drawn = demo.Drawn(0, (300, 150, 60, 90), "it")
    acts, _ = demo.write_clips([demo.Clip(tmp_path / "large.mp4", (drawn,))], tmp_path / "bag", 1.0)
    assert next(bags.read_frames(tmp_path / "bag")).image.shape == (720, 1280, 3)
    assert next(act.scale for act in acts if act.stamp) == pytest.approx(2 / 3)


def test_what_cannot_be_played(clip, tmp_path):
    with pytest.raises(DataError, match=r"there is no video .*none\.mp4"):
        demo.write_clips([demo.Clip(Path("none.mp4"), ())], tmp_path / "a", 1.0)
    with pytest.raises(OutsideImageError, match=r"outside of square\.mp4 \(320x240 px\)"):
        demo.write_clips([demo.Clip(clip, (demo.Drawn(0, (400, 10, 20, 20), "x"),))], tmp_path / "b", 1.0)


def test_sample_clips_are_there_and_boxes_lie_on_them(tmp_path):
    clips = demo.sample_clips()
    assert [c.path.name for c in clips] == ["bikes.mp4", "carphone_pristine.mp4"]
    acts, count = demo.write_clips(clips, tmp_path / "bag", 30.0)
    assert count == 370
    assert [a.drawn.label for a in acts if a.stamp] == ["cyclist", "bicycle", "head"]


def test_diagnostics_are_those_of_our_tracker():
    array = interfaces.make("diagnostic_msgs/msg/DiagnosticArray")
    for name in ("single_object_tracker", "front/single_object_tracker"):
        status = interfaces.make("diagnostic_msgs/msg/DiagnosticStatus")
        status.name, value = name, interfaces.make("diagnostic_msgs/msg/KeyValue")
        value.key, value.value = "whose", name
        status.values = [value]
        array.status.append(status)
    watched = SimpleNamespace(seen=demo.Seen())
    demo.Operator._on_diagnostics(watched, interfaces.serialize(array, "diagnostic_msgs/msg/DiagnosticArray"))
    assert watched.seen.diagnostics == {"whose": "single_object_tracker"}


def test_boxes_grow_with_the_picture():
    box = TrackedBox(1, np.float32([-0.5, -0.5, 9.5, 4.5]), State.TRACKED, 1.0)  # the pixels 0 to 9 and 0 to 4
    item = TrackedBoxes(0, "", 0, 0, 10, 5, "m", (box,))
    assert demo.enlarged(item, 3.0).boxes[0].box.tolist() == [-0.5, -0.5, 29.5, 14.5]


@pytest.mark.parametrize("scale", [0.75, 1.0, 2.8125, 3.0])
def test_contour_and_mask_stay_on_their_box_in_the_larger_picture(scale):
    left, top, right, bottom = edges = np.float32([59.5, 19.5, 119.5, 99.5])  # the pixels 60 to 119 and 20 to 99
    middle, height = (left + right) / 2, (top + bottom) / 2
    contour = np.float32([[middle, top], [right, height], [middle, bottom], [left, height]])
    upper = np.zeros((80, 60), np.uint8)
    upper[:40] = 255
    box = TrackedBox(1, edges, State.TRACKED, 1.0, contour=contour, mask=Mask(60, 20, upper))
    (larger,) = demo.enlarged(TrackedBoxes(0, "", 0, 0, 320, 240, "m", (box,)), scale).boxes
    np.testing.assert_allclose([*larger.contour.min(0), *larger.contour.max(0)], larger.box, atol=1e-4)
    mask = larger.mask
    covered = [mask.x, mask.y, mask.x + mask.data.shape[1], mask.y + mask.data.shape[0]]
    np.testing.assert_allclose(np.subtract(covered, 0.5), larger.box, atol=0.51)  # whole pixels
    assert set(np.unique(mask.data)) == {0, 255}
    rows = mask.data.any(1)
    assert rows[0]
    assert np.count_nonzero(rows) == pytest.approx(40 * scale, abs=1)
    assert larger.box[2] - larger.box[0] == pytest.approx(60 * scale, abs=1e-4)


def test_make_passes_what_was_chosen_to_the_demo():
    if shutil.which("make") is None or not MAKEFILE.exists():
        pytest.skip("there is no make, or no checkout with its Makefile")
    chosen = ["VIDEO=my walk.mp4", "BOX=1,2,3,4", "MODEL=siamrpn", "OUT=my out"]

    def command(*arguments):  # -n only prints, setup too; variables of the environment would be taken as chosen
        made = subprocess.run(
            ["make", "-n", "demo", *arguments],
            cwd=MAKEFILE.parent, env={"PATH": os.environ["PATH"]}, text=True, capture_output=True, check=True,
        )  # fmt: skip
        return shlex.split(made.stdout.replace("\\\n", " ").partition("/deep-tracking ")[2])

    assert command() == ["demo"]
    assert command(*chosen) == [
        "demo", "--video", "my walk.mp4", "--box", "1,2,3,4", "--model", "siamrpn", "--out", "my out"
    ]  # fmt: skip


@pytest.mark.ros
def test_a_target_is_followed_from_camera_to_picture(clip, tmp_path):
    pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
    pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")
    from deep_tracking_ros.geometry.boxes import iou
    from deep_tracking_ros.ros import messages

    out = tmp_path / "out"
    arguments = ["demo", "--video", str(clip), "--box", f"60,100,{SIZE},{SIZE}", "--out", str(out)]
    result = CliRunner().invoke(main.app, arguments)
    log = (out / "demo.log").read_text() if (out / "demo.log").exists() else ""
    assert result.exit_code == 0, f"{result.output}\n{result.exception}\n{log}"
    assert "images in" in result.output
    assert "50 of 50" in result.output
    assert (out / "demo.mp4").stat().st_size > 1000
    overlaps = []
    for message in bags.read_messages(out / "demo.mcap", [demo.BOXES]):
        item = messages.from_message(TrackedBoxes, interfaces.deserialize(message.data, message.type))
        number = round((item.stamp - demo.START) * 25 / NANOSECONDS)
        left = 60 + 3 * number - 0.5
        true = np.float32([left, 99.5, left + SIZE, 99.5 + SIZE])
        overlaps += [float(iou(box.box, true)) for box in item.boxes]
    assert len(overlaps) > 10
    assert np.median(overlaps) > 0.5

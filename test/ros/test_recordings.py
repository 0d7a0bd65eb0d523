"""Recordings of lost targets: what is in the file, how large the folder becomes, and that they can be replayed."""

import fcntl
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from patience import PATIENCE
from pipelines.template_tracker import STEP, TemplateTracker, box_at, frame, picture
from typer.testing import CliRunner

from deep_tracking_ros.cli.process import app
from deep_tracking_ros.errors import DataError
from deep_tracking_ros.geometry.boxes import check_box, iou
from deep_tracking_ros.pipelines.black_box import Moment, Place, Recording
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.pipelines.single_object import SingleObjectParameters, SingleObjectPipeline
from deep_tracking_ros.ros import bags
from deep_tracking_ros.ros.black_box import BOXES, IMAGES, TARGETS, BlackBoxFolder, BlackBoxWriter, Window, start_boxes
from deep_tracking_ros.single_object import registry
from deep_tracking_ros.types import Frame, Mask, State, TrackedBox, TrackedBoxes

T0 = 10 * 10**9


def recording(positions=((60, 60),) * 8, offset=T0, **values):
    """Of a target at these pixels that is gone then."""
    values = {"black_box": "x", **values}
    pipeline = SingleObjectPipeline(SingleObjectParameters(**values), TemplateTracker())
    pipeline.command(SetTarget(box_at(*positions[0]), label="cup"))
    for i, position in enumerate([*positions, None]):
        one = frame(i, position, offset=offset)
        pipeline.remember("image", one)
        outputs = list(pipeline.step("image", one))
    (found,) = (output.item for output in outputs if isinstance(output.item, Recording))
    return found


def folder(path, megabytes=100.0):
    return BlackBoxFolder(Place(str(path), round(megabytes * 1e6)), "/front/tracker")


def synthetic(boxes, size, mask=None):
    """A recording of one target with these boxes in noise of this size."""
    image = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    moments = []
    for i, box in enumerate(boxes):
        state = State.LOST if i == len(boxes) - 1 else State.TRACKED
        tracked = TrackedBox(7, np.float32(box), state, 0.5, mask=mask, contour=np.float32(box).reshape(2, 2))
        result = TrackedBoxes(T0 + i * STEP, "camera", 0, T0 + i * STEP, *size, "template", (tracked,))
        moments.append(Moment(Frame(image, T0 + i * STEP, "camera"), result))
    return Recording((7,), tuple(moments))


def test_a_file_holds_images_boxes_and_where_to_start(tmp_path):
    path = folder(tmp_path / "new").add(recording())
    assert path.name == "black_box_front_tracker_10.320000000_target1.mcap"
    topics = {topic.name: topic.count for topic in bags.describe(path).topics}
    assert topics == {IMAGES: 9, BOXES: 9, TARGETS: 1}
    ((stamp, box),) = start_boxes(path)
    assert (stamp, box.label) == (T0, "cup")
    frames = list(bags.read_frames(path))
    assert [one.stamp for one in frames] == [T0 + i * STEP for i in range(9)]
    assert {one.frame_id for one in frames} == {"camera"}
    results = list(bags.read_items(path, TrackedBoxes, BOXES))
    height, width = frames[0].image.shape[:2]
    assert {(r.width, r.height) for r in results} == {(width, height)}
    assert [r.boxes[0].state for r in results] == [State.TRACKED] * 8 + [State.LOST]
    match = cv2.matchTemplate(frames[0].image, picture((60, 60))[50:70, 50:70], cv2.TM_CCOEFF_NORMED)
    np.testing.assert_array_equal(cv2.minMaxLoc(match)[3], box.box[:2] + 0.5)
    assert list(tmp_path.glob("*/.*")) == []
    from mcap.reader import make_reader

    with path.open("rb") as stream:
        (about,) = make_reader(stream).iter_metadata()
    assert about.metadata["lost"] == "1"
    assert about.metadata["model"] == "template"


def test_a_small_target_keeps_its_pixels_and_a_wide_scene_becomes_smaller():
    small = [np.float32([999.5, 499.5, 1029.5, 519.5])]
    near = Window.around(small, small, (1920, 1080))
    assert near.scale == 1
    assert (near.width, near.height) == (180, 120)
    crossing = [np.float32([10, 10, 200, 200]), np.float32([1700, 800, 1900, 1000])]
    wide = Window.around(crossing, crossing[:1], (1920, 1080))
    assert (wide.left, wide.top, wide.width, wide.height) == (0, 0, 1920, 1080)
    assert wide.size == (960, 540)
    np.testing.assert_allclose(wide.points(np.float32([-0.5, -0.5, 1919.5, 1079.5])), [-0.5, -0.5, 959.5, 539.5])


@pytest.mark.parametrize(("side", "scale"), [(12, 8 / 12), (30, 8 / 30), (40, 960 / 3840), (5, 1)])
def test_a_small_target_that_crosses_a_wide_image_can_be_started_again(side, scale):
    first, last = np.float32([100, 1000, 100, 1000]), np.float32([3600, 300, 3600, 300])
    box = np.float32([0, 0, side, side])
    window = Window.around([first + box, last + 4 * box], [first + box], (3840, 2160))
    assert window.scale == pytest.approx(scale, abs=0.01)
    placed = window.points(first + box)
    check_box(placed, *window.size, TemplateTracker.smallest)
    assert (placed[2:] - placed[:2]).min() >= min(side, 8) - 1e-3 or side == 40


def test_boxes_masks_and_contours_follow_into_the_window(tmp_path):
    mask = Mask(1000, 500, np.full((20, 30), 255, np.uint8))
    path = folder(tmp_path).add(synthetic([(999.5, 499.5, 1029.5, 519.5)] * 4, (1920, 1080), mask))
    box = next(bags.read_items(path, TrackedBoxes, BOXES)).boxes[0]
    np.testing.assert_allclose(box.box, [74.5, 49.5, 104.5, 69.5], atol=1)
    np.testing.assert_allclose(box.contour, box.box.reshape(2, 2))
    assert (box.mask.x, box.mask.y) == tuple(np.rint(box.box[:2] + 0.5))
    assert box.mask.data.shape == (20, 30)
    large = folder(tmp_path).add(synthetic([(-0.5, -0.5, 599.5, 599.5)] * 4, (1920, 1080), mask))
    box = next(bags.read_items(large, TrackedBoxes, BOXES)).boxes[0]
    np.testing.assert_allclose((box.mask.x, box.mask.y), (500, 250), atol=1)
    assert box.mask.data.shape == (10, 15)


def test_the_oldest_recordings_go_first(tmp_path):
    one = folder(tmp_path).add(recording())
    size = one.stat().st_size
    limited = folder(tmp_path, 3.5 * size / 1e6)
    other = tmp_path / "mine.mcap"
    other.write_bytes(bytes(10 * size))  # not ours: neither counted nor removed
    paths = [one]
    os.utime(one, ns=(time.time_ns() - 10**11,) * 2)
    for i in range(1, 6):
        paths.append(limited.add(recording(offset=T0 + i * 10**9)))
        os.utime(paths[-1], ns=(time.time_ns() - (10 - i) * 10**9,) * 2)
        assert sum(p.stat().st_size for p in tmp_path.glob("black_box_*")) <= limited.limit
    assert [path.exists() for path in paths] == [False, False, False, True, True, True]
    assert other.exists()
    os.utime(paths[3], ns=(time.time_ns() + 10**13,) * 2)  # the clock was wrong for a while
    last = limited.add(recording(offset=T0 + 6 * 10**9))
    assert [path.exists() for path in (*paths[3:], last)] == [True, False, True, True]


def test_one_that_is_larger_than_the_limit_is_an_error_and_the_others_stay(tmp_path):
    old = [folder(tmp_path).add(recording(offset=T0 + i * 10**9)) for i in range(3)]
    size = sum(path.stat().st_size for path in old)
    noise = synthetic([(0, 0, 639, 479)] * 9, (640, 480))
    with pytest.raises(DataError, match=r"of \d.* MB is larger than black_box_mb, .*raise black_box_mb"):
        folder(tmp_path, 1.5 * size / 1e6).add(noise)
    assert sorted(tmp_path.iterdir()) == sorted(old)


def test_what_a_crash_left_behind_is_removed_and_what_is_being_written_stays(tmp_path):
    size = folder(tmp_path).add(recording()).stat().st_size
    left = [tmp_path / f".black_box_tracker_{i}.000000000_target1.{os.getpid()}.mcap" for i in range(4)]
    for part in left:
        part.write_bytes(bytes(size))
    limited = folder(tmp_path, 2.5 * size / 1e6)
    with left[0].open("wb") as writing:  # by another node
        fcntl.flock(writing, fcntl.LOCK_EX)
        writing.write(bytes(size))
        writing.flush()
        limited.add(recording(offset=T0 + 10**9))
        assert [part.exists() for part in left] == [True, False, False, False]
        assert len(list(tmp_path.glob("black_box_*"))) == 1  # beside it there is room for one
    limited.check()
    assert not left[0].exists()


def test_another_run_with_the_same_stamps_gets_a_number(tmp_path):
    place = folder(tmp_path)
    paths = [place.add(recording(positions)) for positions in (((60, 60),) * 8, ((61, 60),) * 8, ((60, 60),) * 8)]
    assert [path.name.removeprefix("black_box_front_tracker_10.320000000_target1") for path in paths] == [
        ".mcap",
        "_2.mcap",
        ".mcap",  # the same recording
    ]
    assert sorted(tmp_path.iterdir()) == sorted(paths[:2])


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    writer = BlackBoxWriter(folder(tmp_path / "file" / "box"), print, print)
    assert "file/box cannot be written to (Not a directory)" in writer.error
    writer.put(recording())
    writer.close()
    assert (writer.written, writer.dropped) == (0, 0)
    assert "set black_box to a folder that can" in writer.error


def test_the_writer_never_waits_and_recovers(tmp_path, monkeypatch):
    place = folder(tmp_path)
    told, warned = [], []
    add = place.add
    slow, release = iter([True, *[False] * 99]), threading.Event()

    def hang(item):
        if next(slow):
            release.wait(PATIENCE)
            raise OSError("no space left")
        return add(item)

    monkeypatch.setattr(place, "add", hang)
    writer = BlackBoxWriter(place, told.append, warned.append)
    items = [recording(offset=T0 + i * 10**9) for i in range(6)]
    began = time.monotonic()
    for item in items:
        writer.put(item)
    assert time.monotonic() - began < PATIENCE / 2
    release.set()
    writer.close()
    assert writer.dropped >= 3  # one is being written and two wait
    assert writer.written == len(items) - 1 - writer.dropped == len(told)
    assert writer.error == ""
    assert any("a recording failed (OSError: no space left)" in text for text in warned)
    assert "is the disk slow?" in warned[0]
    assert {Path(text.split(": ")[1]) for text in told} == set(tmp_path.glob("*.mcap"))


# replay


@pytest.fixture
def process(monkeypatch):
    monkeypatch.setattr(registry, "make_tracker", lambda *arguments: TemplateTracker())

    def run(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return run


def test_process_writes_recordings_and_replays_them_without_a_box(process, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(30):
        cv2.imwrite(str(images / f"{i}.png"), picture((40 + 2 * i, 60) if i < 20 else None))
    box = tmp_path / "box"
    arguments = (
        "--target",
        "30,50,20,20:cup",
        "--fps",
        25,
        "--set",
        f"black_box={box}",
        "--set",
        "black_box_seconds=0.4",
    )
    shown = process(images, *arguments)
    (path,) = box.glob("*.mcap")
    assert f"target 1 was lost: {path}" in shown.output
    first = path.read_bytes()
    process(images, *arguments)
    assert path.read_bytes() == first  # the same input, the same bytes

    out = tmp_path / "again.mcap"
    process(path, "--out", out, "--mp4", tmp_path / "again.mp4")
    again = list(bags.read_items(out, TrackedBoxes))
    then = list(bags.read_items(path, TrackedBoxes, BOXES))
    assert len(again) == len(then) == 11
    assert [r.boxes[0].label for r in again] == ["cup"] * 11
    assert [r.boxes[0].state for r in again] == [r.boxes[0].state for r in then]
    assert min(iou(a.boxes[0].box, t.boxes[0].box) for a, t in zip(again, then, strict=True)) > 0.9
    assert (again[0].width, again[0].height) == (then[0].width, then[0].height)

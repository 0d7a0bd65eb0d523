"""``deep-tracking process`` with what others saw in the images: targets by track id, and where lost ones are sought."""

import csv
import json
from dataclasses import replace

import cv2
import pytest
from pipelines.template_tracker import STEP, TemplateTracker, box_at, frame
from typer.testing import CliRunner

from deep_tracking_ros.cli.process import app
from deep_tracking_ros.errors import DataError, DeepTrackingError, InvalidRequestError
from deep_tracking_ros.pipelines.single_object import SingleObjectParameters, SingleObjectPipeline
from deep_tracking_ros.ros import interfaces
from deep_tracking_ros.ros.bags import IMAGE, BagWriter, ResultWriter, read_items
from deep_tracking_ros.ros.images import fill_image
from deep_tracking_ros.ros.messages import set_stamp, to_message
from deep_tracking_ros.single_object import registry
from deep_tracking_ros.types import Detection, Detections, State, TrackedBox, TrackedBoxes

T0 = 10 * 10**9
WIDTH, HEIGHT = 640, 480
LATE = 2  # images by which the boxes of others come late
FRAMES, HIDDEN, BACK = 40, range(10, 25), (560, 420)
"""The object goes out of view and comes back where a search around its last place takes long to look."""


def place(k):
    return None if k in HIDDEN else BACK if k >= HIDDEN.stop else (40 + 3 * k, 60)


def images():
    return [frame(k, place(k), (300, 300), width=WIDTH, height=HEIGHT) for k in range(FRAMES)]


def seen(k):
    """Tracks of image k: the object as 7, another one as 9."""
    there = {7: place(k), 9: (300, 300)}
    boxes = tuple(
        TrackedBox(id_, box_at(*at), State.CONFIRMED, 0.9, "person") for id_, at in there.items() if at is not None
    )
    return TrackedBoxes(T0 + k * STEP, "camera", 0, T0 + k * STEP, WIDTH, HEIGHT, "", boxes)


def found(k):
    return Detections(T0 + k * STEP, "camera", tuple(Detection(box.box, 0.9, "person") for box in seen(k).boxes))


def record(path, topics):
    """A bag of the images, and beside them messages by topic, each a function of the number of an image."""
    with BagWriter(path) as writer:
        for k, item in enumerate(images()):
            message = fill_image(interfaces.make(IMAGE), item.image)
            set_stamp(message.header.stamp, item.stamp)
            message.header.frame_id = "camera"
            writer.write_message("/camera/image", message, item.stamp + 1)
            for number, (topic, make) in enumerate(topics.items()):
                if k >= LATE:
                    writer.write_message(topic, to_message(make(k - LATE), interfaces.make), item.stamp + 2 + number)
    return path


@pytest.fixture
def process(monkeypatch, tmp_path):
    """Runs the command with a small real tracker; gives the rows of its table."""
    monkeypatch.setattr(registry, "make_tracker", lambda *arguments: TemplateTracker())

    def run(*arguments):
        table = tmp_path / "table.csv"
        result = CliRunner().invoke(app, [*map(str, arguments), "--csv", str(table)])
        if isinstance(result.exception, DeepTrackingError):
            raise result.exception
        assert result.exit_code == 0, result.output
        with table.open() as file:
            return list(csv.DictReader(file))

    return run


def number(row):
    return round((float(row["stamp"]) * 10**9 - T0) / STEP)


@pytest.mark.parametrize(
    ("when", "label", "begins"),
    [("", "person", LATE + 1), (":Ann", "Ann", LATE + 1), ("@6", "person", 6), ("@0.2s:Ann", "Ann", 5)],
)
def test_a_track_becomes_the_target_as_soon_as_it_was_seen(process, tmp_path, when, label, begins):
    bag = record(tmp_path / "drive.mcap", {"/mot/boxes": seen})
    rows = [row for row in process(bag, "--track-id", f"7{when}") if number(row) < HIDDEN.start]
    assert [number(row) for row in rows] == list(range(begins, HIDDEN.start))
    assert {(row["id"], row["label"], row["state"]) for row in rows} == {("1", label, "TRACKED")}
    for row in rows:
        # as drawn by `picture`: the first pixel of an object of 20 px
        assert (float(row["x"]), float(row["y"])) == (place(number(row))[0] - 10, 50)


def test_several_topics_of_tracks_are_told_apart_by_name(process, tmp_path):
    bag = record(tmp_path / "drive.mcap", {"/left/boxes": seen, "/right/boxes": seen})
    with pytest.raises(DataError, match=r"2 topics are, name one of type .*TrackedBoxArray, for tracks; all topics"):
        process(bag, "--track-id", 7)
    assert process(bag, "--track-id", 7, "--topic", "tracks:=/right/boxes")
    with pytest.raises(DataError, match=r"topic /x is none of type .*TrackedBoxArray, for tracks"):
        process(bag, "--track-id", 7, "--topic", "tracks:=/x")


@pytest.mark.parametrize(
    ("track", "error", "answer"),
    [
        ("8", DataError, r"track 8 from frame 0 on \(there is no track 8; known ids of tracks are 7, 9\)"),
        ("7@0:Ann@", None, ""),
        ("7@100", DataError, "could be set: track 7 from frame 100 on$"),
        ("x", InvalidRequestError, "--track-id 'x': 'x' is not the id of a track, a whole number from 1 on"),
        ("0", InvalidRequestError, "'0' is not the id"),
    ],
)
def test_what_cannot_be_picked_says_why(process, tmp_path, track, error, answer):
    bag = record(tmp_path / "drive.mcap", {"/tracks": seen})
    if error is None:
        assert process(bag, "--track-id", track)[0]["label"] == "Ann@"
        return
    with pytest.raises(error, match=answer):
        process(bag, "--track-id", track)


def test_without_a_bag_there_are_no_tracks(process, tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(InvalidRequestError, match="is no bag, so there is no topic of tracks in it"):
        process(tmp_path, "--track-id", 7)
    with pytest.raises(InvalidRequestError, match="is no bag, so there is no topic of /mot in it"):
        process(tmp_path, "--target", "1,2,30,40", "--topic", "tracks:=/mot")


TARGET = ("--target", "30,50,20,20", "--set", "search_speed=0.5")
"""Of the object in the first image; the search around its last place grows slowly."""


@pytest.mark.parametrize(
    ("topics", "arguments", "helped"),
    [
        ({"/proposals": found}, (), True),
        ({"/tracks": seen}, (), True),
        ({"/detector/detections": found}, ("--topic", "proposals:=/detector/detections"), True),
        ({"/mot/boxes": seen}, ("--topic", "tracks:=/mot/boxes"), True),
        ({}, (), False),
        # nobody said that these are of others: they may be what this very pipeline published
        ({"/single_object_tracker/boxes": seen, "/detector/detections": found}, (), False),
    ],
)
def test_a_lost_target_is_sought_where_others_see_something(process, tmp_path, topics, arguments, helped):
    rows = process(record(tmp_path / "drive.mcap", topics), *TARGET, *arguments)
    assert {row["state"] for row in rows if number(row) in range(HIDDEN.start + 5, HIDDEN.stop)} == {"LOST"}
    states = [row["state"] for row in rows if number(row) >= HIDDEN.stop]
    assert ("TRACKED" in states[:10]) is helped
    assert (states[-1] == "TRACKED") is helped
    if helped:
        assert (float(rows[-1]["x"]), float(rows[-1]["y"])) == (BACK[0] - 10, BACK[1] - 10)


def results(path, make):
    """A bag as an earlier run of `process` writes it: log times are the stamps of the images."""
    with ResultWriter(path) as writer:
        for k in range(FRAMES):
            writer.write("/multi_object_tracker/boxes", make(k), T0 + k * STEP)
    return path


def test_tracks_may_be_the_results_of_an_earlier_run(process, tmp_path):
    bag, tracks = record(tmp_path / "drive.mcap", {}), results(tmp_path / "tracks.mcap", seen)
    rows = process(bag, "--track-id", "7:Ann", "--beside", tracks)
    assert [number(row) for row in rows[:3]] == [1, 2, 3]  # the tracks of an image come after it
    assert {row["label"] for row in rows} == {"Ann"}
    assert rows[-1]["state"] == "TRACKED"
    named = ("--topic", "tracks:=/multi_object_tracker/boxes")
    assert process(bag, *TARGET, "--beside", tracks, *named)[-1]["state"] == "TRACKED"
    assert process(bag, *TARGET)[-1]["state"] == "LOST"
    with pytest.raises(
        DataError, match=r"nothing in .*tracks\.mcap is taken; name what is meant, such as image:=TOPIC"
    ):
        process(bag, *TARGET, "--beside", tracks)
    with pytest.raises(DataError, match=r"2 topics are called so of type .*TrackedBoxArray, for tracks"):
        process(bag, *TARGET, *named, "--beside", tracks, "--beside", results(tmp_path / "other.mcap", seen))


def test_images_that_are_no_bag_may_have_one_beside_them(process, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k, item in enumerate(images()):
        cv2.imwrite(str(folder / f"{k}.png"), item.image)
    with ResultWriter(tmp_path / "tracks.mcap") as writer:
        for k in range(FRAMES):
            writer.write("/boxes", replace(seen(k), stamp=k * STEP), k * STEP)
    rows = process(folder, "--fps", 25, "--track-id", 7, "--beside", tmp_path / "tracks.mcap")
    assert rows[0]["stamp"] == "0.040000000"
    assert rows[-1]["state"] == "TRACKED"


def test_results_are_those_of_a_live_pipeline(process, tmp_path):
    """What a node does with the same messages: all to `remember`, then to `step`, and the request of an operator."""
    from deep_tracking_ros.cli.chosen import parse_track

    bag, out = record(tmp_path / "drive.mcap", {"/tracks": seen, "/proposals": found}), tmp_path / "out.mcap"
    process(bag, "--track-id", "7@6", "--out", out, "--set", "search_speed=0.5")
    pipeline = SingleObjectPipeline(SingleObjectParameters(search_speed=0.5), TemplateTracker())
    expected = []
    for k, item in enumerate(images()):
        pipeline.remember("image", item)
        if k == 6:
            pipeline.command(parse_track("7").request)
        expected += [output.item for output in pipeline.step("image", item)]
        for port, make in (("tracks", seen), ("proposals", found)):
            if k >= LATE:
                pipeline.remember(port, make(k - LATE))
                assert list(pipeline.step(port, make(k - LATE))) == []
    name = "deep_tracking_ros/msg/TrackedBoxArray"

    def data(items):
        return [interfaces.serialize(to_message(item, interfaces.make), name) for item in items]

    assert data(read_items(out, TrackedBoxes)) == data(expected)
    assert expected[-1].boxes[0].state is State.TRACKED


def test_a_live_run_is_simulated_in_which_they_cost_nothing(process, tmp_path):
    bag, figures = record(tmp_path / "drive.mcap", {"/tracks": seen}), tmp_path / "figures.json"
    dropped = []
    for extra in ((), ("--topic", "tracks:=/tracks")):
        arguments = ("--realtime", "--latency-ms", 100, "--json", figures, *extra)
        process(bag, *TARGET, *arguments)
        dropped.append(json.loads(figures.read_text())["dropped"])
    process(record(tmp_path / "alone.mcap", {}), *TARGET, "--realtime", "--latency-ms", 100, "--json", figures)
    dropped.append(json.loads(figures.read_text())["dropped"])
    assert dropped[0] == dropped[1] == dropped[2] > 0

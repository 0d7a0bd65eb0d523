"""``deep-tracking process`` from end to end, with a small real tracker in place of a network."""

import csv
import hashlib
import json
import time

import av
import cv2
import numpy as np
import pytest
from pipelines.template_tracker import STEP, TemplateTracker, box_at, frame, picture
from typer.testing import CliRunner

from deep_tracking_ros.cli.chosen import parse_target
from deep_tracking_ros.cli.process import app, read_parameters
from deep_tracking_ros.errors import (
    DataError,
    DeepTrackingError,
    InvalidBoxError,
    InvalidRequestError,
    OutsideImageError,
)
from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline
from deep_tracking_ros.single_object import registry
from deep_tracking_ros.types import State

TARGET = "30,50,20,20"  # of the object at pixel (40, 60), 20 px wide: its top-left pixel and size


@pytest.fixture
def process(monkeypatch):
    """Runs the command; gives what it printed."""
    made = []

    def make_tracker(*arguments):
        made.append(TemplateTracker())
        return made[-1]

    monkeypatch.setattr(registry, "make_tracker", make_tracker)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)
        if isinstance(result.exception, DeepTrackingError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def positions(number):
    return [(40 + 2 * i, 60) for i in range(number)]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, position in enumerate(positions(20)):
        cv2.imwrite(str(folder / f"{i}.png"), picture(position))
    return folder


@pytest.fixture
def bag(tmp_path):
    from deep_tracking_ros.ros import bags, interfaces

    path = tmp_path / "drive.mcap"
    with bags.BagWriter(path) as writer:
        for i, position in enumerate(positions(20)):
            item = frame(i, position)
            message = interfaces.make(bags.IMAGE)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(item.stamp, 10**9)
            message.header.frame_id = "camera"
            message.height, message.width = item.image.shape[:2]
            message.encoding, message.step, message.data = "bgr8", item.image.shape[1] * 3, item.image.reshape(-1)
            writer.write_message("/camera/image", message, item.stamp + 7)
    return path


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_follows_a_target_through_images(process, images, tmp_path):
    process(
        images, "--fps", 25, "--target", f"{TARGET}@2:cup", "--csv", tmp_path / "t.csv", "--json", tmp_path / "f.json"
    )
    table = rows(tmp_path / "t.csv")
    assert len(table) == 18
    for i, row in enumerate(table, 2):
        assert (row["id"], row["label"], row["stamp"]) == ("1", "cup", f"{i * STEP / 1e9:.9f}")
        if i == 2:  # as drawn
            assert (row["x"], row["y"], row["w"], row["h"]) == ("30.000", "50.000", "20.000", "20.000")
    figures = json.loads((tmp_path / "f.json").read_text())
    assert (figures["frames"], figures["processed"], figures["dropped"]) == (20, 20, 0)
    assert figures["model"] == "template"
    assert sum(figures["boxes"].values()) == 18


def test_a_box_on_the_command_line_means_whole_pixels():
    np.testing.assert_array_equal(parse_target(TARGET).request.box, box_at(40, 60))


def test_the_same_input_gives_the_same_bytes(process, bag, tmp_path):
    digests = []
    for run in "ab":
        out, video, table = (tmp_path / f"{run}.{kind}" for kind in ("mcap", "mp4", "csv"))
        process(bag, "--target", TARGET, "--out", out, "--mp4", video, "--csv", table)
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in (out, video, table)])
    assert digests[0] == digests[1]


def test_the_bag_of_results_has_the_stamps_of_the_images(process, bag, tmp_path):
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    process(bag, "--target", TARGET, "--out", tmp_path / "result.mcap")
    with (tmp_path / "result.mcap").open("rb") as file:
        messages = list(make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages())
    assert len(messages) == 20
    for i, (_, channel, record, message) in enumerate(messages):
        stamp = 10 * 10**9 + i * STEP
        assert channel.topic == "/single_object_tracker/boxes"
        assert record.log_time == message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp
        assert message.header.frame_id == "camera"
        (box,) = message.boxes
        assert (box.center_x, box.center_y, box.size_x) == (39.5 + 2 * i, 59.5, 20)
        assert box.state == State.TRACKED


def test_the_video_shows_every_processed_frame_with_its_box(process, images, tmp_path):
    process(images, "--fps", 25, "--target", TARGET, "--mp4", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        shown = [p.to_ndarray(format="bgr24") for p in container.decode(video=0)]
    assert len(shown) == 20
    plain = cv2.imread(str(images / "19.png")).astype(int)
    difference = np.abs(shown[-1].astype(int) - plain).sum(-1)
    x = 40 + 2 * 19
    assert difference[48:72, x - 11 : x - 9].mean() > 100  # the box's left edge
    assert difference[100:, :60].mean() < 40


def test_a_live_run_with_a_fixed_latency_drops_the_same_frames_each_time(process, bag, tmp_path):
    for run in "ab":
        process(
            bag, "--target", TARGET, "--realtime", "--latency-ms", 80,
            "--csv", tmp_path / f"{run}.csv", "--json", tmp_path / "f.json",
        )  # fmt: skip
        figures = json.loads((tmp_path / "f.json").read_text())
        assert (figures["frames"], figures["processed"], figures["dropped"]) == (20, 11, 9)
        assert figures["latency_ms"]["p50"] == 80
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_live_run_with_a_slow_tracker_drops_frames(process, bag, tmp_path, monkeypatch):
    def slowly(self, image, targets):
        time.sleep(0.005)
        return [self._find(image, target) for target in targets]

    monkeypatch.setattr(TemplateTracker, "track", slowly)
    process(bag, "--target", TARGET, "--realtime", "--rate", 100, "--json", tmp_path / "f.json")  # 0.4 ms a frame
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["processed"] + figures["dropped"] == figures["frames"] == 20
    assert 2 <= figures["processed"] <= 5
    assert figures["step_ms"]["p99"] > 5


def test_start_and_end_cut_a_part_out(process, bag, tmp_path):
    process(bag, "--target", f"50,50,20,20@{10.2:.9f}", "--start", 0.2, "--end", 0.4, "--csv", tmp_path / "t.csv")
    assert [row["stamp"] for row in rows(tmp_path / "t.csv")] == [f"{10.2 + i * 0.04:.9f}" for i in range(6)]
    assert {row["state"] for row in rows(tmp_path / "t.csv")} == {"TRACKED"}


def test_a_broken_image_is_a_warning(process, images):
    (images / "7.png").write_bytes(b"broken")
    output = process(images, "--target", TARGET)
    assert "7.png cannot be read as an image" in output
    assert "│ broken" in output


def test_targets_come_from_a_file_too(process, bag, tmp_path):
    (tmp_path / "targets.yaml").write_text(
        "- {box: [30, 50, 20, 20], label: early}\n- {box: [50, 50, 20, 20], label: late, stamp: 10.4}\n"
    )
    process(bag, "--targets", tmp_path / "targets.yaml", "--csv", tmp_path / "t.csv")
    table = rows(tmp_path / "t.csv")
    assert [row["label"] for row in table].count("early") == 20
    assert [row["label"] for row in table].count("late") == 10


def test_parameters_reach_the_pipeline(process, images, tmp_path):
    (tmp_path / "p.yaml").write_text("max_targets: 1\n")
    twice = ("--target", TARGET, "--target", TARGET)
    process(images, *twice)
    with pytest.raises(DeepTrackingError, match="max_targets"):
        process(images, *twice, "--params", tmp_path / "p.yaml")
    with pytest.raises(DeepTrackingError, match="max_targets"):
        process(images, *twice, "--set", "max_targets=1")
    process(images, *twice, "--params", tmp_path / "p.yaml", "--set", "max_targets=2")


def test_parameter_files_of_ros_nodes_serve_too(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(
        "/**:\n  ros__parameters: {max_gap: 3, image_topic: /cam}\n"
        "single_object_tracker:\n  ros__parameters: {predict_to_now: true}\n"
        "other:\n  ros__parameters: {max_gap: 9.0}\n"
    )
    values = read_parameters(SingleObjectPipeline, file, ["max_targets=3", "frame_buffer=1.5"])
    assert (values.max_gap, values.predict_to_now, values.max_targets, values.frame_buffer) == (3.0, True, 3, 1.5)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("max_gap", "not name=value"),
        ("speed=3", "names are backend, "),
        ("max_targets=many", "max_targets is 'many', it must be an int"),
        ("max_targets=0", "from 1 to 1024"),
        ("backend=cuda", "one of auto, tensorrt"),
        ("predict_to_now=perhaps", "must be a bool"),
    ],
)
def test_wrong_parameters_are_named(assignment, words):
    with pytest.raises(InvalidRequestError, match=words):
        read_parameters(SingleObjectPipeline, None, [assignment])


def test_model_and_backend_have_options_of_their_own(process, images, monkeypatch):
    wanted = []

    def make_tracker(model, backend, *others):
        wanted.append((model, backend))
        return TemplateTracker()

    monkeypatch.setattr(registry, "make_tracker", make_tracker)
    process(images, "--target", TARGET, "--model", "siamfc", "--backend", "torch", "--set", "max_targets=2")
    assert wanted == [("siamfc", "torch")]
    with pytest.raises(InvalidRequestError, match="one of auto, tensorrt"):
        process(images, "--target", TARGET, "--backend", "cuda")
    with pytest.raises(InvalidRequestError, match="--model a and --set model=b say the same thing twice"):
        process(images, "--target", TARGET, "--model", "a", "--set", "model=b")


@pytest.mark.parametrize(
    ("pipeline", "option", "words"),
    [
        ("fusion", "--model", "--model x: fusion has no parameter model; it has camera_frame, "),
        (
            "multi_object_tracker",
            "--backend",
            "has no parameter backend; .*--detector FILE and --detector-set backend=",
        ),
    ],
)
def test_pipelines_without_a_network_say_so(process, images, pipeline, option, words):
    with pytest.raises(InvalidRequestError, match=words):
        process(images, "--pipeline", pipeline, option, "x")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("1,2,30,40", {"index": 0}),
        ("1,2,30,40@12", {"index": 12}),
        ("=1,2,30,40@12", {"index": 12}),  # as the short option in -t=1,2,30,40@12 comes
        ("1,2,30,40@2.5s", {"offset": 2_500_000_000}),
        ("1,2,30,40@3s", {"offset": 3_000_000_000}),
        ("1,2,30,40@1700000000.040000001:my car", {"stamp": 1_700_000_000_040_000_001}),
    ],
)
def test_places_of_targets(text, where):
    target = parse_target(text)
    assert {k: v for k in ("index", "offset", "stamp") if (v := getattr(target, k)) is not None} == where
    np.testing.assert_array_equal(target.request.box, np.float32([0.5, 1.5, 30.5, 41.5]))
    assert target.request.label == ("my car" if "car" in text else "")


def test_wrong_calls_are_told_what_to_do(process, images, tmp_path):
    with pytest.raises(InvalidBoxError, match="four numbers"):
        process(images, "--target", "1,2,3")
    with pytest.raises(InvalidRequestError, match="no time in seconds"):
        process(images, "--target", "1,2,3,4@noon")
    with pytest.raises(InvalidRequestError, match="give --target"):
        process(images)
    with pytest.raises(InvalidRequestError, match="give --realtime"):
        process(images, "--target", TARGET, "--latency-ms", 5)
    with pytest.raises(InvalidRequestError, match="known are tracker"):
        process(images, "--pipeline", "flow", "--target", TARGET)
    with pytest.raises(DataError, match="there is no video"):
        process(tmp_path / "no.mp4", "--target", TARGET)
    with pytest.raises(DataError, match="frame 50"):
        process(images, "--target", f"{TARGET}@50", "--mp4", tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_box_outside_of_the_first_image_is_refused(process, images):
    with pytest.raises(OutsideImageError, match="lies outside of the image"):
        process(images, "--target", "2000,30,60,70")


def everything_in(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("option", ["--out", "--mp4", "--csv", "--json"])
def test_no_output_is_written_over_an_input(process, bag, tmp_path, option):
    targets, params = tmp_path / "targets.yaml", tmp_path / "params.yaml"
    targets.write_text("- {box: [30, 50, 20, 20]}\n")
    params.write_text("max_targets: 2\n")
    (tmp_path / "beside.mcap").write_bytes(bag.read_bytes())
    (tmp_path / "link.mcap").symlink_to(bag)
    (tmp_path / "hard.mcap").hardlink_to(bag)
    (tmp_path / "net.onnx").write_bytes(b"weights")
    before = everything_in(tmp_path)
    given = ["--targets", targets, "--params", params, "--beside", tmp_path / "beside.mcap"]
    given += ["--model", tmp_path / "net.onnx"]
    for name, what in [
        ("drive.mcap", "the input"),
        ("link.mcap", "the input"),
        ("hard.mcap", "the input"),
        ("beside.mcap", "the bag of --beside"),
        ("targets.yaml", "the file of --targets"),
        ("params.yaml", "the file of --params"),
        ("net.onnx", "the file of --model or --set"),
    ]:
        with pytest.raises(InvalidRequestError, match=f"{option} .*{name} is {what} itself; name another file"):
            process(bag, *given, option, tmp_path / name)
    assert everything_in(tmp_path) == before


def test_no_output_is_written_over_a_part_of_an_input(process, bag, images, tmp_path):
    from deep_tracking_ros.ros import bags

    with bags.BagWriter(tmp_path / "folder") as writer:
        for message in bags.read_messages(bag, ["/camera/image"]):
            writer.write(message.topic, message.type, message.data, message.log_time)
    before = everything_in(tmp_path)
    for source, output in [
        (tmp_path / "folder", tmp_path / "folder" / "folder_0.mcap"),
        (tmp_path / "folder", tmp_path / "folder"),
        (images, images / "3.png"),
        (images / "1*.png", images / "12.png"),
    ]:
        with pytest.raises(InvalidRequestError, match="is the input itself"):
            process(source, "--target", TARGET, "--out", output)
    assert everything_in(tmp_path) == before
    process(images, "--target", TARGET, "--csv", images / "t.csv")  # beside the pictures is no harm
    assert len(rows(images / "t.csv")) == 20


def test_outputs_are_not_written_over_each_other(process, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequestError, match=r"--json .*same is the file of --csv itself"):
        process(images, "--target", TARGET, "--csv", "same", "--json", tmp_path / "images" / ".." / "same")
    assert not (tmp_path / "same").exists()


def test_a_run_that_fails_leaves_the_results_of_an_earlier_one(process, images, bag, tmp_path):
    outputs = ["--out", tmp_path / "o.mcap", "--csv", tmp_path / "o.csv", "--mp4", tmp_path / "o.mp4"]
    process(bag, "--target", TARGET, *outputs)
    before = everything_in(tmp_path)
    with pytest.raises(DataError, match="frame 50"):
        process(images, "--target", f"{TARGET}@50", *outputs)
    assert everything_in(tmp_path) == before
    process(images, "--target", TARGET, "--end", 0.2, *outputs)
    after = everything_in(tmp_path)
    assert after.keys() == before.keys()
    assert all(after[file] != before[file] for file in outputs[1::2])


def test_a_file_is_not_replaced_by_a_folder(process, images, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"notes.txt exists already"):
        process(images, "--target", TARGET, "--out", tmp_path / "notes.txt")
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_table_may_go_to_a_device(process, images):
    process(images, "--target", TARGET, "--csv", "/dev/null", "--json", "/dev/null")
    with pytest.raises(DataError, match="it is a folder or a device"):
        process(images, "--target", TARGET, "--mp4", "/dev/null")


@pytest.mark.parametrize(
    "given", [["-t", "-5,50,40,20"], ["-t=-5,50,40,20"], ["-t-5,50,40,20"], ["--target=-5,50,40,20"]], ids="".join
)
def test_a_box_may_begin_left_of_the_image(process, images, tmp_path, given):
    process(images, *given, "--csv", tmp_path / "t.csv")
    first = rows(tmp_path / "t.csv")[0]
    assert (first["x"], first["w"]) == ("0.000", "35.000")  # what of it is in the image

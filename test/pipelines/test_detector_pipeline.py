"""The detector as a pipeline: one result per image, cameras that share a network and nothing else."""

import sys
from pathlib import Path

import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidImageError, InvalidRequestError, ModelError
from deep_tracking_ros.pipelines.detector import DetectorParameters, DetectorPipeline, ports_of
from deep_tracking_ros.pipelines.registry import find_pipeline
from deep_tracking_ros.types import Detections, Frame

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "detection"))
from small_graphs import seeing
from test_appearance import mean_colour

DT, START = 40_000_000, 10**9


@pytest.fixture
def model(tmp_path):
    return str(seeing(tmp_path / "light.onnx", notes={"names": "{0: 'light'}"}))


def make(**values):
    return DetectorPipeline.make(DetectorParameters(threads=1, **{"score": 0.9, **values}))


def frame(k, *corners, colour=255, frame_id="camera"):
    """A dark image with bright squares of 32 px; k counts time."""
    image = np.zeros((64, 96, 3), np.uint8)
    for x, y in corners:
        image[y : y + 32, x : x + 32] = colour
    return Frame(image, START + k * DT, frame_id)


def only(outputs):
    (output,) = outputs
    return output


def test_each_image_has_a_result_with_its_stamp_also_an_empty_one(model):
    pipeline = make(model=model)
    assert (pipeline.inputs, pipeline.outputs) == ({"image": Frame}, {"detections": Detections})
    lit, dark = only(pipeline.step("image", frame(0, (32, 0)))), only(pipeline.step("image", frame(1)))
    assert (lit.port, lit.item.stamp, lit.item.frame_id) == ("detections", START, "camera")
    assert {d.label for d in lit.item.detections} == {"light"}
    assert max(d.score for d in lit.item.detections) == pytest.approx(1.0, abs=1e-4)
    assert all(d.embedding is None for d in lit.item.detections)
    assert (dark.item.stamp, dark.item.detections) == (START + DT, ())
    status = pipeline.status()
    assert (status["layout"], status["backend"], status["frames"]) == ("yolox", "onnxruntime", 2)
    assert pipeline.engines == (pipeline.detector.engine,)


def test_duplicates_and_late_images_are_counted_and_give_nothing(model):
    pipeline = make(model=model)
    counts = [len(list(pipeline.step("image", frame(k)))) for k in (0, 1, 1, 0, 2, 200, 3)]
    assert counts == [1, 1, 0, 0, 1, 1, 1]
    status = pipeline.status()
    assert (status["duplicates"], status["late"], status["jumps"]) == (1, 1, 2)


def test_an_image_that_cannot_be_decoded_changes_nothing(model):
    def broken():
        raise InvalidImageError("no image")

    pipeline = make(model=model)
    with pytest.raises(InvalidImageError):
        pipeline.step("image", Frame(broken, START))
    assert len(list(pipeline.step("image", frame(0)))) == 1


def test_cameras_go_through_the_network_together_and_share_nothing_else(model):
    pipeline = make(model=model, cameras="/front/image, rear/image")
    assert pipeline.together
    assert list(pipeline.inputs) == ["/front/image", "rear/image"]
    assert list(pipeline.outputs) == ["front/image/detections", "rear/image/detections"]
    calls, run = [], pipeline.detector.engine.run
    pipeline.detector.engine.run = lambda arrays: calls.append(len(arrays["images"])) or run(arrays)
    front, rear = frame(0, (32, 0), frame_id="front"), frame(7, (64, 32), frame_id="rear")  # clocks differ
    first, second = pipeline.step_together([("/front/image", front), ("rear/image", rear)])
    assert calls == [2]
    for outputs, sent, corner in ((first, front, (32, 0)), (second, rear, (64, 32))):
        item = only(outputs).item
        assert (item.stamp, item.frame_id) == (sent.stamp, sent.frame_id)
        boxes = np.stack([d.box for d in item.detections])
        assert boxes.min(0)[:2] == pytest.approx(np.subtract(corner, 0.5))
        assert boxes.max(0)[2:] == pytest.approx(np.add(corner, 31.5))
    assert only(second).port == "rear/image/detections"
    # what is a duplicate for one is news for the other
    again, new = pipeline.step_together([("/front/image", front), ("rear/image", frame(8, frame_id="rear"))])
    assert (len(again), len(new), calls) == (0, 1, [2, 1])


def test_one_camera_is_no_crowd(model):
    pipeline = make(model=model, cameras="front")
    assert not pipeline.together
    assert list(pipeline.outputs) == ["front/detections"]


@pytest.mark.parametrize("cameras", ["a,a", "/a,a", "a b", "a,1b", "a//b", "~x", "/"])
def test_topics_that_cannot_be(cameras, model):
    with pytest.raises(InvalidRequestError, match="cameras is"):
        make(model=model, cameras=cameras)


def test_ports_of_no_cameras():
    assert ports_of(" ,") == {"image": "detections"}


def test_appearance_is_added(model, tmp_path):
    pipeline = make(model=model, appearance_model=str(mean_colour(tmp_path / "looks.onnx")), score=0.1)
    red, grey = (
        only(pipeline.step("image", frame(k, (32, 0), colour=c))).item for k, c in enumerate(((0, 0, 255), 255))
    )
    assert len(red.detections) > 0
    assert all(np.linalg.norm(d.embedding) == pytest.approx(1) for d in red.detections)
    assert red.detections[0].embedding.argmax() == 0
    assert np.ptp(grey.detections[0].embedding) < 0.2
    assert len(pipeline.engines) == 2
    pipeline.close()
    assert all(engine.closed for engine in pipeline.engines)


def test_motion_needs_no_model_and_is_forgotten_at_a_time_jump():
    texture = np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8).repeat(6, 0).repeat(6, 1)
    square = np.random.default_rng(2).integers(0, 256, (10, 10, 3), np.uint8).repeat(6, 0).repeat(6, 1)

    def image(k, jump=0):
        canvas = texture.copy()
        canvas[100:160, 50 + 4 * k : 110 + 4 * k] = square
        return Frame(canvas, START + k * DT + jump, "camera")

    pipeline = make(model="motion", score=0.5)
    results = [only(pipeline.step("image", image(k))).item for k in range(8)]
    assert [d.label for d in results[-1].detections] == ["moving"]
    assert results[-1].detections[0].box == pytest.approx([77.5, 99.5, 137.5, 159.5], abs=16)
    assert only(pipeline.step("image", image(8, jump=10**11))).item.detections == ()
    assert pipeline.engines == ()
    assert pipeline.status()["model"] == "motion"


def test_each_camera_has_motion_of_its_own():
    flat = np.full((120, 160, 3), 100, np.uint8)
    noisy = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    pipeline = make(model="motion", cameras="a,b", score=0.0)
    for k in range(6):  # one stream would see all change all the time
        for outputs in pipeline.step_together(
            [("a", Frame(flat, START + k * DT)), ("b", Frame(noisy, START + k * DT))]
        ):
            assert only(outputs).item.detections == ()


def test_what_cannot_be_is_said(model, tmp_path):
    with pytest.raises(ModelError, match=r"there is no model file none\.onnx"):
        make(model="none.onnx")
    with pytest.raises(ModelError, match=r"there is no model file looks\.onnx"):
        make(model=model, appearance_model="looks.onnx")
    with pytest.raises(InvalidRequestError, match="has no classes person; known are: light"):
        make(model=model, classes="person")
    with pytest.raises(InvalidRequestError, match="motion knows no class but moving"):
        make(model="motion", classes="person")
    with pytest.raises(InvalidRequestError, match="is no command of detector"):
        make(model="motion").command("stop")
    assert find_pipeline("detector") is DetectorPipeline

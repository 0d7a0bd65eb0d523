"""The imported NanoTrack follows by the procedure that its source publishes."""

import dataclasses

import cv2
import numpy as np
import onnx
import pytest
import small_siamese
from nano_reference import NanoReference
from onnx import numpy_helper

from deep_tracking_ros.evaluation.datasets import find_sequences
from deep_tracking_ros.evaluation.peers import make_peer
from deep_tracking_ros.evaluation.sot import competitor, evaluate
from deep_tracking_ros.geometry.boxes import xywh_to_xyxy
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.importing import import_public
from deep_tracking_ros.single_object.public_kinds import KINDS
from deep_tracking_ros.single_object.registry import make_tracker


def pair_whose_boxes_change(folder):
    """Networks like those of `small_siamese`, but the distances of a cell depend on its colour."""
    head = small_siamese.head()
    nothing = next(tensor for tensor in head.graph.initializer if tensor.name == "nothing")
    weights = np.zeros((4, 48, 1, 1), np.float32)
    weights[:, :3, 0, 0] = np.random.default_rng(5).uniform(-14, 14, (4, 3))
    nothing.CopyFrom(numpy_helper.from_array(weights, nothing.name))
    onnx.save(small_siamese.backbone(), folder / "backbone.onnx")
    onnx.save(head, folder / "head.onnx")
    return folder / "backbone.onnx", folder / "head.onnx"


def clip(frames=30):
    """A patch that grows and goes out over the right border of a textured picture."""
    rng = np.random.default_rng(0)
    background = cv2.resize(
        rng.integers(60, 200, (9, 12, 3)).astype(np.uint8), (200, 150), interpolation=cv2.INTER_CUBIC
    )
    patch = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    for frame in range(frames):
        image = background.copy()
        width, height, left, top = 26 + frame, 32 + frame // 3, 60 + 4 * frame, 50 + 2 * frame // 3
        seen = cv2.resize(patch, (width, height))[:, : max(200 - left, 0)]
        image[top : top + height, left : left + width] = seen
        yield image, (left, top, width, height)


@pytest.mark.parametrize("size_rate", [None, 0.9])
def test_boxes_are_those_of_the_published_procedure(tmp_path, size_rate):
    """Frame by frame, on crops inside of the image and over its border, with boxes that change scale and ratio."""
    files = pair_whose_boxes_change(tmp_path)
    model = import_public("nanotrack_v2", *files, tmp_path / "models", "tiny")
    settings = {**model.card.tracking, **({} if size_rate is None else {"size_rate": size_rate})}
    model = Model(model.folder, dataclasses.replace(model.card, tracking=settings))
    tracker = make_tracker(model, backend="onnxruntime", threads=1)
    cells = KINDS["nanotrack_v2"].parameters["cells"]
    reference = NanoReference(*files, cells, **settings, smallest=tracker.smallest)

    (image, first), *rest = clip()
    reference.start(image, first)
    targets = tracker.start(image, xywh_to_xyxy(np.array([first], np.float32)) - 0.5)
    expected = []
    for image, _ in rest:
        expected.append(reference.track(image))
        (estimate,) = tracker.track(image, targets)
        # edges of pixels are at whole numbers in the source, their centres here
        np.testing.assert_allclose(estimate.box, xywh_to_xyxy(expected[-1]) - 0.5, atol=0.01)
    sizes = np.array(expected)[:, 2:]
    assert np.ptp(sizes, 0).min() > 2  # the clip asks for what the procedure says of sizes


def test_constants_are_published_ones():
    """V2: those of OpenCV's class, which runs the same weights; V3: those of its source, but for the rate."""
    v2, v3 = KINDS["nanotrack_v2"].tracking, KINDS["nanotrack_v3"].tracking
    assert v2 == {"window_influence": 0.455, "penalty": 0.055, "size_rate": 0.37}
    assert (v3["window_influence"], v3["penalty"]) == (0.455, 0.138)


@pytest.mark.slow
def test_follows_as_well_as_the_class_of_opencv(reference, tmp_path):
    """Same weights, same constants, same sequences."""
    weights, sequences = reference("weights"), find_sequences(reference("data") / "sot")
    files = [weights / "nanotrackv2" / f"nanotrack_{part}_sim.onnx" for part in ("backbone", "head")]
    tracker = make_tracker(import_public("nanotrack_v2", *files, tmp_path, "v2"), backend="onnxruntime", threads=1)
    ours, peer = evaluate([competitor(tracker), make_peer("opencv-nano", weights)], sequences, {}, 1)
    assert ours.overall.auc >= peer.overall.auc

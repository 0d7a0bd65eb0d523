"""The shipped model in the pipeline, as the node runs it."""

import cv2
import numpy as np

from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.pipelines.single_object import SingleObjectParameters, SingleObjectPipeline
from deep_tracking_ros.types import Frame, State

WIDTH, HEIGHT, SIDE, STEP = 320, 240, 48, 40_000_000


def texture(seed, width, height, cell):
    """Smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // cell + 2, width // cell + 2, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def scene(x, y=120):
    """A textured square with its left-top pixel at x, y, as far as it lies on the image, and its box."""
    image = texture(1, WIDTH, HEIGHT, 24)
    square = texture(2, SIDE, SIDE, 8)[:, : max(WIDTH - x, 0)]
    image[y : y + SIDE, x : x + SIDE] = square
    return image, np.array([x, y, x + SIDE, y + SIDE], np.float32) - 0.5


def test_a_target_drives_out_of_the_image_is_lost_and_found_when_it_returns():
    pipeline = SingleObjectPipeline.make(SingleObjectParameters(backend="onnxruntime", threads=1))
    out = list(range(200, WIDTH, 5))
    way = out + [WIDTH] * 8 + out[::-1]
    boxes, truths = [], []
    for i, x in enumerate(way):
        image, truth = scene(x)
        frame = Frame(image, 10**10 + i * STEP)
        pipeline.remember("image", frame)
        if i == 0:
            pipeline.command(SetTarget(truth))
        (output,) = pipeline.step("image", frame)
        (box,) = output.item.boxes
        boxes.append(box)
        truths.append(truth)
    pipeline.close()
    leaving, away, back = boxes[:12], boxes[len(out) + 3 : len(out) + 8], boxes[-8:]
    assert {box.state for box in leaving + back} == {State.TRACKED}
    assert {box.state for box in away} == {State.LOST}
    assert min(iou([b.box for b in leaving], truths[:12]).min(), iou([b.box for b in back], truths[-8:]).min()) > 0.5
    for box in away:
        np.testing.assert_array_equal(box.box, away[0].box)
        np.testing.assert_array_equal(box.velocity, 0)
    assert away[-1].unseen >= 8 * STEP / 1e9
    assert {box.unseen for box in back} == {0}

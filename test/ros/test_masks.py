"""A mask and a contour on their whole way: tracker, pipeline, message, bag, picture."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from pipelines.template_tracker import PATCH, TemplateTracker, box_at, frame
from typer.testing import CliRunner

from deep_tracking_ros.cli.process import app
from deep_tracking_ros.pipelines.requests import SetTarget
from deep_tracking_ros.pipelines.single_object import SingleObjectParameters, SingleObjectPipeline
from deep_tracking_ros.ros import bags, interfaces
from deep_tracking_ros.ros.messages import to_message
from deep_tracking_ros.single_object import registry
from deep_tracking_ros.single_object.tracker import Estimate
from deep_tracking_ros.types import Mask, State, TrackedBoxes
from deep_tracking_ros.visualization.overlay import COLOURS, draw


class DiscTracker(TemplateTracker):
    """Says that its objects are discs: a mask cropped to the box, and the outline as a polygon."""

    def track(self, image, targets):
        return [self._disc(estimate) for estimate in super().track(image, targets)]

    @staticmethod
    def _disc(estimate):
        x0, y0, x1, y1 = np.rint(estimate.box + 0.5).astype(int)
        mask = cv2.ellipse(
            np.zeros((y1 - y0, x1 - x0), np.uint8),
            ((x1 - x0) // 2, (y1 - y0) // 2), ((x1 - x0) // 2 - 1, (y1 - y0) // 2 - 1), 0, 0, 360, 255, -1,
        )  # fmt: skip
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        centre, radius = (estimate.box[:2] + estimate.box[2:]) / 2, (estimate.box[2:] - estimate.box[:2]) / 2
        contour = (centre + radius * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)
        return Estimate(estimate.box, estimate.score, contour, Mask(x0, y0, mask))


def results(positions):
    pipeline = SingleObjectPipeline(SingleObjectParameters(), DiscTracker())
    pipeline.command(SetTarget(box_at(*positions[0])))
    found = []
    for i, position in enumerate(positions):
        one = frame(i, position)
        pipeline.remember("image", one)
        found += [(one, output.item) for output in pipeline.step("image", one)]
    return found


def check_disc(box, centre):
    """The mask is the disc of the object at this pixel, and the contour goes round it."""
    x, y = centre
    assert (box.mask.x, box.mask.y) == (x - PATCH // 2, y - PATCH // 2)
    assert box.mask.data.shape == (PATCH, PATCH)
    assert set(np.unique(box.mask.data)) == {0, 255}
    assert 0.6 < (box.mask.data == 255).mean() < 0.8  # pi / 4
    assert len(box.contour) == 24
    filled = cv2.fillPoly(np.zeros((120, 160), np.uint8), [np.rint(box.contour).astype(np.int32)], 255)
    whole = np.zeros_like(filled)
    whole[box.mask.y : box.mask.y + PATCH, box.mask.x : box.mask.x + PATCH] = box.mask.data
    both, either = np.logical_and(filled, whole).sum(), np.logical_or(filled, whole).sum()
    assert both / either > 0.8


def test_masks_and_contours_are_published_while_the_target_is_seen():
    for one, result in results([(40, 60), (44, 60), (48, 60), None, None]):
        (box,) = result.boxes
        if box.state is State.LOST:
            assert box.mask is box.contour is None
        elif one.stamp > 10 * 10**9:  # on the first image there is the operator's box alone
            x0 = round(float(box.box[0]) + 0.5)
            check_disc(box, (x0 + PATCH // 2, 60))


def test_one_that_is_found_elsewhere_comes_with_the_mask_from_there():
    result = results([(40, 60), (44, 60), *[None] * 4, *[(140, 100)] * 12])[-1][1]
    assert result.boxes[0].state is State.TRACKED
    check_disc(result.boxes[0], (140, 100))


def test_the_message_has_the_cropped_mask_as_mono8_and_the_outline():
    result = results([(40, 60), (44, 60)])[-1][1]
    (message,) = to_message(result, interfaces.make).boxes
    assert (message.mask_x, message.mask_y) == (34, 50)
    assert (message.mask.encoding, message.mask.width, message.mask.height) == ("mono8", PATCH, PATCH)
    assert len(message.contour) == 2 * 24


def test_offline_into_a_bag_a_video_and_back(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "make_tracker", lambda *arguments: DiscTracker())
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), frame(i, (40 + 4 * i, 60)).image)
    bag, video = tmp_path / "out.mcap", tmp_path / "out.mp4"
    arguments = [tmp_path / "*.png", "--target", "30,50,20,20", "--out", bag, "--mp4", video]
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    items = list(bags.read_items(bag, TrackedBoxes))
    for i, item in enumerate(items[1:], 1):
        check_disc(item.boxes[0], (40 + 4 * i, 60))
    assert video.stat().st_size > 1000


@pytest.mark.parametrize("what", ["mask", "contour"])
def test_both_are_drawn(what):
    one, result = results([(40, 60), (44, 60)])[-1]
    bare = replace(result.boxes[0], mask=None, contour=None, velocity=np.zeros(4, np.float32))
    shown = replace(bare, **{what: getattr(result.boxes[0], what)})
    without, with_it = (draw(one.image, replace(result, boxes=(box,))) for box in (bare, shown))
    changed = np.argwhere((without != with_it).any(-1))
    assert len(changed) > 20
    assert (np.abs(changed - (60, 44)) <= PATCH // 2 + 4).all()  # rows and columns, with the width of a line
    if what == "mask":
        colour = np.array(COLOURS[State.TRACKED])
        at = (60, 44)
        np.testing.assert_allclose(with_it[at], 0.6 * one.image[at] + 0.4 * colour, atol=1)

"""Where siamese trackers put boxes, contours and masks in the image: networks that see exactly, by thresholds.

The images are black with something white in them. In place of each network stands a function that finds the white
pixels of its crop, so that whatever is off is off by the tracker's own arithmetic.
"""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from untrained import SEARCH

from deep_tracking_ros.geometry.boxes import iou, xyxy_to_cxcywh
from deep_tracking_ros.inference.engine import Engine
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.parts.online_target import OnlineTargets, quick_classifier, views
from deep_tracking_ros.single_object.parts.peaks import PeakSettings
from deep_tracking_ros.single_object.refined import RefinedTracker
from deep_tracking_ros.single_object.registry import architecture, make_tracker

WIDTH, HEIGHT, CELL = 320, 240, 16
PLAIN = {"window_influence": 0.0, "penalty": 0.0, "size_rate": 1.0}
SETTINGS = {
    "goturn": {},
    "siamrpn": PLAIN,
    "transt": PLAIN,
    "rpt": {**PLAIN, "online": 0.0},
    "siammask": {**PLAIN, "box_from_mask": 0.0},
    "atom": {"size_rate": 1.0, "steps": 40, "boxes": 8, "best": 1},
}


def white(crop):
    """Box of the white pixels of a crop, or None."""
    y, x = np.nonzero(crop.min(2) > 127)
    return np.array([x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5], np.float32) if len(x) else None


def cells(crop, side):
    """(H, W) share of white in each cell of a crop."""
    rows = len(crop) // side
    return crop[..., 0].reshape(rows, side, rows, side).mean((1, 3)).astype(np.float32) / 255


class Seeing(Engine):
    """Answers for a network of any architecture by what is white in its crops."""

    backend = "seeing"

    def __init__(self, network):
        super().__init__(network, "fp32")

    def run(self, arrays):
        count = len(next(iter(arrays.values())))
        part = self.network.name.partition("/")[2]
        if part == "overlap":
            return self.overlap(arrays["fine"], arrays["boxes"])
        outputs = {s.name: np.zeros((count, *s.shape[1:]), np.float32) for s in self.outputs}
        if "late" in outputs:
            for n, crop in enumerate(arrays["crops"]):
                outputs["late"][n, 0] = cells(crop, CELL)
                outputs["late"][n, 1] = 1 - outputs["late"][n, 0]
        if "trust" in outputs:
            outputs["trust"][:] = 5
        if part == "search":
            for n, crop in enumerate(arrays["crops"]):
                self.search({name: value[n] for name, value in outputs.items()}, crop)
        return outputs

    @staticmethod
    def search(outputs, crop):
        box = white(crop)
        if "mask" in outputs:
            outputs["mask"][:] = 12 * (cells(crop, 4) - 0.5)
        if "logits" in outputs:
            outputs["logits"][:] = -9
        if box is None:
            return
        column, row = ((box[:2] + box[2:]) / 2 // CELL).astype(int).clip(0, len(crop) // CELL - 1)
        if "fine" in outputs:
            outputs["fine"][0, 0, :4] = box
        elif "box" in outputs:
            outputs["box"][:] = box
        elif "points" in outputs:
            outputs["logits"][row, column] = 9
            x, y = np.meshgrid(np.linspace(box[0], box[2], 3), np.linspace(box[1], box[3], 3))
            outputs["points"][:, row, column] = np.stack([y.ravel(), x.ravel()], 1).ravel()
        else:
            kind = (2,) if outputs["logits"].ndim == 3 else ()
            outputs["logits"][(*kind, row, column)] = 9
            outputs["boxes"][(slice(None), *kind, row, column)] = box

    @staticmethod
    def overlap(fine, boxes):
        """IoU with the box that `search` left in the map."""
        truth = torch.from_numpy(np.ascontiguousarray(fine[:, None, 0, 0, :4]))
        asked = torch.from_numpy(boxes).requires_grad_()
        both = torch.minimum(asked[..., 2:], truth[..., 2:]) - torch.maximum(asked[..., :2], truth[..., :2])
        shared = both.clamp(min=0).prod(-1)
        areas = (asked[..., 2:] - asked[..., :2]).prod(-1) + (truth[..., 2:] - truth[..., :2]).prod(-1)
        value = shared / (areas - shared)
        (gradient,) = torch.autograd.grad(value.sum(), asked)
        return {"iou": value.detach().numpy(), "gradient": gradient.numpy()}


def seeing(small_model, name, **settings):
    model = small_model(name)
    card = dataclasses.replace(model.card, tracking={**SETTINGS[name], **settings})
    return architecture(model).load(architecture(model).tracker)(Model(model.folder, card), Seeing)


def picture(box):
    """A white rectangle of whole pixels."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left, top, right, bottom = (np.asarray(box) + 0.5).astype(int)
    image[max(top, 0) : bottom, max(left, 0) : right] = 255
    return image


def box_at(x, y, w, h):
    """Left-top pixel and size."""
    return np.array([x, y, x + w, y + h], np.float32) - 0.5


# a target of 32 x 32 px is searched in a window of 128 px, which is not scaled: to the pixel
MOVES = [(150, 100, 160, 96), (150, 100, 139, 115), (4, 6, 14, 2), (286, 206, 275, 199), (0, 100, 12, 110)]


@pytest.mark.parametrize("name", ["siamrpn", "transt", "rpt", "siammask"])
@pytest.mark.parametrize(("x", "y", "to_x", "to_y"), MOVES)
def test_boxes_come_out_to_the_pixel(small_model, name, x, y, to_x, to_y):
    """Also where the window reaches out of the image, and with another size."""
    tracker = seeing(small_model, name)
    (target,) = tracker.start(picture(box_at(x, y, 32, 32)), box_at(x, y, 32, 32)[None])
    truth = box_at(to_x, to_y, 28, 38)
    (estimate,) = tracker.track(picture(truth), [target])
    atol = 0.02  # a sigmoid of 9 is not quite 1, and so much the size lags
    np.testing.assert_allclose(estimate.box, truth, atol=atol)


@pytest.mark.parametrize(("x", "y", "to_x", "to_y"), [(150, 100, 158, 95), (4, 6, 9, 1), (286, 206, 280, 203)])
def test_goturn_regresses_to_the_pixel(small_model, x, y, to_x, to_y):
    """In a window of 64 px around the last box; the next is looked for around the new one."""
    tracker = seeing(small_model, "goturn")
    (target,) = tracker.start(picture(box_at(x, y, 32, 32)), box_at(x, y, 32, 32)[None])
    truth = box_at(to_x, to_y, 28, 30)
    (estimate,) = tracker.track(picture(truth), [target])
    np.testing.assert_allclose(estimate.box, truth, atol=2e-4)
    truth = box_at(to_x + 6, to_y + 4, 28, 30)
    (estimate,) = tracker.track(picture(truth), [target])
    np.testing.assert_allclose(estimate.box, truth, atol=0.55)  # half a pixel of a window that is scaled now


@pytest.mark.parametrize("name", ["siamrpn", "transt", "rpt", "siammask"])
@pytest.mark.parametrize(("w", "h"), [(12, 12), (64, 64), (40, 18), (30, 90)])
def test_boxes_come_out_at_any_scale_and_aspect(small_model, name, w, h):
    """To the pixel of the crop, at whose edges white begins: half of one on each side."""
    tracker = seeing(small_model, name)
    start = box_at(120, 70, w, h)
    (target,) = tracker.start(picture(start), start[None])
    truth = start + np.array([w // 5, -h // 6, w // 5, -h // 6], np.float32)
    (estimate,) = tracker.track(picture(truth), [target])
    px = 2 * np.sqrt((w + (w + h) / 2) * (h + (w + h) / 2)) / SEARCH  # image px of a crop px
    np.testing.assert_allclose(estimate.box, truth, atol=0.55 * px + 0.05)


@pytest.mark.parametrize("zoom", [1.0, 2.0])
def test_what_slow_sizes_do(small_model, zoom):
    """With a rate of 0.5 half of a change of size is taken, and all of a change of place."""
    tracker = seeing(small_model, "siammask", size_rate=0.5, zoom=zoom)
    (target,) = tracker.start(picture(box_at(150, 100, 32, 32)), box_at(150, 100, 32, 32)[None])
    (estimate,) = tracker.track(picture(box_at(160, 90, 40, 28)), [target])
    np.testing.assert_allclose(xyxy_to_cxcywh(estimate.box), [179.5, 103.5, 36, 30], atol=0.02)


def test_the_contour_of_rpt_lies_on_its_box(small_model):
    """Its points span the box that was found, whatever the slow size says, and go around it."""
    tracker = seeing(small_model, "rpt", size_rate=0.2)
    (target,) = tracker.start(picture(box_at(4, 100, 32, 32)), box_at(4, 100, 32, 32)[None])
    truth = box_at(9, 95, 24, 40)
    (estimate,) = tracker.track(picture(truth), [target])
    np.testing.assert_allclose([*estimate.contour.min(0), *estimate.contour.max(0)], truth, atol=1e-3)
    middle = (truth[:2] + truth[2:]) / 2
    border = estimate.contour[np.abs(estimate.contour - middle).max(1) > 1]
    turns = np.diff(np.unwrap(np.arctan2(*(border - middle).T[::-1])))
    assert len(border) == 8
    assert (turns > 0).all()


@pytest.mark.parametrize(("x", "y", "dx", "dy"), [(150, 100, 9, -6), (2, 100, 10, 5), (150, 200, -8, 8)])
def test_boxes_of_atom_climb_to_the_truth(small_model, x, y, dx, dy):
    """Its classifier learns what is white; the predicted overlap is the true one."""
    tracker = seeing(small_model, "atom")
    start = box_at(x, y, 32, 32)
    (target,) = tracker.start(picture(start), start[None])
    truth = box_at(x + dx, y + dy, 36, 28)
    (estimate,) = tracker.track(picture(truth), [target])
    assert iou(estimate.box, truth) > 0.93
    (gone,) = tracker.track(np.zeros((HEIGHT, WIDTH, 3), np.uint8), [target])
    assert gone.score < estimate.score - 0.05
    np.testing.assert_allclose(gone.box, estimate.box, atol=1e-3)


def test_mdnet_finds_what_it_learnt_in_the_first_image(small_model, scene):
    """Layers that were never trained learn a textured square, on features that were."""
    tracker = make_tracker(small_model("mdnet"), "onnxruntime", threads=1)
    image, truth = scene(150, 110)
    (target,) = tracker.start(image, truth[None])
    overlaps = []
    for step in range(1, 9):
        image, truth = scene(150 + 5 * step, 110 - 3 * step)
        (estimate,) = tracker.track(image, [target])
        overlaps.append(float(iou(estimate.box, truth)))
    assert np.mean(overlaps) > 0.6
    assert min(overlaps) > 0.4


def ellipse(x, y, a, b, image=None):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if image is None else image
    cv2.ellipse(image, (x, y), (a, b), 0, 0, 360, (255, 255, 255), -1)
    return image


def on_image(mask):
    """(H, W) of a mask."""
    full = np.zeros((HEIGHT, WIDTH), bool)
    height, width = mask.data.shape
    full[mask.y : mask.y + height, mask.x : mask.x + width] = mask.data > 0
    return full


def bounds(seen):
    y, x = np.nonzero(seen)
    return np.array([x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5], np.float32)


@pytest.mark.parametrize("zoom", [1.0, 1.5, 2.0])
@pytest.mark.parametrize(
    ("x", "y", "a", "b"),
    [(160, 120, 30, 18), (8, 100, 30, 26), (300, 232, 34, 22), (160, 118, 90, 60), (160, 120, 9, 14)],
)
def test_masks_lie_on_the_object(small_model, zoom, x, y, a, b):
    tracker = seeing(small_model, "siammask", zoom=zoom)
    image = ellipse(x, y, a, b)
    truth = image[..., 0] > 0
    box = bounds(truth)
    targets = tracker.start(image, box[None])
    before = targets[0].box.copy()
    boxes, (mask,) = tracker.segment(
        image, targets, box[None] + 1, tracker.parameters.search
    )  # a box that is a little off
    seen = on_image(mask)
    # a pixel of the mask is 4 px of the crop, which shows as many px of the image at zoom 1 and 64 px of template
    blur = 4 * np.sqrt((2 * a + a + b) * (2 * b + a + b)) / 64 / zoom
    least = 0.95 if blur < 8 else 0.9
    assert (seen & truth).sum() / (seen | truth).sum() > least
    np.testing.assert_allclose(boxes[0], box, atol=max(1, 0.3 * blur))
    np.testing.assert_array_equal(targets[0].box, before)
    assert set(np.unique(mask.data)) <= {0, 255}


def test_masks_are_those_of_the_object_in_the_box(small_model):
    """Its parts all; not what lies beside it; and none where the mask and the box are two different things."""
    tracker = seeing(small_model, "siammask")
    image = ellipse(150, 120, 10, 24)
    ellipse(178, 120, 10, 24, image)
    both, box = image[..., 0] > 0, bounds(image[..., 0] > 0)
    ellipse(228, 120, 12, 30, image)
    targets = tracker.start(image, box[None])
    _, (mask,) = tracker.segment(image, targets, box[None], tracker.parameters.search)
    seen = on_image(mask)
    assert (seen & both).sum() / (seen | both).sum() > 0.9
    assert not seen[:, 205:].any()
    elsewhere = box + np.array([0, 40, 0, 40], np.float32)
    boxes, masks = tracker.segment(image, targets, elsewhere[None], tracker.parameters.search)
    assert masks == [None]
    np.testing.assert_allclose(boxes[0], elsewhere, atol=1e-4)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_box_moves_to_that_of_the_mask(small_model, share, expected):
    """After another tracker too, whose box is a little off here: each side is 3 px too far to the left."""
    first, second = seeing(small_model, "siamrpn"), seeing(small_model, "siammask", box_from_mask=share)

    class Off(type(first)):
        def track(self, image, targets):
            estimates = super().track(image, targets)
            for target, estimate in zip(targets, estimates, strict=True):
                target.box = estimate.box - np.array([3, 0, 3, 0], np.float32)
            return [dataclasses.replace(e, box=t.box) for e, t in zip(estimates, targets, strict=True)]

    first.__class__ = Off
    tracker = RefinedTracker(first, second)
    truth = box_at(160, 104, 32, 32)
    (target,) = tracker.start(picture(box_at(150, 100, 32, 32)), box_at(150, 100, 32, 32)[None])
    (estimate,) = tracker.track(picture(truth), [target])
    np.testing.assert_allclose(estimate.box[[0, 2]], truth[[0, 2]] - 3 * (1 - expected), atol=0.6)
    np.testing.assert_array_equal(target.box, estimate.box)
    seen = on_image(estimate.mask)
    assert (seen & (picture(truth)[..., 0] > 0)).sum() / seen.sum() > 0.95
    assert (tracker.reach, tracker.smallest) == (first.reach, 4.0)


@pytest.mark.parametrize("side", [15, 16])
def test_views_of_a_target_are_where_they_are_said_to_be(side):
    """The middle of what is in the middle, and the features around it moved and mirrored alike."""
    late = np.zeros((2, 2, side, side), np.float32)
    at = slice((side - 1) // 2, side // 2 + 1)
    late[:, 0, at, at] = 1
    late[1, 1, at, side // 2 + 2] = 1  # something to the right of the second target
    made, places = views(late)
    assert made.shape == (2, 6, 2, side, side)
    assert len({tuple(place) for place in places.tolist()}) == 3
    y, x = np.mgrid[:side, :side]
    for view, (to_x, to_y), mirrored in zip(made.swapaxes(0, 1), places, [False] * 3 + [True] * 3, strict=True):
        for target in view[:, 0]:
            assert (target * x).sum() / target.sum() == pytest.approx(to_x)
            assert (target * y).sum() / target.sum() == pytest.approx(to_y)
        beside = view[1, 1]
        assert np.sign((beside * x).sum() / beside.sum() - to_x) == (-1 if mirrored else 1)
    assert views(late[:1])[0].tobytes() == made[:1].tobytes()


@pytest.mark.parametrize("place", [(127.5, 127.5), (140.0, 120.0), (88.0, 163.5)])
def test_a_peak_of_the_online_classifier_is_found_in_crop_px(place):
    """Its kernel is even: scores lie between the cells of the features."""
    online = OnlineTargets(lambda crops: None, 256, quick_classifier(10), PeakSettings())
    line = np.arange(17) * CELL - 0.5  # the corners of cells that cover 0 to 16 px, and so on
    scores = np.exp(-((line[None] - place[0]) ** 2 + (line[:, None] - place[1]) ** 2) / (2 * 30**2)).astype(np.float32)
    (found,) = online.localise(scores[None], np.array([[60, 60]], np.float32))
    np.testing.assert_allclose(found.place, place, atol=1.0)
    # the same scores at the cells themselves are those of the four corners around
    at = online.at_cells(scores[None])[0]
    assert at.shape == (16, 16)
    y, x = np.unravel_index(at.argmax(), at.shape)
    np.testing.assert_allclose(OnlineTargets.to_cells(np.array(place, np.float32)), [x, y], atol=0.51)

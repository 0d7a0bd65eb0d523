"""What every siamese tracker keeps, whatever its network says: tried on small models with random heads."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import texture
from untrained import HEADS

from deep_tracking_ros.errors import InvalidBoxError, OutsideImageError
from deep_tracking_ros.inference.onnx_backend import OnnxEngine
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.parts.batches import BATCH
from deep_tracking_ros.single_object.refined import RefinedTracker
from deep_tracking_ros.single_object.registry import architecture

REFINED = "siamrpn+siammask"
NAMES = (*HEADS, REFINED)
WIDTH, HEIGHT = 200, 150
FAST = {
    "mdnet": {"candidates": 24, "start_steps": 3, "steps": 2, "update_every": 2},
    "atom": {"boxes": 4, "steps": 2, "update_every": 2},
    "rpt": {"update_every": 2, "learn_from": 0.0},
}
"""Settings with which all that happens now and then happens in a few images."""
BOXES = np.array([[30, 20, 80, 70], [100.5, 60.25, 130, 120], [20, 90, 90, 130]], np.float32)


def make(small_model, name, engine=OnnxEngine):
    """A tracker whose engines are made by ``engine(network, threads=1)``."""
    if "+" in name:
        first, second = (make(small_model, part, engine) for part in name.split("+"))
        return RefinedTracker(first, second)
    model = small_model(name)
    card = dataclasses.replace(model.card, tracking={**model.card.tracking, **FAST.get(name, {})})
    kind = architecture(model).load(architecture(model).tracker)
    return kind(Model(model.folder, card), lambda network: engine(network, threads=1))


@pytest.fixture(scope="module")
def tracker_of(small_model):
    made = {}
    return lambda name: made.setdefault(name, None) or made.update({name: make(small_model, name)}) or made[name]


@pytest.fixture(scope="module")
def video():
    """Images of a texture that moves."""
    large = texture(5, WIDTH + 60, HEIGHT + 60, 12)
    return [np.ascontiguousarray(large[3 * i : 3 * i + HEIGHT, 4 * i : 4 * i + WIDTH]) for i in range(8)]


def follow(tracker, video, boxes=BOXES):
    """Estimates of all targets in all images after the first: [image][target]."""
    targets = tracker.start(video[0], boxes)
    return [tracker.track(image, targets) for image in video[1:]]


def assert_close(one, other, atol=0.02):
    np.testing.assert_allclose(one.box, other.box, atol=atol)
    assert one.score == pytest.approx(other.score, abs=1e-3)


def check_that_boxes_are_its_own(tracker, video, drawn):
    """A target is followed alike whatever becomes of the arrays that its tracker was given and gave."""
    given, elsewhere = np.array(drawn), np.array(drawn[0]) + np.float32(2)
    (target,), (twin,) = tracker.start(video[0], given), tracker.start(video[0], drawn)
    given[:] = 0
    target, twin = target.at(elsewhere), twin.at(elsewhere.copy())
    elsewhere[:] = 0
    for image in video[1:4]:
        (ours,), (theirs,) = tracker.track(image, [target]), tracker.track(image, [twin])
        assert ours.box.tobytes() == theirs.box.tobytes()
        ours.box[:] = 0


def in_bytes(value):
    """All that a target holds."""
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if dataclasses.is_dataclass(value):
        return tuple(in_bytes(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, dict):
        return tuple((key, in_bytes(one)) for key, one in value.items())
    return tuple(map(in_bytes, value)) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", NAMES)
def test_targets_in_one_batch_are_as_each_alone(tracker_of, video, name):
    tracker = tracker_of(name)
    together = follow(tracker, video)
    for number, box in enumerate(BOXES):
        for estimates, (alone,) in zip(together, follow(tracker, video, box[None]), strict=True):
            assert_close(estimates[number], alone)
    moved = [np.abs(estimates[0].box - BOXES[0]).max() for estimates in together]
    assert max(moved) > 0 or name == "mdnet"  # which stays where it is not sure


@pytest.mark.parametrize("name", NAMES)
def test_more_targets_than_one_call_takes(tracker_of, video, name):
    tracker = tracker_of(name)
    count = BATCH[-1] + 2
    places = np.random.default_rng(4).uniform(10, 70, (count, 2))
    boxes = np.concatenate([places, places + np.random.default_rng(5).uniform(15, 60, (count, 2))], 1)
    (together,) = follow(tracker, video[:2], boxes)
    assert len(together) == count
    for number in (0, 7, 15, 16, 17):
        ((alone,),) = follow(tracker, video[:2], boxes[number : number + 1])
        assert_close(together[number], alone)


@pytest.mark.parametrize("name", NAMES)
def test_targets_that_come_and_go_do_not_disturb_the_others(tracker_of, video, name):
    """Those that learn on the way do so here, in every second image."""
    tracker = tracker_of(name)
    (alone,), (kept,) = tracker.start(video[0], BOXES[:1]), tracker.start(video[0], BOXES[:1])
    first = in_bytes(kept)
    others = []
    for number, image in enumerate(video[1:]):
        others = [*others[number % 2 :], *tracker.start(image, BOXES[1:] + number)]  # ahead of the one looked at
        (wanted,) = tracker.track(image, [alone])
        together = tracker.track(image, [*others, kept])
        assert len(together) == len(others) + 1
        assert_close(together[-1], wanted)
    assert in_bytes(kept) != first


@pytest.mark.parametrize("name", ["mdnet", "atom", "rpt"])
def test_what_learns_online_has_learnt(tracker_of, video, name):
    tracker = tracker_of(name)
    (target,) = tracker.start(video[0], BOXES[:1])
    known = (lambda: target.state.layers) if name == "mdnet" else (lambda: (target.classifier.kernel,))
    before = in_bytes(known())
    for _ in range(4):  # the same image, in which it is still there
        tracker.track(video[0], [target])
    assert in_bytes(known()) != before


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_elsewhere_leaves_the_original(tracker_of, video, name):
    tracker = tracker_of(name)
    (target,), (twin,) = tracker.start(video[0], BOXES[:1]), tracker.start(video[0], BOXES[:1])
    before = in_bytes(target)
    copies = [target.at(target.box + shift) for shift in (0, 15, -10)]
    for image in video[1:5]:
        tracker.track(image, copies)
    assert in_bytes(target) == before
    for image in video[1:4]:
        ours, theirs = tracker.track(image, [target])[0], tracker.track(image, [twin])[0]
        assert ours.box.tobytes() == theirs.box.tobytes()
        assert ours.score == theirs.score


@pytest.mark.parametrize("name", NAMES)
def test_who_writes_into_boxes_does_not_disturb_the_target(tracker_of, video, name):
    tracker = tracker_of(name)
    check_that_boxes_are_its_own(tracker, video, BOXES[:1])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_input_gives_the_same_bytes(tracker_of, video, name):
    """On a tracker that followed others in between, and on one that is new."""

    def run(tracker):
        return [[(e.box.tobytes(), e.score) for e in estimates] for estimates in follow(tracker, video[:6])]

    first = run(tracker_of(name))
    for other in ("atom", "mdnet", name):
        follow(tracker_of(other), video[2:5], BOXES[:2] + 7)
    assert run(tracker_of(name)) == first


CALLS = {
    "goturn": {"search": 1, "template": 1},
    "siamrpn": {"search": 1},
    "mdnet": {"features": 1, "pool": 2},  # candidates; and, where a target is sure, examples around what was found
    "atom": {"search": 1, "overlap": 3},  # 2 steps of the climb
    "rpt": {"search": 1},
    "transt": {"search": 1},
    "siammask": {"search": 2},  # the second look
    REFINED: {"search": 2},  # one of each
}


@pytest.mark.parametrize("name", NAMES)
def test_all_targets_go_in_one_call_of_each_network(small_model, video, name):
    calls = []

    class Counted(OnnxEngine):
        def run(self, arrays):
            calls.append((self.network.name, len(next(iter(arrays.values())))))
            return super().run(arrays)

    tracker = make(small_model, name, Counted)
    targets = tracker.start(video[0], np.concatenate([BOXES, BOXES + 9]))
    assert all(count == 6 for _, count in calls)
    assert len(calls) <= 3
    for image in video[1:4]:
        calls.clear()
        tracker.track(image, targets)
        seen = [network.partition("/")[2] for network, _ in calls]
        assert set(seen) <= set(CALLS[name])
        assert all(seen.count(part) <= most for part, most in CALLS[name].items())
        assert next(iter(CALLS[name])) in seen
        assert all(count == 6 or network == "mdnet/pool" for network, count in calls)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_follow(tracker_of, video, name):
    tracker = tracker_of(name)
    assert tracker.start(video[0], np.zeros((0, 4))) == []
    assert tracker.start(video[0], []) == []
    assert tracker.track(video[0], []) == []


@pytest.mark.parametrize("name", NAMES)
def test_boxes_of_no_use_are_refused(tracker_of, video, name):
    for box, error in (
        ([10, 10, 12, 60], InvalidBoxError),
        ([10, 10, np.nan, 60], InvalidBoxError),
        ([60, 10, 40, 60], InvalidBoxError),
        ([300, 10, 360, 60], OutsideImageError),
    ):
        with pytest.raises(error):
            tracker_of(name).start(video[0], np.array([BOXES[0], box]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "box",
    [
        (-0.5, -0.5, WIDTH - 0.5, HEIGHT - 0.5),  # all of the image
        (90, 5, 94, 145),  # a pole
        (3, 70, 197, 75),  # a wire
        (0, 0, 4, 4),  # the smallest, in a corner
        (-30, -20, 30, 25),
        (180, 120, 240, 190),
    ],
)
def test_every_box_that_can_be_drawn_can_be_followed(tracker_of, video, name, box):
    """Centres stay on the image, sides between the smallest and its size, also where the images are noise."""
    tracker, noise = tracker_of(name), np.random.default_rng(0)
    targets = tracker.start(video[0], np.array([box], np.float32))
    for image in (*video[1:3], *noise.integers(0, 256, (3, HEIGHT, WIDTH, 3)).astype(np.uint8)):
        (estimate,) = tracker.track(image, targets)
        assert np.isfinite(estimate.box).all()
        assert 0 <= estimate.score <= 1
        centre, size = (estimate.box[:2] + estimate.box[2:]) / 2, estimate.box[2:] - estimate.box[:2]
        assert (centre >= -1e-3).all()
        assert (centre <= [WIDTH - 1 + 1e-3, HEIGHT - 1 + 1e-3]).all()
        assert (size >= tracker.smallest - 1e-3).all()
        assert (size <= [WIDTH + 1e-3, HEIGHT + 1e-3]).all()
        np.testing.assert_array_equal(targets[0].box, estimate.box)


# outputs in whose absence nothing is known of where the target is
NEEDED = {
    "goturn/search": ("box", "trust"),
    "siamrpn/search": ("logits", "boxes"),
    "mdnet/features": ("late",),
    "mdnet/pool": ("pooled",),
    "atom/search": ("fine", "coarse"),
    "atom/overlap": ("iou",),
    "rpt/search": ("logits", "quality", "points", "late"),
    "transt/search": ("logits", "boxes"),
    "siammask/search": ("logits", "boxes"),
}
# others, without which a target goes on as well as it can
USEFUL = {
    "goturn/template": ("previous",),
    "atom/search": ("late",),
    "atom/overlap": ("gradient",),
    "siammask/search": ("mask",),
}
SPOILT = [(network, output, True) for network, outputs in NEEDED.items() for output in outputs]
SPOILT += [(network, output, False) for network, outputs in USEFUL.items() for output in outputs]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("network", "output", "needed"), SPOILT)
def test_numbers_that_are_not_finite_cost_one_image(small_model, tracker_of, video, network, output, needed, value):
    """The target stays with score 0 and is looked for again in the next image; its neighbour does not notice."""
    spoil, name = [], network.partition("/")[0]

    class Spoilt(OnnxEngine):
        def run(self, arrays):
            outputs = super().run(arrays)
            if spoil and self.network.name == network:
                outputs[output][0] = value
            return outputs

    tracker = make(small_model, name, Spoilt)
    wanted = follow(tracker_of(name), video[:5], BOXES[:2])
    targets = tracker.start(video[0], BOXES[:2])
    assert_close(tracker.track(video[1], targets)[0], wanted[0][0])
    box = targets[0].box.copy()
    spoil.append(True)
    bad, good = tracker.track(video[2], targets)
    spoil.clear()
    assert np.isfinite(bad.box).all()
    assert bad.contour is None or np.isfinite(bad.contour).all()
    if needed:
        np.testing.assert_allclose(bad.box, box, atol=1e-4)
        assert bad.score == 0
    np.testing.assert_array_equal(targets[0].box, bad.box)
    assert_close(good, wanted[1][1])
    for image, (_, neighbour) in zip(video[3:5], wanted[2:], strict=True):
        again, good = tracker.track(image, targets)
        assert np.isfinite(again.box).all()
        assert again.score > 0
        assert_close(good, neighbour)

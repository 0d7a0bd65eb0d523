import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, iou
from deep_tracking_ros.inference import EngineCache, Network, TensorSpec, make_engine
from deep_tracking_ros.single_object.parts.refinement import (
    RefinementSettings,
    by_autograd,
    by_engine,
    jitter,
    mean_of_best,
    refine,
)
from deep_tracking_ros.single_object.parts.roi_pooling import precise_roi_pool, precise_roi_pool_with_slopes


def true_iou(target):
    """IoU with a box, a predictor that is never wrong."""
    target = torch.tensor(target, dtype=torch.float32).reshape(-1, 1, 4)

    def predict(boxes):
        both = torch.minimum(boxes[..., 2:], target[..., 2:]) - torch.maximum(boxes[..., :2], target[..., :2])
        overlap = both.clamp(min=0).prod(-1)
        areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (target[..., 2:] - target[..., :2]).prod(-1)
        return overlap / (areas - overlap)

    return by_autograd(predict)


starts = st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))


def start(target, noise):
    centre, size = (target[:2] + target[2:]) / 2, target[2:] - target[:2]
    return cxcywh_to_xyxy(np.concatenate([centre + noise[:2] * size, size * np.exp(noise[2:])]))


def smooth(target):
    """A predictor with a round top, as networks have: a Gaussian of shift and growth."""
    centre, size = torch.tensor(target[:2] + target[2:]) / 2, torch.tensor(target[2:] - target[:2])

    def predict(boxes):
        shift = ((boxes[..., :2] + boxes[..., 2:]) / 2 - centre) / size
        growth = ((boxes[..., 2:] - boxes[..., :2]) / size).log()
        return (-3 * shift.square().sum(-1) - growth.square().sum(-1)).exp()

    return by_autograd(predict)


@settings(max_examples=15, deadline=None)
@given(starts, st.floats(5, 300), st.floats(5, 300))
def test_boxes_climb_to_the_object(noise, width, height):
    target = np.array([40, -20, 40 + width, -20 + height])
    first = start(target, np.array(noise))
    boxes, values = refine(smooth(target), first[None, None], RefinementSettings(40, 0.2, 0))
    assert iou(boxes[0, 0], target) > 0.99
    assert values[0, 0] > 0.999


@settings(max_examples=15, deadline=None)
@given(st.lists(starts, min_size=1, max_size=5), st.integers(0, 6), st.floats(1e-3, 5))
def test_no_box_gets_worse(noises, iterations, step):
    """Also with steps that are far too long."""
    target = np.array([10.0, 20, 70, 50])
    first = np.stack([start(target, np.array(noise)) for noise in noises])
    boxes, values = refine(true_iou(target), first[None], RefinementSettings(iterations, step))
    assert (values[0] >= iou(first, target) - 1e-6).all()
    np.testing.assert_allclose(values[0], iou(boxes[0], target), atol=1e-5)


def test_the_usual_five_steps_gain():
    """Means over 200 starts of the size of a tracker's errors; measured: 0.67 to 0.90."""
    target = np.array([10.0, 20, 70, 50])
    rng = np.random.default_rng(0)
    first = np.stack([start(target, noise) for noise in rng.uniform(-0.2, 0.2, (200, 4))])
    boxes, _ = refine(true_iou(target), first[None], RefinementSettings())
    assert iou(first, target).mean() == pytest.approx(0.67, abs=0.02)
    assert iou(boxes[0], target).mean() > 0.87


@settings(max_examples=10, deadline=None)
@given(starts, st.floats(0.2, 20), st.floats(-100, 100))
def test_the_climb_does_not_depend_on_size_or_place(noise, scale, shift):
    target = np.array([10.0, 20, 70, 50])
    first = start(target, np.array(noise))
    settings_ = RefinementSettings(3, 0.1, 0)
    plain, _ = refine(smooth(target), first[None, None], settings_)
    scaled, _ = refine(smooth(target * scale + shift), (first * scale + shift)[None, None], settings_)
    np.testing.assert_allclose((scaled - shift) / scale, plain, atol=0.05)


def test_boxes_of_several_targets_are_on_their_own():
    targets = np.array([[10.0, 20, 70, 50], [200, 200, 260, 300]])
    first = np.stack([start(target, np.array([0.1, -0.1, 0.2, -0.2])) for target in targets])[:, None]
    together, _ = refine(true_iou(targets), first, RefinementSettings(10))
    for one in range(2):
        alone, _ = refine(true_iou(targets[one]), first[one][None], RefinementSettings(10))
        np.testing.assert_allclose(together[one], alone[0], atol=1e-4)


def test_it_ends_when_nothing_changes():
    calls = []

    def flat(boxes):
        calls.append(boxes)
        return np.full(boxes.shape[:2], 0.5, np.float32), np.full(boxes.shape, 1e-6, np.float32)

    first = np.array([[[0, 0, 10, 10], [5, 5, 20, 20]]], np.float32)
    boxes, _ = refine(flat, first, RefinementSettings(50))
    assert len(calls) == 2
    np.testing.assert_array_equal(boxes, first)


def test_predictions_that_are_not_finite_move_nothing():
    first = np.array([[[0, 0, 10, 10], [5, 5, 20, 20]]], np.float32)

    def broken_later(boxes):
        moved = (boxes != first).any()
        values = np.array([[np.nan, np.nan if moved else 0.5]], np.float32)
        return values, np.full(boxes.shape, 0.1, np.float32)

    boxes, values = refine(broken_later, first, RefinementSettings(3))
    np.testing.assert_array_equal(boxes, first)
    assert values[0, 1] == 0.5


def test_jitter_is_bounded_seeded_and_keeps_the_box():
    box = np.array([[10.0, 20, 70, 50], [0, 0, 10, 10]], np.float32)
    around = jitter(box, 500, np.random.default_rng(3), 0.1, 0.4)
    np.testing.assert_allclose(around[:, 0], box, atol=1e-4)
    np.testing.assert_array_equal(around, jitter(box, 500, np.random.default_rng(3), 0.1, 0.4))
    # what is drawn for a box does not depend on which other boxes there are
    np.testing.assert_array_equal(around[1:], jitter(box[1:], 500, np.random.default_rng(3), 0.1, 0.4))
    centres, sizes = (around[0, :, :2] + around[0, :, 2:]) / 2, around[0, :, 2:] - around[0, :, :2]
    shift, growth = (centres - [40, 35]) / [60, 30], np.log(sizes / [60, 30])
    for noise, limit in ((shift, 0.1), (growth, 0.4)):
        assert 0.95 * limit < np.abs(noise).max() <= limit + 1e-4
        assert abs(noise.mean()) < 0.1 * limit


def test_mean_of_the_best_boxes():
    boxes = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    mean, value = mean_of_best(boxes, np.array([[0.1, 0.9, 0.2, 0.7]], np.float32), 2)
    np.testing.assert_allclose(mean, [(boxes[0, 1] + boxes[0, 3]) / 2])
    assert value == pytest.approx([0.8])


class Overlap(nn.Module):
    """IoU from pooled features with its gradient, in operators that ONNX has."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.last = nn.Linear(8 * 9, 32), nn.Linear(32, 1)

    def iou(self, features, boxes):
        pooled = precise_roi_pool(features, boxes, 3, 16, 7.5).flatten(2)
        return self.last(functional.relu(self.hidden(pooled))).squeeze(-1)

    def forward(self, features, boxes):
        pooled, slopes = precise_roi_pool_with_slopes(features, boxes, 3, 16, 7.5)
        before = self.hidden(pooled.flatten(2))
        by_pooled = torch.matmul((before > 0).to(before.dtype) * self.last.weight[0], self.hidden.weight)
        gradient = torch.matmul(slopes.flatten(3), by_pooled.unsqueeze(3)).squeeze(3)
        return self.last(functional.relu(before)).squeeze(-1), gradient


def test_an_exported_network_climbs_as_autograd_does(tmp_path):
    module = Overlap()
    features = TensorSpec("features", (-1, 8, 16, 16), np.float32, (1, 8, 16, 16), (2, 8, 16, 16), (4, 8, 16, 16))
    boxes = TensorSpec("boxes", (-1, 10, 4), np.float32, (1, 10, 4), (2, 10, 4), (4, 10, 4))
    outputs = TensorSpec("iou", (-1, 10)), TensorSpec("gradient", (-1, 10, 4))
    network = Network("overlap", (features, boxes), outputs, "o" * 64, lambda: module)
    engine = make_engine(network, "onnxruntime", cache=EngineCache(tmp_path))
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 8, 16, 16), np.float32)
    first = jitter([[60, 70, 140, 190], [100, 30, 220, 90]], 10, rng, 0.2, 0.3)
    settings_ = RefinementSettings(8, 0.05, 0)
    theirs, values = refine(by_engine(engine, features=maps), first, settings_)
    ours, expected = refine(by_autograd(lambda b: module.iou(torch.from_numpy(maps), b)), first, settings_)
    np.testing.assert_allclose(theirs, ours, atol=0.05)
    np.testing.assert_allclose(values, expected, atol=1e-3)
    start_values = module.iou(torch.from_numpy(maps), torch.from_numpy(first)).detach().numpy()
    assert (values >= start_values - 1e-5).all()
    assert (values > start_values + 0.01).mean() > 0.5

"""Precise RoI pooling against its definition: the integral of the interpolated features (IoU-Net, section 3.3)."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import nn
from torch.nn import functional

from deep_tracking_ros.inference import EngineCache, Network, TensorSpec, make_engine
from deep_tracking_ros.single_object.parts.roi_pooling import (
    NARROWEST,
    bin_weights,
    hat_integral,
    precise_roi_pool,
    precise_roi_pool_with_slopes,
)

STRIDE, OFFSET = 16.0, 7.5

# A box that may reach far out of a map of 8 x 6 cells (-0.5 to 127.5 px wide, 95.5 px high).
places = st.floats(-60, 160)
sides = st.floats(3, 150)
boxes_of = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), places, places, sides, sides)
inside = st.builds(
    lambda x, y, w, h: (x, y, x + w * (119.5 - x), y + h * (87.5 - y)),
    st.floats(7.5, 100), st.floats(7.5, 70), st.floats(0.05, 1), st.floats(0.05, 1),
)  # fmt: skip


def random_map(seed=0, channels=3, dtype=torch.float64):
    return torch.randn(1, channels, 6, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pool(features, *boxes, size=3):
    return precise_roi_pool(features, torch.tensor([boxes], dtype=features.dtype), size, STRIDE, OFFSET)


def sampled(features, box, size, per_bin):
    """RoIAlign with ``per_bin`` x ``per_bin`` samples in each bin: means of bilinear samples, 0 outside of the map."""
    x0, y0, x1, y1 = ((np.array(box) - OFFSET) / STRIDE).tolist()
    along = (torch.arange(size * per_bin, dtype=features.dtype) + 0.5) / (size * per_bin)
    x, y = x0 + (x1 - x0) * along, y0 + (y1 - y0) * along
    rows, columns = features.shape[-2:]
    grid = torch.stack(torch.meshgrid((2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1, indexing="xy"), -1)
    return functional.avg_pool2d(functional.grid_sample(features, grid[None], align_corners=False), per_bin)


@pytest.mark.parametrize("x", [-2.0, -1.0, -0.3, 0.0, 0.6, 1.0, 5.0])
def test_the_integral_of_the_hat(x):
    expected = quad(lambda t: max(0.0, 1 - abs(t)), -1.5, x, points=(-1, 0, 1))[0] if x > -1.5 else 0
    assert hat_integral(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(boxes_of, st.integers(1, 5))
def test_pooling_is_the_limit_of_roi_align(box, size):
    """With 200 x 200 samples a bin the midpoint rule is exact to a step's square times the kinks it crosses."""
    features = random_map()
    expected = sampled(features, box, size, 200)
    torch.testing.assert_close(pool(features, box, size=size)[0], expected, atol=2e-3, rtol=0)


def test_roi_align_comes_closer_the_more_it_samples():
    features, box = random_map(1), (9.0, 13.0, 101.0, 80.0)
    exact = pool(features, box)[0]
    errors = [(sampled(features, box, 3, n) - exact).abs().max().item() for n in (1, 4, 16, 64, 256)]
    assert all(later < earlier / 3 for earlier, later in itertools.pairwise(errors))
    assert errors[0] > 0.1  # one sample a bin is another thing


@settings(max_examples=40, deadline=None)
@given(inside, st.integers(1, 4))
def test_constant_and_linear_features_are_exact(box, size):
    """A plane's mean over a bin is its value in the middle of the bin."""
    x, y = OFFSET + STRIDE * torch.arange(8.0).double(), OFFSET + STRIDE * torch.arange(6.0).double()
    plane = (0.3 * x[None] - 0.7 * y[:, None] + 2).reshape(1, 1, 6, 8)
    features = torch.cat([torch.full_like(plane, 5.0), plane], 1)
    steps = (torch.arange(size).double() + 0.5) / size
    x0, y0, x1, y1 = box
    middle = 0.3 * (x0 + (x1 - x0) * steps)[None] - 0.7 * (y0 + (y1 - y0) * steps)[:, None] + 2
    torch.testing.assert_close(pool(features, box, size=size)[0, 0], torch.stack([torch.full_like(middle, 5), middle]))


@settings(max_examples=30, deadline=None)
@given(boxes_of, st.integers(-3, 3), st.integers(-3, 3))
def test_boxes_move_with_the_features(box, right, down):
    small = random_map(2)
    large = functional.pad(small, (4, 4, 4, 4))
    moved = torch.roll(large, (down, right), (2, 3))
    there = np.array(box) + STRIDE * (4 + np.array([right, down, right, down]))
    torch.testing.assert_close(pool(moved, there.tolist()), pool(small, box))


@settings(max_examples=30, deadline=None)
@given(boxes_of)
def test_bins_are_the_boxes_that_they_are(box):
    """The mean over a box is the mean of its bins, and a bin's value is that of the bin taken as a box."""
    features = random_map(3)
    bins = pool(features, box, size=4)
    torch.testing.assert_close(bins.mean((-2, -1)), pool(features, box, size=1)[..., 0, 0])
    x0, y0, x1, y1 = box
    bin_box = (x0 + (x1 - x0) / 4, y0 + (y1 - y0) / 2, x0 + (x1 - x0) / 2, y0 + (y1 - y0) * 3 / 4)
    torch.testing.assert_close(bins[..., 2, 1], pool(features, bin_box, size=1)[..., 0, 0])


def test_gradients_in_features_and_boxes():
    features = random_map(4).repeat(2, 1, 1, 1).requires_grad_()
    boxes = torch.tensor(
        [[[9.0, 13, 101, 80], [-30, 40, 20, 97]], [[60, 60, 75, 64], [20, -9, 150, 120]]], dtype=torch.float64
    )
    assert torch.autograd.gradcheck(
        lambda f, b: precise_roi_pool(f, b, 3, STRIDE, OFFSET), (features, boxes.requires_grad_())
    )


def test_every_box_is_pooled_from_the_map_of_its_own_batch_element():
    features = torch.cat([random_map(5), random_map(6)])
    boxes = torch.tensor([[[9.0, 13, 101, 80], [30, 30, 50, 77]], [[60, 60, 75, 64], [0, 0, 90, 20]]]).double()
    together = precise_roi_pool(features, boxes, 3, STRIDE, OFFSET)
    assert together.shape == (2, 2, 3, 3, 3)
    for b, n in np.ndindex(2, 2):
        torch.testing.assert_close(together[b, n], pool(features[b : b + 1], boxes[b, n].tolist())[0, 0])


def test_boxes_without_extent_give_the_features_at_their_place():
    """Also where a refinement has turned a box inside out; the place still has its gradient."""
    features = random_map(7, dtype=torch.float32)
    x, y = 3.25, 2.5  # cells
    px = OFFSET + STRIDE * np.array([x, y])
    boxes = torch.tensor([[[*px, *px], [*(px + 3), *(px - 3)]]], dtype=torch.float32, requires_grad=True)
    pooled = precise_roi_pool(features, boxes, 2, STRIDE, OFFSET)
    left, right = features[0, :, 2:4, 3].mean(1), features[0, :, 2:4, 4].mean(1)  # half way between rows 2 and 3
    expected = (left * 0.75 + right * 0.25)[None, :, None, None].expand(2, 3, 2, 2)
    torch.testing.assert_close(pooled[0], expected, atol=4 * NARROWEST, rtol=0)
    pooled[0, :, 0].sum().backward()
    slope = (right - left)[0] * 4 / STRIDE  # of four bins, over both sides of the box
    torch.testing.assert_close(boxes.grad[0, :, [0, 2]].sum(1), slope.expand(2), atol=1e-3, rtol=0.05)


def test_weights_of_a_line_sum_to_one_inside():
    weights = bin_weights(torch.tensor([0.0, 2.2]), torch.tensor([7.0, 2.9]), 3, 8)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
    assert (weights >= -1e-6).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(boxes_of, min_size=1, max_size=3))
def test_slopes_are_the_derivatives(boxes):
    features = random_map(8)
    tensor = torch.tensor([[*boxes, (50.0, 40.0, 50.05, 30.0)]], dtype=torch.float64)  # one that is read as wider
    pooled, slopes = precise_roi_pool_with_slopes(features, tensor, 2, STRIDE, OFFSET)
    torch.testing.assert_close(pooled, precise_roi_pool(features, tensor, 2, STRIDE, OFFSET))
    jacobian = torch.autograd.functional.jacobian(lambda b: precise_roi_pool(features, b, 2, STRIDE, OFFSET), tensor)
    for n in range(len(boxes) + 1):
        torch.testing.assert_close(slopes[0, n], jacobian[0, n, :, :, :, 0, n].permute(3, 0, 1, 2))


class Pooling(nn.Module):
    def forward(self, features, boxes):
        pooled, slopes = precise_roi_pool_with_slopes(features, boxes, 5, STRIDE, OFFSET)
        return precise_roi_pool(features, boxes, 5, STRIDE, OFFSET), pooled, slopes


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_runtime_pools_the_same(tmp_path, batch):
    def batched(name, *shape):
        return TensorSpec(name, (-1, *shape), minimum=(1, *shape), optimum=(2, *shape), maximum=(4, *shape))

    shapes = {"plain": (9, 64, 5, 5), "pooled": (9, 64, 5, 5), "slopes": (9, 4, 64, 5, 5)}
    outputs = tuple(TensorSpec(name, (-1, *shape)) for name, shape in shapes.items())
    network = Network("pooling", (batched("features", 64, 18, 16), batched("boxes", 9, 4)), outputs, "p" * 64, Pooling)
    generator = np.random.default_rng(0)
    corners = generator.uniform(-20, 250, (batch, 9, 2))
    arrays = {
        "features": generator.standard_normal((batch, 64, 18, 16), np.float32),
        "boxes": np.concatenate([corners, corners + generator.uniform(-5, 120, (batch, 9, 2))], -1).astype(np.float32),
    }
    cache = EngineCache(tmp_path)
    ours, theirs = (make_engine(network, backend, cache=cache)(**arrays) for backend in ("torch", "onnxruntime"))
    for name in shapes:
        np.testing.assert_allclose(theirs[name], ours[name], atol=5e-5, err_msg=name)

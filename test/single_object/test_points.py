import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.nn import functional

from deep_tracking_ros.inference import EngineCache, Network, TensorSpec, make_engine
from deep_tracking_ros.single_object.parts.box_selection import cell_grid
from deep_tracking_ros.single_object.parts.contours import by_angle, hull, sample_border
from deep_tracking_ros.single_object.parts.deformable import deform_conv2d
from deep_tracking_ros.single_object.parts.points import (
    points_to_box,
    points_to_moment_box,
    points_to_offsets,
    set_distance,
    to_crop,
)
from deep_tracking_ros.types import Mask


def random_points(n=9, seed=0, dtype=torch.float64):
    return torch.randn(2, 2 * n, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def at_one_cell(points_xy):
    """(1, 2 n, 1, 1) of (n, 2) x, y."""
    return torch.tensor(np.ascontiguousarray(points_xy[:, ::-1])).reshape(1, -1, 1, 1)


clouds = arrays(np.float64, st.tuples(st.integers(3, 30), st.just(2)), elements=st.floats(-50, 50, width=32))


@settings(max_examples=50, deadline=None)
@given(clouds)
def test_the_min_max_box_is_the_smallest_around_the_points(cloud):
    box = points_to_box(at_one_cell(cloud)).flatten().numpy()
    np.testing.assert_array_equal(box, [*cloud.min(0), *cloud.max(0)])


@settings(max_examples=50, deadline=None)
@given(clouds, st.floats(-9, 9), st.floats(0.5, 3))
def test_moment_boxes_move_and_grow_with_the_points(cloud, shift, scale):
    log_scale = torch.tensor([0.3, -0.2], dtype=torch.float64)
    cloud = cloud + np.linspace(0, 1, len(cloud))[:, None]  # never all in one place
    box = points_to_moment_box(at_one_cell(cloud), log_scale)
    moved = points_to_moment_box(at_one_cell(cloud * scale + shift), log_scale)
    torch.testing.assert_close(moved, box * scale + shift)


def test_the_moment_box_of_points_spread_evenly_over_a_box():
    x, y = np.meshgrid(np.linspace(-3, 5, 201), np.linspace(-1, 2, 201))
    points = at_one_cell(np.stack([x.ravel(), y.ravel()], 1))
    box = points_to_moment_box(points, torch.full((2,), math.log(math.sqrt(3)), dtype=torch.float64))
    torch.testing.assert_close(box.flatten(), torch.tensor([-3.0, -1, 5, 2]).double(), atol=0.05, rtol=0)


def test_gradients_of_boxes():
    points = random_points().requires_grad_()
    assert torch.autograd.gradcheck(points_to_box, points)
    log_scale = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(points_to_moment_box, (points, log_scale))
    together = torch.zeros(1, 18, 1, 1, requires_grad=True)  # as a network starts
    points_to_moment_box(together, torch.zeros(2)).sum().backward()
    assert torch.isfinite(together.grad).all()


def test_boxes_in_the_crop_are_those_of_the_grid_of_cells():
    relative = random_points(2)
    grid = torch.from_numpy(cell_grid(4, 16, 7.5)[:, :3]).double()
    expected = relative * 16 + torch.cat([grid, grid])
    torch.testing.assert_close(to_crop(relative, 16, 7.5), expected)


def test_a_convolution_at_points_reads_at_them():
    """Every cell's points lie on the same feature cell (2, 1): all taps read that one."""
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    y, column = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    points = torch.stack([2 - y, 1 - column]).double().repeat(9, 1, 1)[None]
    weight = torch.randn(5, 2, 3, 3, dtype=torch.float64)
    expected = (weight.sum((2, 3)) @ x[0, :, 2, 1]).reshape(1, 5, 1, 1).expand(1, 5, 3, 4)
    torch.testing.assert_close(deform_conv2d(x, points_to_offsets(points, 3, 3), weight, padding=1), expected)


def test_set_distance_by_hand():
    points = torch.tensor([[0.0, 0], [4, 0]])
    targets = torch.tensor([[0.0, 3], [4, 0], [4, 1]])
    # points to targets: 3, 0; targets to points: 3, 0, 1
    assert set_distance(points, targets).item() == pytest.approx((1.5 + 4 / 3) / 2, abs=1e-5)
    assert set_distance(points, points.flip(0)).item() == pytest.approx(0, abs=1e-5)


def test_set_distance_pulls_points_onto_a_border():
    angle = torch.linspace(0, 2 * math.pi, 65)[:-1]
    circle = 5 * torch.stack([angle.cos(), angle.sin()], 1)
    points = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimiser = torch.optim.Adam([points], 0.1)
    for _ in range(150):
        optimiser.zero_grad()
        set_distance(points, circle).backward()
        optimiser.step()
    assert set_distance(points, circle) < 0.35
    assert (points.norm(dim=1) - 5).abs().max() < 0.2


@settings(max_examples=50, deadline=None)
@given(clouds)
def test_hulls_are_convex_clockwise_and_around_all_points(cloud):
    cloud = np.round(cloud)  # the hull is one of float32
    corners = hull(cloud)
    assert {tuple(corner) for corner in corners} <= {tuple(point) for point in cloud.astype(np.float32)}
    if len(corners) >= 3:
        sides = np.roll(corners, -1, 0) - corners
        turns = sides[:, 0] * np.roll(sides, -1, 0)[:, 1] - sides[:, 1] * np.roll(sides, -1, 0)[:, 0]
        assert (turns > 0).all()  # y down: to the right
        away = cloud[:, None] - corners[None]
        assert (sides[None, :, 0] * away[..., 1] - sides[None, :, 1] * away[..., 0] >= -1e-3).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 60), st.floats(0, 6), st.floats(1, 4), st.randoms(use_true_random=False))
def test_points_of_a_border_in_any_order_become_its_contour(count, start, stretch, random):
    angles = start + np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = 10 + 3 * np.cos(3 * angles)
    border = np.stack([stretch * radius * np.cos(angles) + 100, radius * np.sin(angles) + 40], 1).astype(np.float32)
    shuffled = border.copy()
    random.shuffle(order := list(range(count)))
    contour = by_angle(shuffled[order])
    first = int(np.flatnonzero((border == contour[0]).all(1))[0])
    np.testing.assert_array_equal(contour, np.roll(border, -first, 0))  # angles grow clockwise where y is down


def test_a_crowd_of_points_does_not_pull_the_middle_out():
    """Ninety points on one side of a square and three on its others: their mean lies almost on that side."""
    crowd = np.stack([np.zeros(90), np.linspace(0, 10, 90)], 1)
    others = np.array([[5, 0], [10, 0], [10, 10], [5, 10]])
    contour = by_angle(np.concatenate([others, crowd]))
    assert cv2.contourArea(contour) == pytest.approx(100, abs=1e-3)


def test_points_of_a_mask_s_border():
    disc = np.zeros((60, 80), np.uint8)
    cv2.circle(disc, (40, 30), 20, 255, -1)
    disc[2:4, 2:4] = 255  # a crumb
    points = sample_border(Mask(100, 200, disc), 48)
    np.testing.assert_allclose(np.hypot(*(points - [140, 230]).T), 20, atol=1)  # a disc of pixels
    steps = np.hypot(*(np.roll(points, -1, 0) - points).T)
    assert steps.max() < 1.42 * steps.min()  # equal along the pixels, whose way is up to sqrt 2 longer
    union = np.zeros_like(disc)
    cv2.fillPoly(union, [np.round(by_angle(points) - [100, 200]).astype(np.int32)], 255)
    disc[2:4, 2:4] = 0
    assert (union & disc).sum() / (union | disc).sum() > 0.95
    assert sample_border(Mask(0, 0, np.zeros((5, 5), np.uint8)), 9).shape == (0, 2)
    np.testing.assert_array_equal(sample_border(Mask(3, 4, np.full((1, 1), 255, np.uint8)), 3), [[3, 4]] * 3)


class PointHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.places = nn.Conv2d(8, 18, 1)
        self.weight = nn.Parameter(torch.randn(6, 8, 3, 3))
        self.log_scale = nn.Parameter(torch.tensor([0.5, 0.6]))

    def forward(self, x):
        points = self.places(x)
        read = functional.relu(deform_conv2d(x, points_to_offsets(points, 3, 3), self.weight, padding=1))
        boxes = to_crop(points_to_box(points), 16, 7.5)
        return read, boxes, to_crop(points_to_moment_box(points, self.log_scale), 16, 7.5)


def test_onnx_runtime_gives_the_same(tmp_path):
    torch.manual_seed(0)
    head = PointHead()
    shape = (8, 16, 18)
    x = TensorSpec("x", (-1, *shape), minimum=(1, *shape), optimum=(2, *shape), maximum=(4, *shape))
    outputs = tuple(TensorSpec(name, (-1, n, 16, 18)) for name, n in (("read", 6), ("box", 4), ("moment", 4)))
    network = Network("points", (x,), outputs, "p" * 64, lambda: head)
    arrays = {"x": np.random.default_rng(0).standard_normal((3, *shape), np.float32)}
    cache = EngineCache(tmp_path)
    ours, theirs = (make_engine(network, backend, cache=cache)(**arrays) for backend in ("torch", "onnxruntime"))
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], atol=1e-3, err_msg=name)

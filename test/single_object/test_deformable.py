import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from deep_tracking_ros.inference import EngineCache, Network, TensorSpec, make_engine
from deep_tracking_ros.single_object.parts.deformable import deform_conv2d, kernel_places


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


layouts = st.tuples(
    st.sampled_from([(1, 1), (3, 3), (2, 3), (4, 4), (1, 5)]), st.integers(1, 2), st.integers(0, 3), st.integers(1, 2)
)


@settings(max_examples=40, deadline=None)
@given(layouts)
def test_without_offsets_it_is_the_plain_convolution(layout):
    kernel, stride, padding, dilation = layout
    x, weight, bias = random(2, 3, 9, 11), random(4, 3, *kernel, seed=1), random(4, seed=2)
    expected = functional.conv2d(x, weight, bias, stride, padding, dilation)
    offsets = torch.zeros(2, 2 * kernel[0] * kernel[1], *expected.shape[2:], dtype=x.dtype)
    torch.testing.assert_close(deform_conv2d(x, offsets, weight, bias, None, stride, padding, dilation), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(-4, 4), st.integers(-4, 4))
def test_whole_offsets_are_a_shift(down, right):
    """y comes before x; what lies outside of the map is 0."""
    x, weight = random(1, 2, 7, 8), random(3, 2, 3, 3, seed=1)
    offsets = torch.tensor([down, right], dtype=x.dtype).repeat(9).reshape(1, 18, 1, 1).expand(1, 18, 7, 8)
    shifted = functional.pad(x, (8, 8, 8, 8))[:, :, 7 + down : 16 + down, 7 + right : 17 + right]
    torch.testing.assert_close(deform_conv2d(x, offsets, weight, padding=1), functional.conv2d(shifted, weight))


def test_taps_move_on_their_own():
    """Only the offsets of the third tap (first row, last column) are set; its weight is the only one."""
    x = random(1, 1, 6, 6)
    weight = torch.zeros(1, 1, 3, 3, dtype=x.dtype)
    weight[0, 0, 0, 2] = 1
    offsets = torch.zeros(1, 18, 6, 6, dtype=x.dtype)
    offsets[0, 4], offsets[0, 5] = 1.5, -1  # from (-1, +1) to (+0.5, 0)
    below = functional.pad(x, (0, 0, 0, 1))[:, :, 1:]
    torch.testing.assert_close(deform_conv2d(x, offsets, weight, padding=1), (x + below) / 2)


def test_the_mask_weighs_taps():
    x, weight, offsets = random(2, 3, 5, 6), random(4, 3, 3, 3, seed=1), random(2, 18, 5, 6, seed=2)
    mask = torch.rand(2, 9, 1, 1, dtype=x.dtype).expand(2, 9, 5, 6)
    each = [
        deform_conv2d(one[None], offset[None], weight * share[:, 0, 0].reshape(3, 3), padding=1)
        for one, offset, share in zip(x, offsets, mask, strict=True)
    ]
    torch.testing.assert_close(deform_conv2d(x, offsets, weight, mask=mask, padding=1), torch.cat(each))


def test_gradients():
    x, weight, bias, mask = (
        random(2, 2, 4, 5),
        random(2, 2, 3, 3, seed=1),
        random(2, seed=2),
        random(2, 9, 4, 5, seed=3),
    )
    offsets = 0.8 * random(2, 18, 4, 5, seed=4)
    inputs = [tensor.requires_grad_() for tensor in (x, offsets, weight, bias, mask)]
    assert torch.autograd.gradcheck(lambda *tensors: deform_conv2d(*tensors, padding=1), inputs)


def test_places_of_taps():
    assert kernel_places(3, 3).tolist()[:4] == [[-1, -1], [-1, 0], [-1, 1], [0, -1]]
    assert kernel_places(1, 2, dilation=3).tolist() == [[0, -1.5], [0, 1.5]]


class Deformable(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(random(8, 96, 3, 3, dtype=torch.float32) / 30)
        self.bias = nn.Parameter(random(8, dtype=torch.float32))

    def forward(self, x, offsets, mask):
        return deform_conv2d(x, offsets, self.weight, self.bias, mask, padding=1)


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_runtime_gives_the_same(tmp_path, batch):
    def batched(name, *shape):
        return TensorSpec(name, (-1, *shape), minimum=(1, *shape), optimum=(2, *shape), maximum=(4, *shape))

    inputs = batched("x", 96, 16, 16), batched("offsets", 18, 16, 16), batched("mask", 9, 16, 16)
    network = Network("deformable", inputs, (TensorSpec("y", (-1, 8, 16, 16)),), "d" * 64, Deformable)
    generator = np.random.default_rng(0)
    arrays = {spec.name: generator.standard_normal((batch, *spec.shape[1:]), np.float32) for spec in inputs}
    arrays["offsets"] *= 6  # also far outside
    cache = EngineCache(tmp_path)
    ours, theirs = (make_engine(network, backend, cache=cache)(**arrays) for backend in ("torch", "onnxruntime"))
    np.testing.assert_allclose(theirs["y"], ours["y"], atol=1e-4)

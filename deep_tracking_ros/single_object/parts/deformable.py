"""Deformable convolution: every tap of the kernel reads the features where an offset says, made of standard operators.

J. Dai, H. Qi, Y. Xiong, Y. Li, G. Zhang, H. Hu, Y. Wei, "Deformable Convolutional Networks", ICCV 2017, section 2.1;
the modulation of taps is from X. Zhu, H. Hu, S. Lin, J. Dai, "Deformable ConvNets v2", CVPR 2019, section 3.2.

The taps are read by one bilinear sampling (``GridSample`` in ONNX, which ONNX Runtime and TensorRT have) and weighed
by one 1x1 convolution. On 96 channels of 16 x 16 cells and nine taps ONNX Runtime takes 2.2 times as long for that as
for the plain convolution; gathering the four neighbours of each tap took 1.2 times as long as this, sampling by a
product with interpolation matrices 2.6 times.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def deform_conv2d(
    x: Tensor,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """A convolution whose taps are moved; with offsets of 0 and no mask it is ``conv2d``.

    Args:
        x: (B, C, H, W) features; they fall to 0 within one cell outside of the map.
        offsets: (B, 2 K, H', W') in cells of ``x``, y and x of the first tap, y and x of the second, ...; taps are
            counted along the rows of the kernel.
        weight: (D, C, h, w), K = h w taps.
        bias: (D,).
        mask: (B, K, H', W') factors of the taps, 0 to 1 in the paper.
        stride: cells of ``x`` from one output cell to the next.
        padding: cells by which the kernel may reach over each side.
        dilation: cells of ``x`` between two taps.

    Returns:
        (B, D, H', W'), of ``conv2d``'s size; differentiable in all of its inputs.
    """
    channels, rows, columns = x.shape[1:]
    taps, out_rows, out_columns = offsets.shape[1] // 2, offsets.shape[2], offsets.shape[3]
    down, right = _taps(offsets, weight.shape[2], weight.shape[3], stride, padding, dilation)
    # grid_sample counts from -1 to 1 between the outer edges of the first and the last cell
    grid = torch.stack([(2 * right + 1) / columns - 1, (2 * down + 1) / rows - 1], -1)
    read = functional.grid_sample(x, grid.reshape(-1, taps * out_rows, out_columns, 2), align_corners=False)
    if mask is not None:
        read = read * mask.reshape(-1, 1, taps * out_rows, out_columns)
    read = read.reshape(-1, channels * taps, out_rows, out_columns)
    return functional.conv2d(read, weight.flatten(1).unsqueeze(2).unsqueeze(3), bias)


def kernel_places(height: int, width: int, dilation: int = 1) -> Tensor:
    """(h w, 2) y and x of a kernel's taps, in cells from the kernel's middle, along its rows.

    Points that a network places around a cell become offsets by subtracting these (`points.points_to_offsets`).
    """
    y = (torch.arange(height) - (height - 1) / 2) * dilation
    x = (torch.arange(width) - (width - 1) / 2) * dilation
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2).float()


def _taps(offsets: Tensor, height: int, width: int, stride: int, padding: int, dilation: int) -> tuple[Tensor, Tensor]:
    """y and x (B, K, H', W') at which the taps of all output cells read, in cells of the input."""
    rows, columns = offsets.shape[2:]
    moved = offsets.reshape(-1, height * width, 2, rows, columns)
    taps = kernel_places(height, width, dilation).to(offsets).reshape(-1, 2, 1, 1)
    # the middle of a kernel, from its first tap, which reads cell -padding in the first output cell
    first_y, first_x = (dilation * (height - 1) / 2 - padding, dilation * (width - 1) / 2 - padding)
    y = torch.arange(rows, device=offsets.device).to(offsets.dtype).reshape(-1, 1) * stride + first_y
    x = torch.arange(columns, device=offsets.device).to(offsets.dtype) * stride + first_x
    return moved[:, :, 0] + taps[:, 0] + y, moved[:, :, 1] + taps[:, 1] + x

"""Precise RoI pooling: the mean of a feature map over each bin of a box, smooth in the features and in the box.

B. Jiang, R. Luo, J. Mao, T. Xiao, Y. Jiang, "Acquisition of Localization Confidence for Accurate Object Detection"
(IoU-Net), ECCV 2018, section 3.2. A map of cells becomes a function of the plane by bilinear interpolation (eq. 4),

    f(x, y) = sum_ij max(0, 1 - |x - i|) max(0, 1 - |y - j|) w_ij,

and a bin's value is the integral of f over the bin, divided by the bin's area (eq. 5). The interpolation is a product
of a function of x and one of y, so the integral is too: each bin has a weight for each column and one for each row,
and pooling is two matrix products, with nothing sampled or rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

NARROWEST = 1e-2
"""Width of a bin, in cells, below which the box is read as wider: differences of float32 are exact to 1e-5 there."""


def precise_roi_pool(features: Tensor, boxes: Tensor, size: int, stride: float, offset: float) -> Tensor:
    """Pool features over boxes, by two matrix products.

    Outside of the map features are 0, as in eq. 4: they fall to 0 within one cell of the outermost cells.

    Args:
        features: (B, C, H, W).
        boxes: (B, N, 4) xyxy px, each belonging to the map of its batch element. A side below 0 or so short that bins
            are narrower than `NARROWEST` is read as that short, about the same centre.
        size: bins along each side of a box.
        stride: px from one cell to the next.
        offset: px (pixel centres at integers) at which the first cell lies, along both axes.

    Returns:
        (B, N, C, size, size), rows (y) before columns (x); differentiable in features and boxes.
    """
    channels, rows, columns = features.shape[1:]
    count = boxes.shape[1]
    cells = (boxes - offset) / stride
    over_x = bin_weights(cells[..., 0], cells[..., 2], size, columns).reshape(-1, count * size, columns)
    over_y = bin_weights(cells[..., 1], cells[..., 3], size, rows)
    pooled = torch.bmm(features.reshape(-1, channels * rows, columns), over_x.transpose(1, 2))
    pooled = pooled.reshape(-1, channels, rows, count, size).permute(0, 3, 2, 1, 4)  # (B, N, H, C, size)
    pooled = torch.matmul(over_y, pooled.reshape(-1, count, rows, channels * size))
    return pooled.reshape(-1, count, size, channels, size).transpose(2, 3)


def bin_weights(low: Tensor, high: Tensor, size: int, cells: int) -> Tensor:
    """How much each cell of a line counts in the mean over each bin.

    Args:
        low: (...) where the first bin begins, in cells.
        high: (...) where the last bin ends, in cells.
        size: bins between low and high.
        cells: of the line; the first lies at 0.

    Returns:
        (..., size, cells); a bin's weights sum to 1 where it lies between the first and the last cell.
    """
    centre = (low + high) / 2
    width = ((high - low) / size).clamp(min=NARROWEST)
    edges = torch.arange(size + 1, dtype=low.dtype, device=low.device) - size / 2
    ends = centre.unsqueeze(-1) + width.unsqueeze(-1) * edges  # (..., size + 1)
    line = torch.arange(cells, dtype=low.dtype, device=low.device)
    below = hat_integral(ends.unsqueeze(-1) - line)
    return (below[..., 1:, :] - below[..., :-1, :]) / width[..., None, None]


def hat_integral(x: Tensor) -> Tensor:
    """The integral of max(0, 1 - |t|) from minus infinity to x."""
    x = x.clamp(-1, 1)
    return 0.5 + x - x * x.abs() / 2

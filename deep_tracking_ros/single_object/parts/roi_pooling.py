"""Precise RoI pooling: the mean of a feature map over each bin of a box, smooth in the features and in the box.

B. Jiang, R. Luo, J. Mao, T. Xiao, Y. Jiang, "Acquisition of Localization Confidence for Accurate Object Detection"
(IoU-Net), ECCV 2018, section 3.3. A map of cells becomes a function of the plane by bilinear interpolation (eq. 4),

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
    """Pool features over boxes.

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
    cells = (boxes - offset) / stride
    over_x = bin_weights(cells[..., 0], cells[..., 2], size, features.shape[3])
    over_y = bin_weights(cells[..., 1], cells[..., 3], size, features.shape[2])
    return _weighed(_weighed_rows(features, over_y), over_x)


def precise_roi_pool_with_slopes(
    features: Tensor, boxes: Tensor, size: int, stride: float, offset: float
) -> tuple[Tensor, Tensor]:
    """The same, and its derivative by the sides of the boxes, for networks that are exported: ONNX has no autograd.

    A network that predicts a box's overlap from ``pooled`` gives the overlap's gradient with it: the gradient by
    ``pooled``, times ``slopes``, summed over channels and bins.

    Returns:
        pooled (B, N, C, size, size), and slopes (B, N, 4, C, size, size) per px of x0, y0, x1 and y1.
    """
    cells = (boxes - offset) / stride
    x0, y0, x1, y1 = cells.unbind(-1)
    over_x, over_y = (bin_weights(x0, x1, size, features.shape[3]), bin_weights(y0, y1, size, features.shape[2]))
    by_x0, by_x1 = _bin_weight_slopes(x0, x1, over_x)
    by_y0, by_y1 = _bin_weight_slopes(y0, y1, over_y)
    rows = _weighed_rows(features, over_y)
    slopes = [
        _weighed(rows, by_x0),
        _weighed(_weighed_rows(features, by_y0), over_x),
        _weighed(rows, by_x1),
        _weighed(_weighed_rows(features, by_y1), over_x),
    ]
    return _weighed(rows, over_x), torch.stack(slopes, 2) / stride


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
    ends, width = _bin_ends(low, high, size)
    below = hat_integral(ends.unsqueeze(-1) - torch.arange(cells, dtype=low.dtype, device=low.device))
    return (below[..., 1:, :] - below[..., :-1, :]) / width[..., None, None]


def hat_integral(x: Tensor) -> Tensor:
    """The integral of max(0, 1 - |t|) from minus infinity to x."""
    x = x.clamp(-1, 1)
    return 0.5 + x - x * x.abs() / 2


def _bin_ends(low: Tensor, high: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where bins begin and end (..., size + 1), and their width (...), in cells."""
    width = ((high - low) / size).clamp(min=NARROWEST)
    edges = torch.arange(size + 1, dtype=low.dtype, device=low.device) - size / 2
    return ((low + high) / 2).unsqueeze(-1) + width.unsqueeze(-1) * edges, width


def _bin_weight_slopes(low: Tensor, high: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of `bin_weights`, whose result is given, by low and by high; both of its shape."""
    size, cells = weights.shape[-2:]
    ends, width = _bin_ends(low, high, size)
    hat = (1 - (ends.unsqueeze(-1) - torch.arange(cells, dtype=low.dtype, device=low.device)).abs()).clamp(min=0)
    # how far each end moves with high; narrow bins only move, the others widen too
    wide = (high - low > NARROWEST * size).to(low.dtype).unsqueeze(-1)
    edges = torch.arange(size + 1, dtype=low.dtype, device=low.device) / size - 0.5
    by_high = (0.5 + wide * edges).unsqueeze(-1)
    spread = (wide / size).unsqueeze(-1) * weights

    def slope(moves: Tensor, widens: Tensor) -> Tensor:
        return ((hat * moves)[..., 1:, :] - (hat * moves)[..., :-1, :] - widens) / width[..., None, None]

    return slope(1 - by_high, -spread), slope(by_high, spread)


def _weighed_rows(features: Tensor, over_y: Tensor) -> Tensor:
    """Sums (B, N, C, size, W) over the rows of features (B, C, H, W), with weights (B, N, size, H)."""
    channels, rows, columns = features.shape[1:]
    count, size = over_y.shape[1:3]
    over_y = over_y.reshape(-1, count * size, rows).transpose(1, 2)
    sums = torch.bmm(features.transpose(2, 3).reshape(-1, channels * columns, rows), over_y)
    return sums.reshape(-1, channels, columns, count, size).permute(0, 3, 1, 4, 2)


def _weighed(rows: Tensor, over_x: Tensor) -> Tensor:
    """Sums (B, N, C, size, size) over the columns of what `_weighed_rows` gives, with weights (B, N, size, W).

    The result is in its order as it is: TensorRT-RTX cannot build a layer on one that is transposed after the product.
    """
    count, channels, size, columns = rows.shape[1:]
    sums = torch.matmul(rows.reshape(-1, count, channels * size, columns), over_x.transpose(2, 3))
    return sums.reshape(-1, count, channels, size, size)

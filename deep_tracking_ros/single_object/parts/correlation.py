"""Cross-correlation of a search region with a bank of exemplar kernels of several scales and aspects."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deep_tracking_ros.types import FloatArray


def bank_scales(step: float) -> FloatArray:
    """(9, 2) natural logarithms of width and height of the bank's members: all pairs out of -step, 0, +step."""
    return np.array(list(itertools.product((-step, 0.0, step), repeat=2)), np.float32)


def bank_sampling(scales: FloatArray, cells: int, kernel: int) -> Tensor:
    """Matrices that cut a scaled kernel out of an exemplar's features by bilinear interpolation.

    Cell ``p`` of a kernel whose width is scaled by ``s`` is read at ``p / s``, both counted from the centre.

    Args:
        scales: (K, 2) logarithms of width and height.
        cells: side of the feature map.
        kernel: side of the kernels.

    Returns:
        (K, kernel * kernel, cells * cells) weights; each row sums to 1.
    """
    matrices = np.zeros((len(scales), 2, kernel, cells))
    for k, axis in np.ndindex(len(scales), 2):
        places = (np.arange(kernel) - (kernel - 1) / 2) / np.exp(scales[k, axis]) + (cells - 1) / 2
        matrices[k, axis] = np.maximum(0, 1 - np.abs(np.clip(places, 0, cells - 1)[:, None] - np.arange(cells)))
    # rows (y) of the map with the height's scale, columns (x) with the width's
    both = np.einsum("kiy,kjx->kijyx", matrices[:, 1], matrices[:, 0])
    return torch.from_numpy(both.reshape(len(scales), kernel**2, cells**2).astype(np.float32))


def cross_correlation(features: Tensor, kernels: Tensor) -> Tensor:
    """Slide each kernel over the features of its own batch element, "valid" places only.

    The product of every kernel cell with every feature cell is one matrix product; the products that belong to one
    place are then summed along skewed rows. This is the same as a convolution with run-time weights, and measured
    1.2 to 2 times as fast in ONNX Runtime, where such a convolution copies every window first.

    Args:
        features: (B, C, H, W).
        kernels: (B, K, h, w, C).

    Returns:
        (B, K, H - h + 1, W - w + 1).
    """
    channels, height, width = features.shape[1:]
    members, h, w = kernels.shape[1:4]
    cells = height * width
    products = torch.bmm(kernels.reshape(-1, members * h * w, channels), features.reshape(-1, channels, cells))
    # Rows of `cells` numbers read as rows of `cells + 1` start one later each: row j is moved by j cells (in x).
    skewed = functional.pad(products.reshape(-1, w * cells), (0, w)).reshape(-1, w, cells + 1)
    rows = skewed.sum(1)[:, :cells]
    # The same with rows one image row longer: row i is moved by i image rows (in y).
    skewed = functional.pad(rows.reshape(-1, h * cells), (0, h * width)).reshape(-1, h, cells + width)
    response = skewed.sum(1)[:, :cells].reshape(-1, members, height, width)
    return response[:, :, : height - h + 1, : width - w + 1]

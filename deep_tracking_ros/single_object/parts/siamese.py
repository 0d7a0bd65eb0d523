"""Pieces of siamese networks: necks, correlations, separable convolutions; and the two networks that are exported.

All trackers here that look for a template in a search crop share one frame. The template crop shows the target with
context (`geometry.crops.context_side`), the search crop shows more of the image at the same scale, and both go through
`parts.backbone.Backbone`. A *head* is a module with two methods:

* ``template(features, sizes)``: backbone features of the template crop to a tuple of tensors, once per target;
* ``search(features, sizes, *template)``: to a tuple of tensors, once per frame;

where ``features`` are `parts.backbone.Features` and ``sizes`` (B, 2) width and height of the target in its template
crop, px. `TemplateNetwork` and `SearchNetwork` put a head on the backbone; what `Backbone` is frozen or tuned is
training's business.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deep_tracking_ros.single_object.parts.backbone import LATE_CHANNELS, Backbone

STRIDE = 16
"""Crop pixels per cell of the maps that heads work on."""


class BatchNorm(nn.BatchNorm2d):
    """Without the count of batches, an integer that the moving average of the weights could not hold."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, *args: Any) -> None:
        nn.Module._load_from_state_dict(self, *args)  # without torch's own, which would ask for the count


class Separable(nn.Sequential):
    """Depth-wise then point-wise convolution, each normalised (Howard et al., "MobileNets", 2017)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, kernel, padding=kernel // 2, groups=inputs, bias=False),
            BatchNorm(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            BatchNorm(outputs),
            nn.ReLU(),
        )


class Neck(nn.Sequential):
    """Backbone features of stride 16 to a head's own channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(LATE_CHANNELS, channels, 1, bias=False), BatchNorm(channels))


def coverage(sizes: Tensor, cells: int) -> Tensor:
    """Share of each template cell that the target's box covers, the box in the crop's middle.

    Args:
        sizes: (B, 2) width and height of the target in its template crop, px.
        cells: side of the feature map.

    Returns:
        (B, 1, cells, cells), 0 to 1.
    """
    edges = torch.arange(cells, device=sizes.device, dtype=sizes.dtype) - cells / 2  # left edge of a cell
    half = sizes.unsqueeze(2) / (2 * STRIDE)  # (B, 2, 1)
    inside = (torch.minimum(edges + 1, half) - torch.maximum(edges, -half)).clamp(min=0)  # (B, 2, cells)
    return (inside[:, 1].unsqueeze(2) * inside[:, 0].unsqueeze(1)).unsqueeze(1)


class PixelCorrelation(nn.Module):
    """Template and search features to one map: every template cell is a kernel of 1 x 1.

    Pixel-wise correlation of B. Yan et al., "Alpha-Refine" (CVPR 2021), section 3.2, beside the search features
    weighted with the mean of the target, and the search features themselves.

    Args:
        channels: of the necks and of the result.
        cells: side of the template's features.
    """

    def __init__(self, channels: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.template_neck = Neck(channels)
        self.search_neck = Neck(channels)
        self.target = nn.Parameter(torch.zeros(channels))  # marks cells of the target among those of its surroundings
        self.mix = nn.Sequential(
            nn.Conv2d(cells**2 + 1 + 2 * channels, channels, 1, bias=False), BatchNorm(channels), nn.ReLU()
        )

    def template(self, features: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Backbone features (B, 112, cells, cells) to kernels (B, cells^2, C) and the target's mean (B, C, 1, 1)."""
        share = coverage(sizes, self.cells)
        z = self.template_neck(features) + share * self.target.reshape(1, -1, 1, 1)
        mean = (z * share).sum((2, 3), keepdim=True) / share.sum((2, 3), keepdim=True)
        kernels = functional.normalize(z, dim=1, eps=1e-3)
        return kernels.flatten(2).transpose(1, 2), mean

    def forward(self, features: Tensor, kernels: Tensor, mean: Tensor) -> Tensor:
        """Backbone features (B, 112, H, W) of the search crop to (B, C, H, W)."""
        x = self.search_neck(features)
        unit = functional.normalize(x, dim=1, eps=1e-3)
        similar = torch.matmul(kernels, unit.flatten(2)).reshape(-1, self.cells**2, *x.shape[2:])
        best = similar.amax(1, keepdim=True)
        return self.mix(torch.cat([similar, best, x * mean, x], 1))  # type: ignore[no-any-return]


def depthwise_correlation(features: Tensor, kernels: Tensor) -> Tensor:
    """Slide each channel of a kernel over the same channel of the features, with zeros around them.

    B. Li et al., "SiamRPN++" (CVPR 2019), section 3.3. Written as one product for each kernel cell: a grouped
    convolution whose groups are batch times channels could not be exported for a batch of any size.

    Args:
        features: (B, C, H, W).
        kernels: (B, C, h, w).

    Returns:
        (B, C, H, W); place (y, x) has the kernel's cell (h // 2, w // 2) on it.
    """
    height, width = features.shape[2:]
    h, w = kernels.shape[2:]
    padded = functional.pad(features, (w // 2, w - 1 - w // 2, h // 2, h - 1 - h // 2))
    result = torch.zeros_like(features)
    for i in range(h):
        for j in range(w):
            result = result + padded[:, :, i : i + height, j : j + width] * kernels[:, :, i : i + 1, j : j + 1]
    return result


def cell_places(rows: int, columns: int, like: Tensor) -> Tensor:
    """(2, rows, columns) x and y of cell centres in crop px, pixel centres at integers."""
    x = torch.arange(columns, device=like.device, dtype=like.dtype) * STRIDE + (STRIDE - 1) / 2
    y = torch.arange(rows, device=like.device, dtype=like.dtype) * STRIDE + (STRIDE - 1) / 2
    return torch.stack([x.expand(rows, columns), y.unsqueeze(1).expand(rows, columns)])


class TemplateNetwork(nn.Module):
    """What runs once per target: crops (B, S, S, 3) uint8 BGR and sizes (B, 2) px to the head's template tensors.

    Not ``sized``: the head does not look at the sizes, and they are no input.
    """

    def __init__(self, backbone: Backbone, head: Any, sized: bool = True) -> None:
        super().__init__()
        self.backbone, self.head, self.sized = backbone, head, sized

    def forward(self, crops: Tensor, *sizes: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.head.template(self.backbone(crops), sizes[0] if self.sized else None))


class SearchNetwork(nn.Module):
    """What runs once per frame: crops (B, R, R, 3) uint8 BGR, sizes (B, 2) px and the template tensors to maps."""

    def __init__(self, backbone: Backbone, head: Any, sized: bool = True) -> None:
        super().__init__()
        self.backbone, self.head, self.sized = backbone, head, sized

    def forward(self, crops: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.head.search(self.backbone(crops), *inputs if self.sized else (None, *inputs)))


class LateFeatures(nn.Module):
    """The backbone alone: crops (B, S, S, 3) uint8 BGR to its features of stride 16."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, crops: Tensor) -> Tensor:
        return self.backbone(crops).late  # type: ignore[no-any-return]

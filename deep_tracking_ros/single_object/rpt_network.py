"""Network of RPT: a target is a set of points that settle on it, and its box is what they span.

Z. Ma, L. Wang, H. Zhang, W. Lu, J. Yin, "RPT: Learning Point Set Representation for Siamese Visual Tracking" (ECCV
workshops 2020), section 3.2, after Z. Yang et al., "RepPoints" (ICCV 2019). A first set of points is regressed from
every cell; a deformable convolution reads the features at these very points, and from what it reads follow the score
and the final set. Unlike in the paper, points are regressed in units of the target's size in its template.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.single_object.parts.deformable import deform_conv2d, kernel_places
from deep_tracking_ros.single_object.parts.points import points_to_offsets
from deep_tracking_ros.single_object.parts.siamese import STRIDE, PixelCorrelation, Separable, cell_places

POINTS = 9
"""Points of a target: the taps of a 3 x 3 convolution."""


class PointConvolution(nn.Module):
    """A 3 x 3 convolution that reads its nine taps at given points (Dai et al., "Deformable ConvNets", ICCV 2017).

    With ``deformable`` off it is an ordinary convolution, to compare with.
    """

    def __init__(self, channels: int, deformable: bool = True) -> None:
        super().__init__()
        self.deformable = deformable
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, features: Tensor, points: Tensor) -> Tensor:
        """Features (B, C, H, W) read at points (B, 18, H, W), y before x, in cells from each cell."""
        if not self.deformable:
            return functional.conv2d(features, self.weight, self.bias, padding=1)
        return deform_conv2d(features, points_to_offsets(points, 3, 3), self.weight, self.bias, padding=1)


class RPTHead(nn.Module):
    """Correlation, two towers, points, deformable convolution, final points and score.

    Args:
        channels: of all maps.
        template: side of the template crop, px.
        deformable: off = an ordinary convolution in the place of the deformable one.
    """

    def __init__(self, channels: int, template: int, deformable: bool = True) -> None:
        super().__init__()
        self.correlation = PixelCorrelation(channels, template // STRIDE)
        self.trunk = Separable(channels, channels, 5)
        self.towers = nn.ModuleList(
            nn.Sequential(Separable(channels, channels, 5), Separable(channels, channels, 3)) for _ in range(2)
        )
        self.first = nn.Conv2d(channels, 2 * POINTS, 1)
        self.at_points = nn.ModuleList(PointConvolution(channels, deformable) for _ in range(2))
        self.classify = nn.Conv2d(channels, 1, 1)
        self.quality = nn.Conv2d(channels, 1, 1)
        self.final = nn.Conv2d(channels, 2 * POINTS, 1)
        nn.init.constant_(self.classify.bias, -4.0)  # type: ignore[arg-type]  # most cells are background
        for layer in (self.first, self.final):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.rest: Tensor  # (18, 1, 1) the points before anything is learnt, in half sizes of the target
        self.register_buffer("rest", kernel_places(3, 3).reshape(-1, 1, 1), persistent=False)

    def template(self, features: Features, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Kernels (B, cells^2, C) and the target's mean (B, C, 1, 1)."""
        return self.correlation.template(features.late, sizes)

    def search(self, features: Features, sizes: Tensor, kernels: Tensor, mean: Tensor) -> tuple[Tensor, ...]:
        """Logits of presence and of overlap (B, H, W); points (B, 18, H, W), y before x, crop px; late features."""
        logits, quality, _, points = self.both(features, sizes, kernels, mean)
        return logits, quality, points, features.late

    def both(
        self, features: Features, sizes: Tensor, kernels: Tensor, mean: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits, and the first points before the final ones."""
        fused = self.correlation(features.late, kernels, mean)
        fused = fused + self.trunk(fused)
        score, shape = self.towers[0](fused), self.towers[1](fused)
        rows, columns = fused.shape[2:]
        # half heights and widths in cells, over and over for all points
        half = (sizes.flip(1) / (2 * STRIDE)).repeat(1, POINTS).unsqueeze(2).unsqueeze(3)
        first = half * (self.rest + self.first(shape))
        taps = first.detach()  # as in RepPoints: what is read where does not move the points
        score = self.at_points[0](score, taps).relu()
        shape = self.at_points[1](shape, taps).relu()
        points = taps + half * self.final(shape)
        places = cell_places(rows, columns, fused).flip(0).repeat(POINTS, 1, 1)
        return self.classify(score)[:, 0], self.quality(score)[:, 0], first * STRIDE + places, points * STRIDE + places

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
        """Features (B, C, H, W) read at points (B, 9, 2, H, W), x and y in crop px."""
        if not self.deformable:
            return functional.conv2d(features, self.weight, self.bias, padding=1)
        batch, channels, rows, columns = features.shape
        # crop px to grid_sample's -1 (left edge of the first cell) to 1 (right edge of the last)
        size = torch.tensor([columns, rows], dtype=points.dtype, device=points.device).reshape(1, 1, 2, 1, 1)
        grid = (2 * points + 1) / (STRIDE * size) - 1
        grid = grid.permute(0, 3, 4, 1, 2).reshape(-1, rows * columns, POINTS, 2)
        taps = functional.grid_sample(features, grid, padding_mode="zeros", align_corners=False)  # (B, C, HW, 9)
        taps = taps.permute(0, 1, 3, 2).reshape(-1, channels * POINTS, rows * columns)
        read = torch.matmul(self.weight.reshape(channels, -1), taps) + self.bias.reshape(1, -1, 1)
        return read.reshape(-1, channels, rows, columns)


def span(points: Tensor) -> Tensor:
    """The pseudo box of point sets (B, n, 2, H, W): (B, 4, H, W) xyxy from the smallest and largest x and y.

    Differentiable: each side passes its gradient on to the point that holds it (RepPoints, section 3.2, min-max).
    """
    return torch.cat([points.amin(1), points.amax(1)], 1)


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
        line = torch.tensor([-1.0, 0.0, 1.0])
        self.rest: Tensor  # (9, 2) x and y of the points before anything is learnt, in half sizes of the target
        taps = torch.stack([line.repeat(3), line.repeat_interleave(3)], 1)
        self.register_buffer("rest", taps, persistent=False)

    def template(self, features: Features, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Kernels (B, cells^2, C) and the target's mean (B, C, 1, 1)."""
        return self.correlation.template(features.late, sizes)

    def search(self, features: Features, sizes: Tensor, kernels: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of presence and of overlap (B, H, W), and points (B, 9, 2, H, W) in search px."""
        logits, quality, _, points = self.both(features, sizes, kernels, mean)
        return logits, quality, points

    def both(
        self, features: Features, sizes: Tensor, kernels: Tensor, mean: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `search`, with the first points before the final ones."""
        fused = self.correlation(features.late, kernels, mean)
        fused = fused + self.trunk(fused)
        score, shape = self.towers[0](fused), self.towers[1](fused)
        rows, columns = fused.shape[2:]
        half = (sizes / 2).reshape(-1, 1, 2, 1, 1)
        places = cell_places(rows, columns, fused).reshape(1, 1, 2, rows, columns)
        offsets = self.first(shape).reshape(-1, POINTS, 2, rows, columns) + self.rest.reshape(1, POINTS, 2, 1, 1)
        first = places + half * offsets
        taps = first.detach()  # RepPoints, section 3.3: what is read where does not move the points
        score = self.at_points[0](score, taps).relu()
        shape = self.at_points[1](shape, taps).relu()
        points = taps + half * self.final(shape).reshape(-1, POINTS, 2, rows, columns)
        return self.classify(score)[:, 0], self.quality(score)[:, 0], first, points

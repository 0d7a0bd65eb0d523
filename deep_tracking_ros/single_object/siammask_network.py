"""Network of SiamMask: tracking and segmentation of an object from one correlation.

Q. Wang, L. Zhang, L. Bertinetto, W. Hu, P. Torr, "Fast Online Object Tracking and Segmentation: A Unifying Approach"
(CVPR 2019), section 3: branches for score, box and mask on the correlation features. The mask is refined with the
backbone's finer features as in section 3.3 (after Pinheiro et al., "SharpMask", 2016), for the whole search crop at
once and not for one candidate window at a time: one mask per crop instead of one per cell.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from deep_tracking_ros.single_object.parts.backbone import EARLY_CHANNELS, FINE_CHANNELS, Features
from deep_tracking_ros.single_object.parts.siamese import STRIDE, BatchNorm, PixelCorrelation, Separable, cell_places


class Merge(nn.Module):
    """One step of refinement: what is known of the mask, twice as large, beside finer features."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.lateral = nn.Sequential(nn.Conv2d(fine, outputs, 1, bias=False), BatchNorm(outputs))
        self.narrow = nn.Sequential(nn.Conv2d(coarse, outputs, 1, bias=False), BatchNorm(outputs))
        self.filter = nn.Sequential(Separable(outputs, outputs, 3), Separable(outputs, outputs, 3))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        up = functional.interpolate(self.narrow(coarse), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.filter((up + self.lateral(fine)).relu())  # type: ignore[no-any-return]


class SiamMaskHead(nn.Module):
    """Correlation, two towers for score and box, a decoder for the mask.

    Args:
        channels: of the correlation.
        template: side of the template crop, px.
    """

    def __init__(self, channels: int, template: int) -> None:
        super().__init__()
        self.correlation = PixelCorrelation(channels, template // STRIDE)
        self.towers = nn.ModuleList(
            nn.Sequential(Separable(channels, channels, 5), Separable(channels, channels, 3)) for _ in range(3)
        )
        self.classify = nn.Conv2d(channels, 1, 1)
        self.regress = nn.Conv2d(channels, 4, 1)
        self.merges = nn.ModuleList([Merge(channels, EARLY_CHANNELS, 48), Merge(48, FINE_CHANNELS, 24)])
        self.paint = nn.Conv2d(24, 1, 1)
        nn.init.constant_(self.classify.bias, -4.0)  # type: ignore[arg-type]  # most cells are background
        nn.init.constant_(self.paint.bias, -2.0)  # type: ignore[arg-type]

    def template(self, features: Features, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Kernels (B, cells^2, C) and the target's mean (B, C, 1, 1)."""
        return self.correlation.template(features.late, sizes)

    def search(self, features: Features, sizes: Tensor, kernels: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, H, W), boxes (B, 4, H, W) xyxy in search px, and logits of the mask (B, 4 H, 4 W)."""
        fused = self.correlation(features.late, kernels, mean)
        logits = self.classify(self.towers[0](fused))[:, 0]
        shift = self.regress(self.towers[1](fused))
        rows, columns = logits.shape[1:]
        size = sizes.reshape(-1, 2, 1, 1)
        centre = cell_places(rows, columns, fused) + shift[:, :2] * size
        half = size * torch.exp(shift[:, 2:].clamp(-3, 3)) / 2
        assert features.fine is not None
        mask = self.merges[0](fused + self.towers[2](fused), features.early)
        mask = self.paint(self.merges[1](mask, features.fine))[:, 0]
        return logits, torch.cat([centre - half, centre + half], 1), mask

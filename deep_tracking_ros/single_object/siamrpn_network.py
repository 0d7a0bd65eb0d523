"""Network of SiamRPN: a region proposal network whose anchors are judged by their likeness to a template.

B. Li, J. Yan, W. Wu, Z. Zhu, X. Hu, "High Performance Visual Tracking with Siamese Region Proposal Network" (CVPR
2018), section 3. The correlation is the depth-wise one of SiamRPN++ (B. Li et al., CVPR 2019, section 3.3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.single_object.parts.siamese import (
    BatchNorm,
    Neck,
    Separable,
    cell_places,
    coverage,
    depthwise_correlation,
)

RATIOS = (1 / 3, 1 / 2, 1.0, 2.0, 3.0)
"""Height over width of the anchors at each cell (section 3.3)."""
KERNEL = 4
"""Rows and columns of the correlation kernels: the middle of the template, where the target is."""


def anchor_sizes(template: int) -> Tensor:
    """(5, 2) width and height of the anchors, px; their area is that of a target in its template crop."""
    side = template / 2  # context doubles a target's side
    return torch.tensor([[side / math.sqrt(ratio), side * math.sqrt(ratio)] for ratio in RATIOS])


class SiamRPNHead(nn.Module):
    """Two branches, each with its own correlation: which anchor shows the target, and how its box differs.

    Args:
        channels: of the correlation.
        template: side of the template crop, px.
    """

    def __init__(self, channels: int, template: int) -> None:
        super().__init__()
        anchors = len(RATIOS)
        self.template_necks = nn.ModuleList(Neck(channels) for _ in range(2))
        self.search_necks = nn.ModuleList(Neck(channels) for _ in range(2))
        self.mark = nn.Parameter(torch.zeros(2, channels))
        self.norms = nn.ModuleList(BatchNorm(channels) for _ in range(2))
        self.towers = nn.ModuleList(
            nn.Sequential(Separable(channels, channels, 5), Separable(channels, channels, 3)) for _ in range(2)
        )
        self.classify = nn.Conv2d(channels, anchors, 1)
        self.regress = nn.Conv2d(channels, 4 * anchors, 1)
        nn.init.constant_(self.classify.bias, -4.0)  # type: ignore[arg-type]  # most anchors are background
        self.anchors: Tensor
        self.register_buffer("anchors", anchor_sizes(template), persistent=False)

    def template(self, features: Features, sizes: Tensor) -> tuple[Tensor, ...]:
        """Kernels (B, C, 4, 4) of both branches; and the late features, for the look of the target."""
        late = features.late
        first = (late.shape[2] - KERNEL) // 2
        share = coverage(sizes, late.shape[2])
        kernels = []
        for branch in range(2):
            z = self.template_necks[branch](late) + share * self.mark[branch].reshape(1, -1, 1, 1)
            kernels.append(z[:, :, first : first + KERNEL, first : first + KERNEL])
        return *kernels, late

    def search(self, features: Features, sizes: Tensor, classify: Tensor, regress: Tensor) -> tuple[Tensor, ...]:
        """Logits (B, 5, H, W) and boxes (B, 4, 5, H, W) xyxy in search px, of all anchors; and the late features.

        The target's size plays no part beyond the kernels: anchors are the prior here.
        """
        maps = [
            tower(norm(depthwise_correlation(neck(features.late), kernels)).relu())
            for neck, norm, tower, kernels in zip(
                self.search_necks, self.norms, self.towers, (classify, regress), strict=True
            )
        ]
        logits = self.classify(maps[0])
        rows, columns = logits.shape[2:]
        shift = self.regress(maps[1]).reshape(-1, 4, len(RATIOS), rows, columns)
        return logits, self.boxes(shift), features.late

    def boxes(self, shift: Tensor) -> Tensor:
        """Equation 2 of Faster R-CNN: shifts in units of anchors to boxes (B, 4, 5, H, W)."""
        rows, columns = shift.shape[3:]
        places = cell_places(rows, columns, shift).reshape(1, 2, 1, rows, columns)
        anchors = self.anchors.T.reshape(1, 2, -1, 1, 1)
        centre = places + shift[:, :2] * anchors
        half = anchors * torch.exp(shift[:, 2:].clamp(-3, 3)) / 2
        return torch.cat([centre - half, centre + half], 1)

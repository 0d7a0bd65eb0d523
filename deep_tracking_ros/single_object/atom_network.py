"""Network of ATOM: how much does any box overlap the target? A predictor that a template has modulated.

M. Danelljan, G. Bhat, F. S. Khan, M. Felsberg, "ATOM: Accurate Tracking by Overlap Maximization" (CVPR 2019), section
3.1, after B. Jiang et al., "IoU-Net" (ECCV 2018). The gradient of the overlap by the box's sides comes out of the same
network, written out by hand, so that boxes can climb it on every backend: ONNX has no autograd.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from deep_tracking_ros.single_object.parts.backbone import EARLY_CHANNELS, LATE_CHANNELS, Features
from deep_tracking_ros.single_object.parts.roi_pooling import precise_roi_pool, precise_roi_pool_with_slopes
from deep_tracking_ros.single_object.parts.siamese import STRIDE, BatchNorm

LEVELS = ((EARLY_CHANNELS, 5, STRIDE // 2), (LATE_CHANNELS, 3, STRIDE))
"""Of each level: backbone channels, bins along each side of a box, crop px per cell."""
HIDDEN = 128
"""Width of what is said of a box on each level."""


class AtomHead(nn.Module):
    """Modulation from the template, maps of the search crop, and the overlap of boxes on them.

    Args:
        channels: of the maps.
        template: side of the template crop, px.
    """

    def __init__(self, channels: int, template: int) -> None:
        super().__init__()
        self.middle = (template - 1) / 2

        def maps(inputs: int) -> nn.Sequential:
            first = (nn.Conv2d(inputs, channels, 1, bias=False), BatchNorm(channels), nn.ReLU())
            second = (nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False), BatchNorm(channels))
            return nn.Sequential(*first, *second, nn.Conv2d(channels, channels, 1))

        self.reference = nn.ModuleList(maps(inputs) for inputs, _, _ in LEVELS)
        self.test = nn.ModuleList(maps(inputs) for inputs, _, _ in LEVELS)
        self.modulate = nn.ModuleList(nn.Linear(channels * bins**2, channels) for _, bins, _ in LEVELS)
        self.describe = nn.ModuleList(nn.Linear(channels * bins**2, HIDDEN) for _, bins, _ in LEVELS)
        self.judge = nn.Linear(len(LEVELS) * HIDDEN, 1)

    def template(self, features: Features, sizes: Tensor) -> tuple[Tensor, ...]:
        """Modulation vectors (B, C) of each level, from the features in the target's box."""
        box = torch.cat([self.middle - sizes / 2, self.middle + sizes / 2], 1).unsqueeze(1)
        vectors = []
        for level, (_, bins, stride) in enumerate(LEVELS):
            seen = self.reference[level](features[level])
            pooled = precise_roi_pool(seen, box, bins, stride, (stride - 1) / 2)
            vectors.append(self.modulate[level](pooled.flatten(1)))
        return tuple(vectors)

    def search(self, features: Features, sizes: Tensor, *modulation: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, C, H / 8, W / 8) and (B, C, H / 16, W / 16), each times its modulation, and the late features.

        Pooling is linear, so that maps may be modulated in the place of what is pooled from them.
        """
        maps = tuple(
            self.test[level](features[level]) * vector.unsqueeze(2).unsqueeze(3)
            for level, vector in enumerate(modulation)
        )
        return *maps, features.late

    def overlap(self, fine: Tensor, coarse: Tensor, boxes: Tensor) -> Tensor:
        """Predicted IoU (B, N) of boxes (B, N, 4) xyxy crop px, by maps of `search`."""
        said = [
            self.describe[level](precise_roi_pool(maps, boxes, bins, stride, (stride - 1) / 2).flatten(2)).relu()
            for level, (maps, (_, bins, stride)) in enumerate(zip((fine, coarse), LEVELS, strict=True))
        ]
        return self.judge(torch.cat(said, 2))[..., 0]  # type: ignore[no-any-return]


class Overlap(nn.Module):
    """What runs for boxes: maps and boxes (B, N, 4) to IoU (B, N) and its gradient (B, N, 4) per px of each side."""

    def __init__(self, head: AtomHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, fine: Tensor, coarse: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        said, slopes = [], []
        for level, (maps, (_, bins, stride)) in enumerate(zip((fine, coarse), LEVELS, strict=True)):
            pooled, by_side = precise_roi_pool_with_slopes(maps, boxes, bins, stride, (stride - 1) / 2)
            before = self.head.describe[level](pooled.flatten(2))
            said.append(before.relu())
            # the chain rule backwards: judge, ReLU, describe, pooling
            weight = self.head.judge.weight[0, level * HIDDEN : (level + 1) * HIDDEN]
            describe = cast(nn.Linear, self.head.describe[level])
            back = torch.matmul((before > 0).to(maps.dtype) * weight, describe.weight)
            slopes.append(torch.matmul(by_side.flatten(3), back.unsqueeze(3))[..., 0])
        return self.head.judge(torch.cat(said, 2))[..., 0], slopes[0] + slopes[1]

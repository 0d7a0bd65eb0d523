"""Network of GOTURN: two crops of one place in two images, and the target's box in the second one.

D. Held, S. Thrun, S. Savarese, "Learning to Track at 100 FPS with Deep Regression Networks" (ECCV 2016), section 3.
What differs: the pretrained backbone, narrower layers, and a second output that says how far the box can be trusted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.single_object.parts.siamese import STRIDE, BatchNorm, Neck


class GoturnHead(nn.Module):
    """Both crops beside each other, through convolutions and fully connected layers to one box.

    Args:
        channels: of the features of each crop.
        template: side of both crops, px.
    """

    def __init__(self, channels: int, template: int) -> None:
        super().__init__()
        self.side, cells = template, template // STRIDE
        self.necks = nn.ModuleList(Neck(channels) for _ in range(2))
        self.compare = nn.Sequential(
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False), BatchNorm(2 * channels), nn.ReLU(),
            nn.Conv2d(2 * channels, 2 * channels, 3, stride=2, padding=1, bias=False), BatchNorm(2 * channels),
            nn.ReLU(),
        )  # fmt: skip
        inputs = 2 * channels * (cells // 2) ** 2
        self.decide = nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        self.box = nn.Linear(256, 4)
        self.trust = nn.Linear(256, 1)
        nn.init.zeros_(self.box.weight)
        nn.init.zeros_(self.box.bias)

    def template(self, features: Features, sizes: Tensor) -> tuple[Tensor]:
        """What is kept of the previous image's crop: (B, C, cells, cells). The sizes play no part."""
        return (self.necks[0](features.late),)

    def search(self, features: Features, sizes: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """From a crop of the same place in the next image: box (B, 4) xyxy crop px, logit (B,) of an IoU above 0.5."""
        both = self.compare(torch.cat([previous, self.necks[1](features.late)], 1))
        said = self.decide(both.flatten(1))
        shift = self.box(said)
        centre = (self.side - 1) / 2 + shift[:, :2] * sizes
        half = sizes * torch.exp(shift[:, 2:].clamp(-2, 2)) / 2
        return torch.cat([centre - half, centre + half], 1), self.trust(said)[:, 0]

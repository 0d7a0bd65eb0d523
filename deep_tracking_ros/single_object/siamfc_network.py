"""Networks of SiamFC: one embedding for exemplar and search region, compared by cross-correlation.

Bertinetto et al., "Fully-Convolutional Siamese Networks for Object Tracking", 2016. What differs from the paper is
told in docs/trackers/siamfc.md: a pretrained EfficientNet-Lite0 as embedding; similarity as the mean cosine of cells,
weighted towards the target's box; and scale and aspect searched with nine kernels over one search region.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from deep_tracking_ros.single_object.parts import backbone
from deep_tracking_ros.single_object.parts.correlation import bank_sampling, bank_scales, cross_correlation
from deep_tracking_ros.single_object.siamfc import STRIDE


class Embedding(nn.Module):
    """The paper's phi: crops to unit vectors, one per cell of 8 x 8 px."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.backbone = backbone.Backbone()
        self.lateral = nn.Conv2d(backbone.EARLY_CHANNELS, channels, 1)
        self.top = nn.Conv2d(backbone.LATE_CHANNELS, channels, 1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (B, H, W, 3) uint8 BGR to (B, C, H / 8, W / 8)."""
        return self.from_early(self.backbone.early(crops))

    def from_early(self, early: Tensor) -> Tensor:
        """The same from the backbone's features of stride 8, (B, 40, H / 8, W / 8)."""
        top = self.top(self.backbone.late(early))
        top = functional.interpolate(top, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = functional.relu(self.lateral(early) + top)
        return functional.normalize(self.project(x + functional.relu(self.depthwise(x))), dim=1, eps=1e-4)


class SiamFC(nn.Module):
    """The trained part of the tracker.

    Args:
        channels: width of the embedding.
        kernel: side of the kernels, cells.
        exemplar: side of the exemplar crop, px; it shows the target with the context of section 2.4.
        step: logarithm of the scale step of the kernel bank.
    """

    def __init__(self, channels: int, kernel: int, exemplar: int, step: float) -> None:
        super().__init__()
        self.kernel, self.step = kernel, step
        self.embedding = Embedding(channels)
        self.attention = nn.Conv2d(channels, 1, 1)  # which cells of the exemplar tell most
        self.context = nn.Parameter(torch.tensor(-1.5))  # weight of cells outside of the box, as a logit
        scales = bank_scales(step)
        self.scales: Tensor
        self.sampling: Tensor
        self.register_buffer("scales", torch.from_numpy(scales), persistent=False)
        self.register_buffer("sampling", bank_sampling(scales, exemplar // STRIDE, kernel), persistent=False)
        self.place_gain = nn.Parameter(torch.tensor(math.log(20.0)))
        self.scale_gain = nn.Parameter(torch.tensor(math.log(50.0)))
        self.member_bias = nn.Parameter(torch.zeros(len(scales)))
        self.presence_gain = nn.Parameter(torch.tensor(1.0))
        self.presence_bias = nn.Parameter(torch.tensor(-10.0))

    def kernels(self, features: Tensor, sizes: Tensor) -> Tensor:
        """Kernel bank (B, K, h, w, C) of an exemplar.

        Args:
            features: (B, C, cells, cells) embedding of the exemplar crop.
            sizes: (B, 2) width and height of the target in the exemplar crop, px.
        """
        channels = features.shape[1]
        weights = torch.sigmoid(self.attention(features)).flatten(2)  # (B, 1, cells)
        sampled = torch.matmul(self.sampling, features.flatten(2).transpose(1, 2).unsqueeze(1))  # (B, K, hw, C)
        sampled = functional.normalize(sampled, dim=3, eps=1e-4)
        weights = torch.matmul(self.sampling, weights.transpose(1, 2).unsqueeze(1))  # (B, K, hw, 1)
        weights = weights * self.box_weights(sizes).flatten(2).unsqueeze(3)
        weights = weights / weights.sum(2, keepdim=True)
        members = self.sampling.shape[0]
        return (sampled * weights).reshape(-1, members, self.kernel, self.kernel, channels)

    def box_weights(self, sizes: Tensor) -> Tensor:
        """(B, K, h, w): 1 inside of each member's box, the learnt context weight outside, soft over about a cell."""
        places = torch.arange(self.kernel, device=sizes.device, dtype=sizes.dtype) - (self.kernel - 1) / 2
        half = sizes.unsqueeze(1) * torch.exp(self.scales) / (2 * STRIDE)  # (B, K, 2)
        inside = torch.sigmoid(4 * (half.unsqueeze(3) - places.abs()))  # (B, K, 2, kernel)
        box = inside[:, :, 1].unsqueeze(3) * inside[:, :, 0].unsqueeze(2)
        outside = torch.sigmoid(self.context)
        return outside + (1 - outside) * box

    def compare(self, features: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Responses (B, K, H, W), logits of place and scale together, and presence (B, H, W), logit of each place."""
        similarity = cross_correlation(features, kernels)
        place = similarity.mean(1, keepdim=True)
        # kernels of neighbouring scales agree in most of what they see: their differences weigh more
        responses = torch.exp(self.place_gain) * place + torch.exp(self.scale_gain) * (similarity - place)
        responses = responses + self.member_bias[:, None, None]
        presence = self.presence_gain * torch.logsumexp(responses, 1) + self.presence_bias
        return responses, presence


class Exemplar(nn.Module):
    """What runs once per target: crops (B, S, S, 3) and sizes (B, 2) px to kernels (B, K, h, w, C)."""

    def __init__(self, siamfc: SiamFC) -> None:
        super().__init__()
        self.siamfc = siamfc

    def forward(self, crops: Tensor, sizes: Tensor) -> Tensor:
        return self.siamfc.kernels(self.siamfc.embedding(crops), sizes)


class Search(nn.Module):
    """What runs once per frame: crops (B, S, S, 3) and kernels to responses (B, K, H, W) and presence (B, H, W)."""

    def __init__(self, siamfc: SiamFC) -> None:
        super().__init__()
        self.siamfc = siamfc

    def forward(self, crops: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
        return self.siamfc.compare(self.siamfc.embedding(crops), kernels)


def part(siamfc: SiamFC, name: Literal["exemplar", "search"]) -> nn.Module:
    """One of the two networks that are exported, ready to run."""
    return (Exemplar if name == "exemplar" else Search)(siamfc).eval()

"""Network of TransT: template and search region look at themselves and at each other; nothing is correlated.

X. Chen, B. Yan, J. Zhu, D. Wang, X. Yang, H. Lu, "Transformer Tracking" (CVPR 2021), section 3. Narrower and shallower
than the paper's (256 channels, 4 layers), and boxes are regressed from each token's place in units of the target's
size, not as a part of the search region.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.single_object.parts.siamese import STRIDE, Neck, cell_places, coverage

FEED_FORWARD = 4
"""Width of the feed-forward layers, in widths of the tokens."""


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017), with places added to queries and keys only (section 3.2)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = math.sqrt(channels // heads)
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Queries (B, n, C), keys and values (B, m, C), to (B, n, C)."""
        q, k, v = (
            layer(x).reshape(-1, x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        weights = torch.softmax(torch.matmul(q, k.transpose(2, 3)) / self.scale, 3)
        return self.out(torch.matmul(weights, v).transpose(1, 2).reshape(query.shape))  # type: ignore[no-any-return]


class EgoContext(nn.Module):
    """Ego-context augment (section 3.2, equation 3): tokens of one region look at each other."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(channels, heads)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        return self.norm(x + self.attention(x + places, x + places, x))  # type: ignore[no-any-return]


class CrossFeature(nn.Module):
    """Cross-feature augment (section 3.2, equation 4): tokens of one region look at those of the other."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(channels, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.feed = nn.Sequential(
            nn.Linear(channels, FEED_FORWARD * channels), nn.ReLU(), nn.Linear(FEED_FORWARD * channels, channels)
        )

    def forward(self, x: Tensor, places: Tensor, other: Tensor, other_places: Tensor) -> Tensor:
        x = self.norms[0](x + self.attention(x + places, other + other_places, other))
        return self.norms[1](x + self.feed(x))  # type: ignore[no-any-return]


class FusionLayer(nn.Module):
    """Section 3.1: both regions by themselves, then each with the other."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.ego = nn.ModuleList(EgoContext(channels, heads) for _ in range(2))
        self.cross = nn.ModuleList(CrossFeature(channels, heads) for _ in range(2))

    def forward(self, z: Tensor, z_places: Tensor, x: Tensor, x_places: Tensor) -> tuple[Tensor, Tensor]:
        z, x = self.ego[0](z, z_places), self.ego[1](x, x_places)
        return self.cross[0](z, z_places, x, x_places), self.cross[1](x, x_places, z, z_places)


class TransTHead(nn.Module):
    """Fusion layers, one more look of the search region at the template, and two perceptrons.

    Args:
        channels: width of the tokens.
        template: side of the template crop, px.
        layers: of the fusion.
        heads: of each attention; they divide ``channels``.
    """

    def __init__(self, channels: int, template: int, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.cells = template // STRIDE
        self.necks = nn.ModuleList(Neck(channels) for _ in range(2))
        self.mark = nn.Parameter(torch.zeros(channels))  # tells tokens of the target from those of its surroundings
        self.layers = nn.ModuleList(FusionLayer(channels, heads) for _ in range(layers))
        self.last = CrossFeature(channels, heads)

        def perceptron(outputs: int) -> nn.Sequential:
            hidden = (nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU())
            return nn.Sequential(*hidden, nn.Linear(channels, outputs))

        self.classify, self.regress = perceptron(1), perceptron(4)
        nn.init.constant_(self.classify[-1].bias, -4.0)  # type: ignore[arg-type]  # most tokens are background
        nn.init.zeros_(self.regress[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.regress[-1].bias)  # type: ignore[arg-type]

    def template(self, features: Features, sizes: Tensor) -> tuple[Tensor]:
        """Tokens (B, cells^2, C) of the template."""
        z = self.necks[0](features.late)
        z = z + coverage(sizes, self.cells) * self.mark.reshape(1, -1, 1, 1)
        return (z.flatten(2).transpose(1, 2),)

    def search(self, features: Features, sizes: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, H, W) and boxes (B, 4, H, W) xyxy in search px."""
        maps = self.necks[1](features.late)
        rows, columns = maps.shape[2:]
        x, z = maps.flatten(2).transpose(1, 2), tokens
        x_places = sinusoids(rows, columns, x)
        z_places = sinusoids(self.cells, self.cells, x)
        for layer in self.layers:
            z, x = layer(z, z_places, x, x_places)
        x = self.last(x, x_places, z, z_places)
        logits = self.classify(x).reshape(-1, rows, columns)
        shift = self.regress(x).transpose(1, 2).reshape(-1, 4, rows, columns)
        size = sizes.reshape(-1, 2, 1, 1)
        centre = cell_places(rows, columns, x) + shift[:, :2] * size
        half = size * torch.exp(shift[:, 2:].clamp(-3, 3)) / 2
        return logits, torch.cat([centre - half, centre + half], 1)


def sinusoids(rows: int, columns: int, like: Tensor) -> Tensor:
    """(1, rows * columns, C) sine encodings of places counted from the middle, half of the channels for each axis.

    From the middle, so that template and search region agree, and a search region of another size too.
    """
    quarter = like.shape[2] // 4
    rates = torch.exp(torch.arange(quarter, dtype=like.dtype, device=like.device) * (-math.log(100.0) / quarter))

    def axis(count: int) -> Tensor:
        at = torch.arange(count, dtype=like.dtype, device=like.device) - (count - 1) / 2
        phase = at.unsqueeze(1) * rates
        return torch.cat([phase.sin(), phase.cos()], 1)  # (count, C / 2)

    y, x = axis(rows).unsqueeze(1), axis(columns).unsqueeze(0)
    both = torch.cat([y.expand(rows, columns, 2 * quarter), x.expand(rows, columns, 2 * quarter)], 2)
    return both.reshape(1, rows * columns, 4 * quarter)

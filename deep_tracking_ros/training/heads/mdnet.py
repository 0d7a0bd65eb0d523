"""MDNet: shared layers from which each video's own last layer can be learnt from its first frame.

Nam and Han (CVPR 2016), section 3.2, train one last layer per video, of which there are few here. Every pair is a
domain of its own instead: its last layer is the ridge regression of target against background in the template, in
closed form, and the loss is what that layer says in the search crop (as in Bertinetto et al., "Meta-learning with
differentiable closed-form solvers", ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from deep_tracking_ros.single_object.mdnet_network import MDNetHead
from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.training.heads.losses import overlaps

TARGETS, OTHERS = 16, 48
"""Boxes of a crop on the target (IoU above 0.6, nearly always 0.7) and off it (below 0.5, as in tracking)."""
RIDGE = 0.1


def make(template: int, channels: int) -> MDNetHead:
    """The head, without what it has learnt."""
    return MDNetHead(channels, template)


def loss(head: nn.Module, template: Features, search: Features, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cross-entropy of boxes in the search crop, under the last layer that the template gives."""
    assert isinstance(head, MDNetHead)
    size = batch["size"]
    middle = (head.side - 1) / 2
    known = torch.cat([middle - size / 2, middle + size / 2], 1)
    boxes, label = draw(known, head.side)
    seen = head.candidates(template.late, boxes)
    weights = ridge(seen, 2 * label - 1)
    boxes, label = draw(batch["target"], search.late.shape[2] * head.side // template.late.shape[2])
    described = torch.cat([head.candidates(search.late, boxes), boxes.new_ones(*boxes.shape[:2], 1)], 2)
    logits = 4 * torch.matmul(described, weights)[..., 0]
    label = label * batch["positive"][:, None]  # boxes of another object are off the target
    cost = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
    balance = torch.where(label > 0, 0.5 / label.sum().clamp(min=1), 0.5 / (1 - label).sum().clamp(min=1))
    right = ((logits > 0) == (label > 0)).float()
    return {"loss": (cost * balance).sum(), "right": (right * balance).sum().detach()}


def draw(target: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Boxes (B, N, 4) xyxy on and off targets (B, 4) in crops of a side (px), and their labels (B, N), 1 and 0."""
    count, device = len(target), target.device
    size, centre = (target[:, 2:] - target[:, :2])[:, None], ((target[:, :2] + target[:, 2:]) / 2)[:, None]

    def around(number: int, shift: Tensor, spread: float) -> Tensor:
        half = size * torch.exp(spread * torch.randn(count, number, 2, device=device).clamp(-2, 2)) / 2
        return torch.cat([shift - half, shift + half], 2)

    near = around(TARGETS, centre + 0.06 * size * torch.randn(count, TARGETS, 2, device=device).clamp(-2, 2), 0.05)
    # more than are needed, of which those that overlap the target least are kept: half around it, half anywhere
    close = centre + size * torch.randn(count, OTHERS, 2, device=device)
    anywhere = torch.rand(count, OTHERS, 2, device=device) * side
    off = torch.cat([around(OTHERS, close, 0.3), around(OTHERS, anywhere, 0.3)], 1)
    overlap, _ = overlaps(off, target[:, None])
    order = torch.where(overlap < 0.5, torch.rand_like(overlap), 1 + overlap).argsort(1)[:, :OTHERS]
    off = off.gather(1, order[..., None].expand(-1, -1, 4))
    label = torch.cat([torch.ones(count, TARGETS, device=device), torch.zeros(count, OTHERS, device=device)], 1)
    return torch.cat([near, off], 1), label


def ridge(described: Tensor, label: Tensor) -> Tensor:
    """(B, C + 1, 1) weights with which descriptions (B, N, C) give labels (B, N), both classes of equal weight."""
    x = torch.cat([described, described.new_ones(*described.shape[:2], 1)], 2)
    balance = torch.where(label > 0, 0.5 / TARGETS, 0.5 / OTHERS)[..., None]
    gram = torch.matmul((x * balance).transpose(1, 2), x)
    gram = gram + RIDGE * torch.eye(x.shape[2], device=x.device)
    weights: Tensor = torch.linalg.solve(gram, torch.matmul((x * balance).transpose(1, 2), label[..., None]))
    return weights

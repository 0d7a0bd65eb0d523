"""Losses that several heads share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from deep_tracking_ros.single_object.parts.siamese import cell_places

HARD = 48
"""Hardest background places of a search crop that count."""
SMALLEST = 9.0
"""Smallest radius of the part of a target that counts as it, px: about half a cell."""


def places(target: Tensor, positive: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Which cells show a target, and which must not be asked.

    Args:
        target: (B, 4) box in the search crop, xyxy px.
        positive: (B,) 1 where the search crop shows the target.
        cells: rows and columns of the map.

    Returns:
        (B, cells, cells) both: cells in an ellipse of half the box's size, and the other cells in the box.
    """
    grid = cell_places(cells, cells, target)
    centre, half = (target[:, :2] + target[:, 2:]) / 2, (target[:, 2:] - target[:, :2]) / 2
    away = (grid - centre[:, :, None, None]).abs()  # (B, 2, cells, cells)
    ellipse = (away / half.div(2).clamp(min=SMALLEST)[:, :, None, None]).square().sum(1) <= 1
    box = (away <= half[:, :, None, None]).all(1)
    there = positive[:, None, None] > 0
    return ellipse & there, box & ~ellipse & there


def presence_loss(logits: Tensor, on: Tensor, unasked: Tensor) -> Tensor:
    """Half the mean cross-entropy of places on the target, and the mean over the hardest places off it.

    Args:
        logits: (B, N).
        on: (B, N) on the target.
        unasked: (B, N) neither on nor off.
    """
    cost = functional.binary_cross_entropy_with_logits(logits, on.float(), reduction="none")
    # focal exponent 1: what is known for sure to be background weighs little among the hardest
    off = torch.where(on | unasked, torch.zeros_like(cost), cost * logits.detach().sigmoid())
    hardest = off.topk(min(HARD, off.shape[1]), dim=1).values.mean()
    return 0.5 * (cost * on).sum() / on.sum().clamp(min=1) + hardest


def overlaps(boxes: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., CVPR 2019) of boxes (..., 4) xyxy."""
    low, high = torch.maximum(boxes[..., :2], target[..., :2]), torch.minimum(boxes[..., 2:], target[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) for b in (boxes, target)]
    union = (areas[0] + areas[1] - both).clamp(min=1e-3)
    low, high = torch.minimum(boxes[..., :2], target[..., :2]), torch.maximum(boxes[..., 2:], target[..., 2:])
    hull = (high - low).clamp(min=0).prod(-1).clamp(min=1e-3)
    iou = both / union
    return iou, iou - (hull - union) / hull


def at_best(logits: Tensor, overlap: Tensor, positive: Tensor) -> Tensor:
    """Mean overlap of the place with the highest logit, over positive pairs; (B, N) both."""
    best = overlap.gather(1, logits.argmax(1, keepdim=True))[:, 0]
    return (best * positive).sum() / positive.sum().clamp(min=1)

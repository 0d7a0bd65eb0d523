"""ATOM: the overlap of random boxes around the target is predicted (Danelljan et al., CVPR 2019, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deep_tracking_ros.single_object.atom_network import AtomHead
from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.training.heads.losses import overlaps

BOXES = 16
"""Boxes for each pair."""


def make(template: int, channels: int) -> AtomHead:
    """The head, without what it has learnt."""
    return AtomHead(channels, template)


def loss(head: nn.Module, template: Features, search: Features, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean squared error of the predicted overlap (section 3.1), over pairs that show the target."""
    assert isinstance(head, AtomHead)
    target, positive = batch["target"], batch["positive"]
    boxes = jittered(target, BOXES)
    fine, coarse, _ = head.search(search, batch["size"], *head.template(template, batch["size"]))
    predicted = head.overlap(fine, coarse, boxes)
    truth, _ = overlaps(boxes, target[:, None])
    weight = positive[:, None] / (positive.sum().clamp(min=1) * BOXES)
    error = ((predicted - truth).square() * weight).sum()
    best = truth.gather(1, predicted.argmax(1, keepdim=True))[:, 0]
    first = (best * positive).sum() / positive.sum().clamp(min=1)
    return {"loss": 10 * error, "error": error.sqrt().detach(), "iou": first.detach()}


def jittered(boxes: Tensor, count: int) -> Tensor:
    """(B, count, 4) boxes xyxy around boxes (B, 4): from almost right to hardly touching."""
    size = (boxes[:, 2:] - boxes[:, :2])[:, None]
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
    # spreads over a decade, so that overlaps fill the range from 0.1 to 1
    spread = torch.exp(torch.empty(len(boxes), count, 1, device=boxes.device).uniform_(-3.5, -0.9))
    shift = torch.randn(len(boxes), count, 2, device=boxes.device) * spread
    scale = torch.exp((torch.randn(len(boxes), count, 2, device=boxes.device) * spread).clamp(-1, 1))
    moved, half = centre + shift * size, size * scale / 2
    return torch.cat([moved - half, moved + half], 2)

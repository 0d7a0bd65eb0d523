"""SiamMask: score and box as in the other siamese heads, the mask where it is known (Wang et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.single_object.siammask_network import SiamMaskHead
from deep_tracking_ros.training.heads.losses import at_best, overlaps, places, presence_loss


def make(template: int, channels: int) -> SiamMaskHead:
    """The head, without what it has learnt."""
    return SiamMaskHead(channels, template)


def loss(
    head: nn.Module, template: Features, search: Features, batch: Mapping[str, Tensor]
) -> dict[str, Tensor]:  # fmt: skip
    """Presence, box, and mask."""
    assert isinstance(head, SiamMaskHead)
    logits, boxes, mask = head.search(search, batch["size"], *head.template(template, batch["size"]))
    target, positive = batch["target"], batch["positive"]
    on, unasked = places(target, positive, logits.shape[1])
    presence = presence_loss(logits.flatten(1), on.flatten(1), unasked.flatten(1))
    weight = on.flatten(1) / on.sum().clamp(min=1)
    iou, giou = overlaps(boxes.flatten(2).transpose(1, 2), target[:, None])
    box = ((1 - giou) * weight).sum()
    paint, overlap = mask_loss(mask, batch["mask"])
    return {
        "loss": presence + 2 * box + 2 * paint, "presence": presence, "box": box, "mask": paint,
        "iou": at_best(logits.flatten(1), iou, positive).detach(), "mask_iou": overlap.detach(),
    }  # fmt: skip


def mask_loss(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and Dice (Milletari et al., 2016) for objects, over crops whose mask is known; and mean overlap.

    Args:
        logits: (B, S, S).
        truth: (B, S, S) 1 = object, 0 = not, 255 = not known.
    """
    known = truth[:, 0, 0] != 255
    if not known.any():
        return logits.new_zeros(()), logits.new_zeros(())
    asked, there = logits[known], truth[known].float()
    entropy = functional.binary_cross_entropy_with_logits(asked, there)
    area = there.sum((1, 2))
    shown = area > 0
    if not shown.any():
        return entropy, logits.new_zeros(())
    share = asked.sigmoid()[shown]
    both = (share * there[shown]).sum((1, 2))
    dice = 1 - (2 * both + 1) / (share.sum((1, 2)) + area[shown] + 1)
    hard = (share > 0.5).float()
    shared = (hard * there[shown]).sum((1, 2))
    overlap = shared / (torch.maximum(hard, there[shown])).sum((1, 2))
    return entropy + dice.mean(), overlap.mean()

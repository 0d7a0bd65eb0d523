"""TransT: tokens on the target are told from all others, their boxes by generalised IoU and L1 (section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.single_object.transt_network import TransTHead
from deep_tracking_ros.training.heads.losses import at_best, overlaps, places, presence_loss


def make(template: int, channels: int, layers: int, heads: int) -> TransTHead:
    """The head, without what it has learnt."""
    return TransTHead(channels, template, layers, heads)


def loss(head: nn.Module, template: Features, search: Features, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Presence, and boxes by generalised IoU and L1."""
    assert isinstance(head, TransTHead)
    logits, boxes = head.search(search, batch["size"], *head.template(template, batch["size"]))
    target, positive = batch["target"], batch["positive"]
    on, unasked = places(target, positive, logits.shape[1])
    presence = presence_loss(logits.flatten(1), on.flatten(1), unasked.flatten(1))
    weight = on.flatten(1) / on.sum().clamp(min=1)
    boxes = boxes.flatten(2).transpose(1, 2)
    iou, giou = overlaps(boxes, target[:, None])
    size = (target[:, 2:] - target[:, :2]).prod(1).clamp(min=1).sqrt()
    distance = (boxes - target[:, None]).abs().mean(2) / size[:, None]
    box = ((1 - giou) * weight).sum() + (distance * weight).sum()
    return {
        "loss": presence + 2 * box, "presence": presence, "box": box,
        "iou": at_best(logits.flatten(1), iou, positive).detach(),
    }  # fmt: skip

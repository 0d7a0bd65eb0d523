"""RPT: point sets are trained by the boxes that they span (Ma et al., ECCV workshops 2020, section 3.2), and where an
object's outline is known also by their distance to it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.single_object.parts.points import points_to_box, set_distance
from deep_tracking_ros.single_object.rpt_network import RPTHead
from deep_tracking_ros.training.heads.losses import at_best, overlaps, places, presence_loss


def make(template: int, channels: int, deformable: bool = True) -> RPTHead:
    """The head, without what it has learnt."""
    return RPTHead(channels, template, deformable)


def loss(head: nn.Module, template: Features, search: Features, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Presence, boxes of both point sets, agreement of the quality with the overlap, distance to the outline."""
    assert isinstance(head, RPTHead)
    logits, quality, first, points = head.both(search, batch["size"], *head.template(template, batch["size"]))
    target, positive = batch["target"], batch["positive"]
    on, unasked = places(target, positive, logits.shape[1])
    presence = presence_loss(logits.flatten(1), on.flatten(1), unasked.flatten(1))
    weight = on.flatten(1) / on.sum().clamp(min=1)
    iou, giou = (v.flatten(1) for v in overlaps(points_to_box(points).permute(0, 2, 3, 1), target[:, None, None]))
    _, early = overlaps(points_to_box(first).permute(0, 2, 3, 1), target[:, None, None])
    box = ((1 - giou) * weight).sum() + 0.5 * ((1 - early.flatten(1)) * weight).sum()
    agreement = functional.binary_cross_entropy_with_logits(quality.flatten(1), iou.detach(), reduction="none")
    agreement = (agreement * weight).sum()
    shape = outline_distance(points, batch["contour"], target, on)
    return {
        "loss": presence + 2 * box + 0.5 * agreement + 0.5 * shape,
        "presence": presence, "box": box, "quality": agreement, "shape": shape,
        "iou": at_best(logits.flatten(1), iou, positive).detach(),
    }  # fmt: skip


def outline_distance(points: Tensor, contour: Tensor, target: Tensor, on: Tensor) -> Tensor:
    """Distance of point sets to outlines in units of the target's size, where the outline is known.

    Args:
        points: (B, 2 n, H, W) crop px, y before x.
        contour: (B, m, 2) crop px, x before y; nan = not known.
        target: (B, 4) xyxy crop px.
        on: (B, H, W) cells that count.
    """
    known = on & torch.isfinite(contour).all(2).all(1)[:, None, None]
    if not known.any():
        return points.new_zeros(())
    sample = known.nonzero()[:, 0]
    sets = points.permute(0, 2, 3, 1)[known].reshape(len(sample), -1, 2).flip(2)
    size = (target[:, 2:] - target[:, :2]).prod(1).clamp(min=1).sqrt()[sample]
    return (set_distance(sets, contour[sample]) / size).mean()

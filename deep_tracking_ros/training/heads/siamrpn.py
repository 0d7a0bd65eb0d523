"""SiamRPN: anchors are target above an overlap of 0.6, background below 0.3 (Li et al., CVPR 2018, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.single_object.parts.siamese import cell_places
from deep_tracking_ros.single_object.siamrpn_network import SiamRPNHead
from deep_tracking_ros.training.heads.losses import at_best, overlaps, presence_loss

HIGH, LOW = 0.6, 0.3


def make(template: int, channels: int) -> SiamRPNHead:
    """The head, without what it has learnt."""
    return SiamRPNHead(channels, template)


def loss(head: nn.Module, template: Features, search: Features, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Boxes are trained on generalised IoU in the place of the paper's smooth L1 norm of four shifts."""
    assert isinstance(head, SiamRPNHead)
    kernels = head.template(template, batch["size"])[:2]
    logits, boxes, _ = head.search(search, batch["size"], *kernels)
    count, cells = len(logits), logits.shape[2]
    target, positive = batch["target"], batch["positive"]
    logits, boxes = logits.reshape(count, -1), boxes.reshape(count, 4, -1).transpose(1, 2)
    grid = cell_places(cells, cells, logits).reshape(1, 2, -1)  # (1, 2, HW)
    half = head.anchors.reshape(-1, 2, 1) / 2
    anchors = (grid - half).reshape(len(half), 2, -1), (grid + half).reshape(len(half), 2, -1)
    fixed = boxes.new_empty(1, len(half), cells**2, 4)
    fixed[0, :, :, :2], fixed[0, :, :, 2:] = anchors[0].transpose(1, 2), anchors[1].transpose(1, 2)
    prior, _ = overlaps(fixed.reshape(1, -1, 4), target[:, None])
    there = positive[:, None] > 0
    # the best anchor of a target counts also where none reaches the bound
    on = ((prior > HIGH) | (prior >= prior.amax(1, keepdim=True) - 1e-4)) & there
    unasked = (prior > LOW) & ~on & there
    iou, giou = overlaps(boxes, target[:, None])
    weight = on / on.sum().clamp(min=1)
    presence = presence_loss(logits, on, unasked)
    box = ((1 - giou) * weight).sum()
    return {
        "loss": presence + 2 * box,
        "presence": presence,
        "box": box,
        "iou": at_best(logits, iou, positive).detach(),
    }

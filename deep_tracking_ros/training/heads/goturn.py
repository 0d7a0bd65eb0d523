"""GOTURN: the box by its L1 distance, as in the paper; small motions are more frequent than large ones.

Held et al. (ECCV 2016), section 4.2: between two images a target's centre moves by a Laplace distribution with a scale
of 1/5 of its size, its size changes by one of 1/15. `near_window` draws the crops so.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from deep_tracking_ros.single_object.goturn_network import GoturnHead
from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.training.heads.losses import overlaps
from deep_tracking_ros.types import FloatArray

MOVE, GROW = 1 / 5, 1 / 15


def make(template: int, channels: int) -> GoturnHead:
    """The head, without what it has learnt."""
    return GoturnHead(channels, template)


def near_window(box: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(4,) cxcywh px of where the target was an image before it was at ``box`` (4,) xyxy px."""
    size = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + size * rng.laplace(0, MOVE, 2).clip(-0.8, 0.8)
    return np.concatenate([centre, size * np.exp(rng.laplace(0, GROW, 2).clip(-0.4, 0.4))]).astype(np.float32)


def loss(head: nn.Module, template: Features, near: Features, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """L1 distance in units of the crop; and whether the box is right, which pairs without the target learn too."""
    assert isinstance(head, GoturnHead)
    boxes, trust = head.search(near, batch["near_size"], *head.template(template, batch["size"]))
    target, positive = batch["near_target"], batch["positive"]
    weight = positive / positive.sum().clamp(min=1)
    distance = (boxes - target).abs().mean(1) / head.side
    iou, giou = overlaps(boxes, target)
    right = (iou.detach() > 0.5).float() * positive
    doubt = functional.binary_cross_entropy_with_logits(trust, right)
    return {
        "loss": 10 * (distance * weight).sum() + ((1 - giou) * weight).sum() + 0.5 * doubt,
        "distance": (distance * weight).sum().detach(), "trust": doubt.detach(), "iou": (iou * weight).sum().detach(),
    }  # fmt: skip

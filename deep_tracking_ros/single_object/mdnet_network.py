"""Network of MDNet in its real-time form: what is learnt of all videos; the last layer belongs to each one alone.

H. Nam, B. Han, "Learning Multi-Domain Convolutional Neural Networks for Visual Tracking" (CVPR 2016), section 3; I.
Jung, J. Son, M. Baek, B. Han, "Real-Time MDNet" (ECCV 2018), section 3: features are computed once per frame, and
candidates are pooled from them. Here by precise RoI pooling in the place of the paper's adaptive RoIAlign.
"""

from __future__ import annotations

from torch import Tensor, nn

from deep_tracking_ros.single_object.parts.backbone import LATE_CHANNELS
from deep_tracking_ros.single_object.parts.roi_pooling import precise_roi_pool
from deep_tracking_ros.single_object.parts.siamese import STRIDE

BINS = 3
"""Bins along each side of a candidate."""


class MDNetHead(nn.Module):
    """The shared layers fc4 and fc5 on features of candidates.

    Args:
        channels: width of both layers.
        template: side of the crop in which candidates are drawn in training, px.
    """

    def __init__(self, channels: int, template: int) -> None:
        super().__init__()
        self.side = template
        self.layers = nn.Sequential(
            nn.Linear(LATE_CHANNELS * BINS**2, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU()
        )

    def candidates(self, late: Tensor, boxes: Tensor) -> Tensor:
        """Descriptions (B, N, C) of boxes (B, N, 4) xyxy crop px, from the backbone's features (B, 112, H, W)."""
        return self.layers(pool(late, boxes))  # type: ignore[no-any-return]


def pool(late: Tensor, boxes: Tensor) -> Tensor:
    """Features (B, N, 112 * 9) in boxes (B, N, 4) xyxy crop px, from the backbone's (B, 112, H, W)."""
    return precise_roi_pool(late, boxes, BINS, STRIDE, (STRIDE - 1) / 2).flatten(2)


class Pool(nn.Module):
    """`pool` as a network; it has no weights."""

    def forward(self, late: Tensor, boxes: Tensor) -> Tensor:
        return pool(late, boxes)

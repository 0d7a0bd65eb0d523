"""SiamRPN: detect the target once per frame, with a region proposal network that a template has told what to propose.

B. Li, J. Yan, W. Wu, Z. Zhu, X. Hu, "High Performance Visual Tracking with Siamese Region Proposal Network", CVPR
2018. Section 4 of the paper is `SiameseTracker.choose`: cosine window, penalty on change of scale and ratio, slow size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deep_tracking_ros.inference.engine import Network
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.parts.siamese_tracker import (
    Offers,
    SiameseParameters,
    SiameseTracker,
    siamese_networks,
    sigmoid,
)
from deep_tracking_ros.types import FloatArray

ANCHORS = 5
KERNEL = 4


def networks(model: Model) -> tuple[Network, ...]:
    """Raises `ModelError` where the parameters in the card make no network."""
    p = model.card.settings(SiameseParameters, "parameters")

    def head() -> object:
        from deep_tracking_ros.single_object.siamrpn_network import SiamRPNHead

        return SiamRPNHead(p.channels, p.template)

    kernel = (p.channels, KERNEL, KERNEL)
    return siamese_networks(
        "siamrpn", model, p, head,
        {"classify": kernel, "regress": kernel},
        lambda cells: {"logits": (ANCHORS, cells, cells), "boxes": (4, ANCHORS, cells, cells)},
        sized=(True, False),  # anchors are the prior, not the target's size
    )  # fmt: skip


class SiamRPNTracker(SiameseTracker):
    """Follows targets by the two networks of `networks`."""

    networks = staticmethod(networks)

    def offers(self, outputs: Mapping[str, FloatArray], targets: Sequence[Any]) -> Offers:
        logits = outputs["logits"].reshape(len(outputs["logits"]), ANCHORS, -1)
        return Offers(sigmoid(logits), outputs["boxes"].reshape(-1, 4, *logits.shape[1:]), logits)

"""TransT: attention in the place of correlation; each place of the search region says whether it is the target.

X. Chen, B. Yan, J. Zhu, D. Wang, X. Yang, H. Lu, "Transformer Tracking", CVPR 2021. The best place
under a cosine window is taken: `SiameseTracker.choose` with the window alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.inference.engine import Network
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.single_object.parts.batches import sigmoid
from deep_tracking_ros.single_object.parts.siamese_tracker import (
    STRIDE,
    Offers,
    SiameseParameters,
    SiameseTracker,
    siamese_networks,
)
from deep_tracking_ros.types import FloatArray


@dataclass(frozen=True)
class TransTParameters(SiameseParameters):
    """What the network is made from: ``parameters`` of the card."""

    layers: int = parameter(2, "Fusion layers.", minimum=1, maximum=24)
    heads: int = parameter(4, "Heads of each attention.", minimum=1, maximum=64)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % (4 * self.heads):
            raise ModelError(f"channels is {self.channels}, it must be a multiple of 4 times heads, {4 * self.heads}")


def networks(model: Model) -> tuple[Network, ...]:
    """Raises `ModelError` where the parameters in the card make no network."""
    p = model.card.settings(TransTParameters, "parameters")

    def head() -> object:
        from deep_tracking_ros.single_object.transt_network import TransTHead

        return TransTHead(p.channels, p.template, p.layers, p.heads)

    return siamese_networks(
        "transt", model, p, head,
        {"tokens": ((p.template // STRIDE) ** 2, p.channels)},
        lambda cells: {"logits": (cells, cells), "boxes": (4, cells, cells)},
    )  # fmt: skip


class TransTTracker(SiameseTracker):
    """Follows targets by the two networks of `networks`."""

    Parameters = TransTParameters
    networks = staticmethod(networks)

    def offers(self, outputs: Mapping[str, FloatArray], targets: Sequence[Any]) -> Offers:
        logits = outputs["logits"].reshape(len(outputs["logits"]), 1, -1)
        return Offers(sigmoid(logits), outputs["boxes"].reshape(-1, 4, *logits.shape[1:]), logits)

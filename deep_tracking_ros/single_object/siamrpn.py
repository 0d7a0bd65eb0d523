"""SiamRPN: detect the target once per frame, with a region proposal network that a template has told what to propose.

B. Li, J. Yan, W. Wu, Z. Zhu, X. Hu, "High Performance Visual Tracking with Siamese Region Proposal Network", CVPR
2018. Section 4 of the paper is `SiameseTracker.choose`: cosine window, penalty on change of scale and ratio, slow size.
With ``distractors`` above 0 proposals are ranked anew as in "Distractor-aware Siamese Networks" (Z. Zhu et al., ECCV
2018), see `parts.distractors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes import iou
from deep_tracking_ros.inference.engine import Network
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.single_object.parts.batches import sigmoid
from deep_tracking_ros.single_object.parts.box_selection import SelectionSettings
from deep_tracking_ros.single_object.parts.distractors import advantage, describe, describe_target, proposals
from deep_tracking_ros.single_object.parts.siamese_tracker import (
    CHANNELS,
    STRIDE,
    Chosen,
    Offers,
    SiameseParameters,
    SiameseTarget,
    SiameseTracker,
    siamese_networks,
)
from deep_tracking_ros.single_object.tracker import Estimate, Target
from deep_tracking_ros.types import FloatArray

ANCHORS = 5
KERNEL = 4
PROPOSALS = 8
"""Proposals that are ranked anew."""
MEMORY = 12
"""Distractors that a target remembers."""


@dataclass(frozen=True)
class SiamRPNSettings(SelectionSettings):
    """``tracking`` of the card."""

    distractors: float = parameter(0.0, "Weight of likeness to remembered distractors; 0 = off.", minimum=0, maximum=10)
    distractor_share: float = parameter(
        0.5, "Share of the chosen proposal's presence above which another is a distractor.", minimum=0, maximum=1
    )


@dataclass(eq=False)
class SiamRPNTarget(SiameseTarget):
    """A target, what the network keeps of its template, and what only looks like it."""

    look: FloatArray  # (C,) of the template
    distractors: FloatArray  # (M, C), the newest last


def networks(model: Model) -> tuple[Network, ...]:
    """Raises `ModelError` where the parameters in the card make no network."""
    p = model.card.settings(SiameseParameters, "parameters")

    def head() -> object:
        from deep_tracking_ros.single_object.siamrpn_network import SiamRPNHead

        return SiamRPNHead(p.channels, p.template)

    kernel, cells_of_template = (p.channels, KERNEL, KERNEL), p.template // STRIDE
    return siamese_networks(
        "siamrpn", model, p, head,
        {"classify": kernel, "regress": kernel},
        lambda cells: {
            "logits": (ANCHORS, cells, cells), "boxes": (4, ANCHORS, cells, cells), "late": (CHANNELS, cells, cells),
        },
        sized=(True, False),  # anchors are the prior, not the target's size
        told={"look": (CHANNELS, cells_of_template, cells_of_template)},
    )  # fmt: skip


class SiamRPNTracker(SiameseTracker):
    """Follows targets by the networks of `networks`."""

    Settings = SiamRPNSettings
    settings: SiamRPNSettings
    networks = staticmethod(networks)

    def learn(self, image: NDArray[np.uint8], boxes: FloatArray) -> list[Target]:
        plain = [cast(SiameseTarget, target) for target in super().learn(image, boxes)]
        none = np.zeros((0, CHANNELS), np.float32)
        return [
            SiamRPNTarget(
                target.box, target.size, {key: value for key, value in target.features.items() if key != "look"},
                describe_target(target.features["look"], target.size), none,
            )
            for target in plain
        ]  # fmt: skip

    def offers(self, outputs: Mapping[str, FloatArray], targets: Sequence[Any]) -> Offers:
        logits = outputs["logits"].reshape(len(outputs["logits"]), ANCHORS, -1)
        boxes, presence = outputs["boxes"].reshape(-1, 4, *logits.shape[1:]), sigmoid(logits)
        if self.settings.distractors > 0:
            for i, target in enumerate(targets):
                if len(target.distractors):
                    presence[i] = self._ranked(presence[i], boxes[i], outputs["late"][i], target)
        return Offers(presence, boxes, logits)

    def take(
        self,
        image: NDArray[np.uint8],
        targets: Sequence[SiameseTarget],
        chosen: Chosen,
        outputs: Mapping[str, FloatArray],
    ) -> list[Estimate]:
        if self.settings.distractors > 0:
            self._remember(cast("Sequence[SiamRPNTarget]", targets), chosen, outputs)
        return super().take(image, targets, chosen, outputs)

    def _ranked(
        self, presence: FloatArray, boxes: FloatArray, late: FloatArray, target: SiamRPNTarget
    ) -> FloatArray:  # fmt: skip
        """Presence (K, C) in which proposals that look like distractors have lost, with all that overlaps them."""
        flat, places = presence.reshape(-1), boxes.reshape(4, -1).T
        best = proposals(flat, places, PROPOSALS, 0.2)
        lost = self.settings.distractors * np.minimum(
            advantage(describe(late, places[best]), target.look, target.distractors), 0
        )
        ranked = flat.copy()
        for place, loss in zip(places[best], lost, strict=True):
            ranked[iou(places, place) > 0.3] += loss
        return np.asarray(ranked.clip(0, 1).reshape(presence.shape), np.float32)

    def _remember(self, targets: Sequence[SiamRPNTarget], chosen: Chosen, outputs: Mapping[str, FloatArray]) -> None:
        """Proposals that are not the chosen one, and nearly as present, become distractors."""
        logits = outputs["logits"].reshape(len(outputs["logits"]), -1)
        for i, target in enumerate(targets):
            flat, places = sigmoid(logits[i]), outputs["boxes"][i].reshape(4, -1).T
            best = proposals(flat, places, PROPOSALS, 0.0)
            here = places[chosen.cell[i]]
            others = best[
                (flat[best] >= self.settings.distractor_share * flat[chosen.cell[i]]) & (iou(places[best], here) < 0.1)
            ]
            if len(others) and flat[chosen.cell[i]] > 0.5:
                seen = describe(outputs["late"][i], places[others])
                seen = seen[np.isfinite(seen).all(1)]  # others would spoil what is compared with them for ever
                target.distractors = np.concatenate([target.distractors, seen])[-MEMORY:]

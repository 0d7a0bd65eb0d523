"""RPT: follow an object as a set of points, whose span is its box and whose hull is its contour.

Z. Ma, L. Wang, H. Zhang, W. Lu, J. Yin, "RPT: Learning Point Set Representation for Siamese Visual Tracking", ECCV
workshops 2020: the target estimation of section 3.2. The paper's second part, an online classifier, is that of `atom`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.crops import crop_to_image
from deep_tracking_ros.inference.engine import Network
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.single_object.parts.box_selection import at_cell
from deep_tracking_ros.single_object.parts.siamese_tracker import (
    STRIDE,
    Chosen,
    Offers,
    SiameseParameters,
    SiameseTarget,
    SiameseTracker,
    siamese_networks,
)
from deep_tracking_ros.single_object.tracker import Estimate
from deep_tracking_ros.types import FloatArray

POINTS = 9


@dataclass(frozen=True)
class RPTParameters(SiameseParameters):
    """What the network is made from: ``parameters`` of the card."""

    deformable: bool = parameter(True, "Read features at the points; off = an ordinary convolution, to compare.")


def networks(model: Model) -> tuple[Network, Network]:
    """Raises `ModelError` where the parameters in the card make no network."""
    p = model.card.settings(RPTParameters, "parameters")

    def head() -> object:
        from deep_tracking_ros.single_object.rpt_network import RPTHead

        return RPTHead(p.channels, p.template, p.deformable)

    cells, kernels = (p.cells, p.cells), (p.template // STRIDE) ** 2
    return siamese_networks(
        "rpt", model, p, head,
        {"kernels": (kernels, p.channels), "mean": (p.channels, 1, 1)},
        {"logits": cells, "quality": cells, "points": (POINTS, 2, *cells)},
    )  # fmt: skip


class RPTTracker(SiameseTracker):
    """Follows targets by the two networks of `networks`; estimates carry the points as contour."""

    Parameters = RPTParameters
    networks = staticmethod(networks)

    def offers(self, outputs: Mapping[str, FloatArray]) -> Offers:
        logits, points = outputs["logits"], outputs["points"]
        count = len(logits)
        boxes = np.concatenate([points.min(1), points.max(1)], 1).reshape(count, 4, 1, -1)
        flat = logits.reshape(count, 1, -1)
        return Offers(flat, boxes, flat + outputs["quality"].reshape(count, 1, -1))

    def take(
        self,
        image: NDArray[np.uint8],
        targets: Sequence[SiameseTarget],
        chosen: Chosen,
        outputs: Mapping[str, FloatArray],
    ) -> list[Estimate]:
        estimates = super().take(image, targets, chosen, outputs)
        points = at_cell(outputs["points"], chosen.cell).transpose(0, 1, 2)  # (N, 9, 2) crop px
        size = self.parameters.search
        return [
            replace(estimate, contour=around(crop_to_image(points[i], chosen.centres[i], chosen.sides[i], size)))
            for i, estimate in enumerate(estimates)
        ]


def around(points: FloatArray) -> FloatArray:
    """Points (n, 2) in order of their angle about their mean: an outline without crossings."""
    away = points - points.mean(0)
    return points[np.argsort(np.arctan2(away[:, 1], away[:, 0]), kind="stable")]

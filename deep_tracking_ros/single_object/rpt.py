"""RPT: follow an object as a set of points, whose span is its box and whose outline is its contour.

Z. Ma, L. Wang, H. Zhang, W. Lu, J. Yin, "RPT: Learning Point Set Representation for Siamese Visual Tracking", ECCV
workshops 2020. Section 3.2, the points, is `rpt_network`; section 3.3, a classifier that learns online what only
looks like the target, is that of ATOM, mixed into the score by ``online`` of the card's settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes import xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import crop_to_image, image_to_crop
from deep_tracking_ros.inference.engine import Engine, Network
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.single_object.parts.batches import run, sigmoid
from deep_tracking_ros.single_object.parts.box_selection import SelectionSettings, at_cell
from deep_tracking_ros.single_object.parts.contours import by_angle
from deep_tracking_ros.single_object.parts.online_target import OnlineTargets, quick_classifier
from deep_tracking_ros.single_object.parts.peaks import Localisation, PeakSettings, Verdict
from deep_tracking_ros.single_object.parts.siamese_tracker import (
    CHANNELS,
    STRIDE,
    Chosen,
    Offers,
    SiameseParameters,
    SiameseTarget,
    SiameseTracker,
    backbone_network,
    siamese_networks,
)
from deep_tracking_ros.single_object.tracker import Estimate, Target
from deep_tracking_ros.types import FloatArray

POINTS = 9


@dataclass(frozen=True)
class RPTParameters(SiameseParameters):
    """What the network is made from: ``parameters`` of the card."""

    deformable: bool = parameter(True, "Read features at the points; off = an ordinary convolution, to compare.")


@dataclass(frozen=True)
class RPTSettings(SelectionSettings):
    """``tracking`` of the card."""

    online: float = parameter(0.0, "Share of the online classifier in the score; 0 = none.", minimum=0, maximum=1)
    update_every: int = parameter(10, "Images from one update of a classifier to the next.", minimum=1, maximum=10_000)
    learn_from: float = parameter(0.5, "Presence from which the classifier learns from an image.", minimum=0, maximum=1)


@dataclass(eq=False)
class RPTTarget(SiameseTarget):
    """A target, what the network keeps of its template, and its classifier."""

    classifier: Any  # parts.online_classifier.ClassifierState


def networks(model: Model) -> tuple[Network, ...]:
    """'rpt/template', 'rpt/search', and 'rpt/features' for the online classifier.

    Raises `ModelError` where the parameters in the card make no network.
    """
    p = model.card.settings(RPTParameters, "parameters")

    def head() -> object:
        from deep_tracking_ros.single_object.rpt_network import RPTHead

        return RPTHead(p.channels, p.template, p.deformable)

    pair = siamese_networks(
        "rpt", model, p, head,
        {"kernels": ((p.template // STRIDE) ** 2, p.channels), "mean": (p.channels, 1, 1)},
        lambda cells: {
            "logits": (cells, cells), "quality": (cells, cells), "points": (2 * POINTS, cells, cells),
            "late": (CHANNELS, cells, cells),
        },
    )  # fmt: skip
    return *pair, backbone_network("rpt", model, p.search)


class RPTTracker(SiameseTracker):
    """Follows targets by the networks of `networks`; estimates carry the points as contour."""

    Parameters = RPTParameters
    Settings = RPTSettings
    settings: RPTSettings
    networks = staticmethod(networks)

    def __init__(self, model: Model, make: Callable[[Network], Engine]) -> None:
        super().__init__(model, make)
        self.online: OnlineTargets | None = None
        if self.settings.online > 0:
            self.learns = True
            self.online = OnlineTargets(
                lambda crops: run(self.by_name["features"], crops=crops)["late"],
                self.parameters.search,
                quick_classifier(self.settings.update_every),
                PeakSettings(),
            )

    def learn(self, image: NDArray[np.uint8], boxes: FloatArray) -> list[Target]:
        plain = super().learn(image, boxes)
        if self.online is None:
            return plain
        states = xyxy_to_cxcywh(boxes)
        classifiers = self.online.start(image, states, self.search_windows(states, self.parameters.search)[1])
        known = [cast(SiameseTarget, target) for target in plain]
        return [RPTTarget(t.box, t.size, t.features, c) for t, c in zip(known, classifiers, strict=True)]

    def search(self, targets: Sequence[SiameseTarget], crops: NDArray[np.uint8]) -> dict[str, FloatArray]:
        outputs = super().search(targets, crops)
        if self.online is None:
            return outputs
        classifiers = [cast(RPTTarget, target).classifier for target in targets]
        return {**outputs, "online": self.online.score(classifiers, outputs["late"])}

    def offers(self, outputs: Mapping[str, FloatArray], targets: Sequence[Any]) -> Offers:
        logits, points = outputs["logits"], pairs(outputs["points"])
        count = len(logits)
        boxes = np.concatenate([points.min(1), points.max(1)], 1).reshape(count, 4, 1, -1)
        flat = logits.reshape(count, 1, -1)
        presence = sigmoid(flat)
        if self.online is not None:
            seen = self.online.at_cells(outputs["online"]).reshape(count, 1, -1)
            share = np.float32(self.settings.online)
            presence = (1 - share) * presence + share * np.clip(seen, 0, 1)
        return Offers(presence, boxes, flat + outputs["quality"].reshape(count, 1, -1))

    def take(
        self,
        image: NDArray[np.uint8],
        targets: Sequence[SiameseTarget],
        chosen: Chosen,
        outputs: Mapping[str, FloatArray],
    ) -> list[Estimate]:
        estimates = super().take(image, targets, chosen, outputs)
        if self.online is not None:
            self._learn(cast("Sequence[RPTTarget]", targets), chosen, outputs)
        points = at_cell(pairs(outputs["points"]), chosen.cell)  # (N, 9, 2) crop px
        placed = crop_to_image(points, chosen.centres[:, None], chosen.sides[:, None], chosen.side)
        return [
            replace(one, contour=by_angle(points)) if np.isfinite(points).all() else one
            for one, points in zip(estimates, placed, strict=True)
        ]

    def _learn(self, targets: Sequence[RPTTarget], chosen: Chosen, outputs: Mapping[str, FloatArray]) -> None:
        """Classifiers learn from the images in which the network and they themselves agree on where the target is."""
        assert self.online is not None
        boxes = np.stack([target.box for target in targets])
        states = xyxy_to_cxcywh(image_to_crop(boxes, chosen.centres, chosen.sides, chosen.side))
        found = self.online.localise(outputs["online"], states[:, 2:])
        presence = sigmoid(at_cell(outputs["logits"], chosen.cell))
        agreed = [
            one if sure >= self.settings.learn_from and _close(one, state) else replace(one, verdict=Verdict.UNCERTAIN)
            for one, state, sure in zip(found, states, presence, strict=True)
        ]
        classifiers = [target.classifier for target in targets]
        for target, state in zip(
            targets, self.online.update(classifiers, outputs["late"], agreed, states), strict=True
        ):
            target.classifier = state


def pairs(points: FloatArray) -> FloatArray:
    """Points (N, 2 n, H, W) as the network gives them, y before x, as (N, n, 2, H, W), x before y."""
    return points.reshape(len(points), -1, 2, *points.shape[2:])[:, :, ::-1]


def _close(found: Localisation, state: FloatArray) -> bool:
    """Whether a peak lies on the box (4,) cxcywh."""
    return bool((np.abs(np.array(found.place) - state[:2]) <= state[2:] / 2 + STRIDE / 2).all())

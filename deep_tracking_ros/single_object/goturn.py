"""GOTURN: regress the box from two crops of one place, one of the last image and one of this.

D. Held, S. Thrun, S. Savarese, "Learning to Track at 100 FPS with Deep Regression Networks", ECCV 2016. Nothing of the
first image is kept: what the tracker knows is what the object looked like an image ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import context_side, crop_to_image
from deep_tracking_ros.inference.engine import Network
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.single_object.parts.batches import run
from deep_tracking_ros.single_object.parts.siamese_tracker import (
    CONTEXT,
    STRIDE,
    OneSideParameters,
    SiameseTarget,
    TemplateTracker,
    keep,
    kept_features,
    siamese_networks,
)
from deep_tracking_ros.single_object.tracker import Estimate, Target


@dataclass(frozen=True)
class GoturnParameters(OneSideParameters):
    """What the network is made from: ``parameters`` of the card."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search != self.template:
            raise ModelError(f"template {self.template} and search {self.search} must be equal: both show one place")


@dataclass(frozen=True)
class GoturnSettings:
    """``tracking`` of the card."""

    hold: float = parameter(-2.0, "Trust, a logit, below which the last crop is kept.", minimum=-100, maximum=100)


def networks(model: Model) -> tuple[Network, ...]:
    """Raises `ModelError` where the parameters in the card make no network."""
    p = model.card.settings(GoturnParameters, "parameters")

    def head() -> object:
        from deep_tracking_ros.single_object.goturn_network import GoturnHead

        return GoturnHead(p.channels, p.template)

    cells = p.template // STRIDE
    return siamese_networks(
        "goturn",
        model,
        p,
        head,
        {"previous": (p.channels, cells, cells)},
        lambda _: {"box": (4,), "trust": ()},
        (False, True),
    )


class GoturnTracker(TemplateTracker):
    """Follows targets by the two networks of `networks`; both run in every image."""

    reach = 0.4
    Parameters = GoturnParameters
    Settings = GoturnSettings
    settings: GoturnSettings
    networks = staticmethod(networks)

    def track(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Estimate]:
        if not targets:
            return []
        ours = [cast(SiameseTarget, target) for target in targets]
        last = xyxy_to_cxcywh(np.stack([target.box for target in ours]))
        crops, scale = self.template_crops(image, last)
        sizes = np.asarray(last[:, 2:] * scale, np.float32)
        found = run(self.by_name["search"], crops=crops, sizes=sizes, **kept_features(ours))
        side = context_side(cxcywh_to_xyxy(last), CONTEXT)
        boxes = crop_to_image(found["box"], last[:, :2], side, self.parameters.template)
        trust = found["trust"]
        scores = np.where(np.isfinite(trust), self.calibration(trust), np.float32(np.nan))
        boxes, scores = keep(image, ours, boxes, np.asarray(scores, np.float32))
        learnt = [cast(SiameseTarget, target) for target in self.learn(image, boxes)]
        for target, now, sure in zip(ours, learnt, trust >= self.settings.hold, strict=True):
            target.box = now.box
            if sure and np.isfinite(now.features["previous"]).all():  # others would be compared with for ever
                target.features, target.size = now.features, now.size
        return [Estimate(target.box, float(score)) for target, score in zip(ours, scores, strict=True)]

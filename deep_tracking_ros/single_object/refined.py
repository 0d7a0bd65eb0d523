"""Any tracker, with SiamMask after it: the one finds the box, the other the mask in it and a better box.

B. Yan, X. Zhang, D. Wang, H. Lu, X. Yang, "Alpha-Refine: Boosting Tracking Performance by Precise Bounding Box
Estimation", CVPR 2021. A model's name with a plus makes it: ``siamfc+siammask``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.single_object.parts.siamese_tracker import MANY, SiameseTarget, keep
from deep_tracking_ros.single_object.siammask import SiamMaskTracker
from deep_tracking_ros.single_object.tracker import Estimate, SingleObjectTracker, Target


@dataclass(eq=False)
class RefinedTarget(Target):
    """What both trackers know of an object."""

    found: Target
    outlined: SiameseTarget


class RefinedTracker(SingleObjectTracker):
    """The score is the first tracker's; its box moves to that of the mask by SiamMask's ``box_from_mask``."""

    def __init__(self, first: SingleObjectTracker, second: SiamMaskTracker) -> None:
        self.first, self.second = first, second
        self.card = replace(first.card, name=f"{first.card.name}+{second.card.name}")
        self.engines = (*first.engines, *second.engines)
        self.smallest, self.reach = max(first.smallest, second.smallest), first.reach

    def start(self, image: NDArray[np.uint8], boxes: ArrayLike) -> list[Target]:
        found = self.first.start(image, boxes)
        outlined = self.second.start(image, boxes)
        return [RefinedTarget(a.box, a, cast(SiameseTarget, b)) for a, b in zip(found, outlined, strict=True)]

    def track(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Estimate]:
        if not targets:
            return []
        ours = [cast(RefinedTarget, target) for target in targets]
        found = [target.found.at(target.box) for target in ours]
        estimates = self.first.track(image, found)
        boxes = np.stack([estimate.box for estimate in estimates])
        # where the boxes are known is where the masks are: of many, near crops will do
        near = self.second.near if len(ours) >= MANY else 0
        side = near or self.second.parameters.search
        outlined, masks = self.second.segment(image, [target.outlined for target in ours], boxes, side)
        moved = boxes + np.float32(self.second.settings.box_from_mask) * (outlined - boxes)
        scores = np.array([estimate.score for estimate in estimates], np.float32)
        final, _ = keep(image, found, moved, scores)
        for target, first, box in zip(ours, found, final, strict=True):
            target.found, target.box = first, box
        return [
            replace(estimate, box=box, mask=mask)
            for estimate, box, mask in zip(estimates, final, masks, strict=True)
        ]  # fmt: skip

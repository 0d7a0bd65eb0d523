"""How each siamese head is made and what it is trained for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from deep_tracking_ros.single_object.parts.backbone import Features

_SELECTION: Mapping[str, tuple[float, ...]] = {
    "window_influence": (0.42, 0.3, 0.2),
    "penalty": (0.12, 0.05),
    "size_rate": (0.4, 0.7),
}


@dataclass(frozen=True)
class Head:
    """A head that can be trained: where its loss is, what its network is made from, and how its tracker is finished.

    The module has ``make(template, **parameters) -> nn.Module`` and
    ``loss(head, template, search, batch) -> {"loss": ..., figures}``; ``template`` and ``search`` are
    `parts.backbone.Features`, those of the crop named in ``sees`` in the place of the search crop, and ``batch`` is
    described by `training.siamese.SiameseTask.fields`.
    """

    module: str
    parameters: Mapping[str, Any]
    description: str
    search: int = 256  # px, side of the crop that the tracker sees
    near: int = 144  # px, the same of steady targets among many; 0 = it has no such crops
    sees: str = "search"
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: dict(_SELECTION))  # see `finish.choose`

    def make(self, template: int) -> nn.Module:
        """The network, without what it has learnt."""
        made: nn.Module = self._load("make")(template, **self.parameters)
        return made

    def loss(
        self, head: nn.Module, template: Features, search: Features, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Loss and figures of a batch."""
        figures: dict[str, Tensor] = self._load("loss")(head, template, search, batch)
        return figures

    def _load(self, name: str) -> Any:
        return getattr(importlib.import_module(f"deep_tracking_ros.training.heads.{self.module}"), name)


HEADS: dict[str, Head] = {
    "goturn": Head(
        "goturn", {"channels": 64}, "GOTURN: the box is regressed from two crops of one place.", 128, 0, "near", {}
    ),
    "siamrpn": Head(
        "siamrpn", {"channels": 96}, "SiamRPN: anchors are judged by depth-wise correlation with a template."
    ),
    "mdnet": Head(
        "mdnet", {"channels": 128}, "MDNet: candidates are judged by layers learnt on the way.", near=0, grid={}
    ),
    "atom": Head(
        "atom", {"channels": 64}, "ATOM: an online classifier finds the target, its overlap is climbed.",
        near=128, grid={"size_rate": (0.5, 0.8), "window": (0.15, 0.3)},
    ),
    "rpt": Head(
        "rpt", {"channels": 96}, "RPT: the target is a set of points, read by deformable convolution.",
        224, 128, grid={**_SELECTION, "online": (0.0, 0.4)},
    ),
    "rpt_regular": Head(
        "rpt", {"channels": 96, "deformable": False}, "RPT read by regular convolution, to compare with.",
        224, 128,
    ),
    "transt": Head(
        "transt", {"channels": 96, "layers": 2, "heads": 4}, "TransT: attention in the place of correlation."
    ),
    "siammask": Head(
        "siammask", {"channels": 96}, "SiamMask: score, box and mask from one correlation.",
        near=128, grid={
            **_SELECTION, "zoom": (1.0,), "mask_threshold": (0.35,), "agreement": (0.2,),
            "box_from_mask": (0.5, 0.0, 1.0),
        },
    ),
}  # fmt: skip

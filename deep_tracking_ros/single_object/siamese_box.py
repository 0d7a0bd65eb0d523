"""Siamese box regression: a backbone sees template and search crop, a head gives a score and a box for every cell.

The tracker behind imported public networks of this kind: NanoTrack (H. Chu, github.com/HonglinChu/SiamTrackers; a
small relative of LightTrack, B. Yan et al., CVPR 2021) and FEAR (V. Borsuk et al., "FEAR: Fast, Efficient, Accurate
and Robust Visual Tracker", ECCV 2022). They differ in how crops are cut and where the first cell lies; that is data in
the model's card. How one cell is chosen goes back to SiamRPN (B. Li et al., CVPR 2018), see `parts.box_selection`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.geometry.boxes import check_box, cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import crop, crop_to_image, whole_windows
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import REQUIRED, parameter
from deep_tracking_ros.single_object.parts.batches import batched, run, sigmoid
from deep_tracking_ros.single_object.parts.box_selection import (
    SelectionSettings,
    at_cell,
    cell_grid,
    cosine_window,
    decode_ltrb,
    select,
)
from deep_tracking_ros.single_object.parts.calibration import Calibration
from deep_tracking_ros.single_object.tracker import Estimate, SingleObjectTracker, Target
from deep_tracking_ros.types import FloatArray


@dataclass(frozen=True)
class _Numbers:
    """Those of `SiameseBoxParameters` that are single values."""

    template_size: int = parameter(REQUIRED, "Side of the template crop.", unit="px", minimum=8, maximum=1024)
    search_size: int = parameter(REQUIRED, "Side of the search crop.", unit="px", minimum=8, maximum=2048)
    cells: int = parameter(REQUIRED, "Rows and columns of the head's maps.", minimum=1, maximum=512)
    stride: float = parameter(
        REQUIRED, "Px of the search crop from one cell to the next.", unit="px", minimum=0.5, maximum=256
    )
    origin: float = parameter(
        REQUIRED,
        "Px of the search crop (pixel centres at integers) at which the first cell lies.",
        unit="px",
        minimum=-1024,
        maximum=1024,
    )
    context: float = parameter(
        REQUIRED,
        "What the template shows around the box: share of width plus height; stretched: of width and of height.",
        minimum=0,
        maximum=10,
    )
    search_scale: float = parameter(
        REQUIRED, "Image px that the search crop shows, for each that the template shows.", minimum=0.1, maximum=100
    )
    stretched: bool = parameter(False, "Crops have the aspect of the box; else they are square, as in SiamFC.")


@dataclass(frozen=True)
class SiameseBoxParameters(_Numbers):
    """What differs between networks: ``parameters`` of the card."""

    feature: tuple[int, int, int] = field(kw_only=True)
    """Channels, rows and columns of the template's features; 1 to 4096."""

    @classmethod
    def of(cls, model: Model) -> SiameseBoxParameters:
        """Raises `ModelError` for a key that is missing or not known, a value of another type or out of its range."""
        values = dict(model.card.parameters)
        feature = values.pop("feature", None)
        if not (isinstance(feature, (list, tuple)) and len(feature) == 3 and all(_is_size(n) for n in feature)):
            raise ModelError(
                f"parameters in the card of model {model.card.name!r}: feature is {feature!r}, it must be three whole "
                "numbers from 1 to 4096: channels, rows and columns of the template's features"
            )
        numbers = replace(model.card, parameters=values).settings(_Numbers, "parameters")
        return cls(**asdict(numbers), feature=(feature[0], feature[1], feature[2]))


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 4096


@dataclass(eq=False)
class SiameseBoxTarget(Target):
    """A target with what is known of it from the image on which it was started."""

    features: FloatArray  # (C, H, W) of its template
    border: FloatArray  # (3,) BGR, whole grey levels: what crops show outside of the image


def networks(model: Model) -> tuple[Network, Network]:
    """The networks 'siamese_box/template' and 'siamese_box/search' of a model, before a backend was chosen.

    Raises `ModelError` where the parameters in its card are no such parameters.
    """
    p = SiameseBoxParameters.of(model)

    return (
        Network(
            "siamese_box/template",
            (batched("crops", (p.template_size, p.template_size, 3), np.uint8),),
            (TensorSpec("features", (-1, *p.feature)),),
            model.digest,
            onnx=model.folder / "template.onnx",
        ),
        Network(
            "siamese_box/search",
            (batched("crops", (p.search_size, p.search_size, 3), np.uint8), batched("features", p.feature)),
            (TensorSpec("logits", (-1, p.cells, p.cells)), TensorSpec("distances", (-1, 4, p.cells, p.cells))),
            model.digest,
            onnx=model.folder / "search.onnx",
        ),
    )


class SiameseBoxTracker(SingleObjectTracker):
    """Follows targets by the two networks of `networks`."""

    def __init__(self, model: Model, make: Callable[[Network], Engine]) -> None:
        self.card = model.card
        self.parameters = p = SiameseBoxParameters.of(model)
        self.settings = model.card.settings(SelectionSettings)
        self.calibration = Calibration.from_card(model.card.calibration)
        self.engines = tuple(make(network) for network in networks(model))
        self.grid = cell_grid(p.cells, p.stride, p.origin)
        self.window = cosine_window(p.cells)

    def start(self, image: NDArray[np.uint8], boxes: ArrayLike) -> list[Target]:
        height, width = image.shape[:2]
        inside = [check_box(box, width, height, self.smallest) for box in np.asarray(boxes, np.float32).reshape(-1, 4)]
        if not inside:
            return []
        states = xyxy_to_cxcywh(np.stack(inside))
        border = np.floor(np.array(cv2.mean(image)[:3], np.float32))
        centres, sides = whole_windows(states[:, :2], self._template_sides(states))
        crops = crop(image, centres, sides, self.parameters.template_size, border=border)
        features = run(self.engines[0], crops=crops)["features"]
        return [SiameseBoxTarget(box, feature, border) for box, feature in zip(inside, features, strict=True)]

    def track(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Estimate]:
        if not targets:
            return []
        ours = [cast(SiameseBoxTarget, target) for target in targets]
        p = self.parameters
        before = np.stack([target.box for target in ours])
        last = xyxy_to_cxcywh(before)
        centres, sides = whole_windows(last[:, :2], self._template_sides(last) * np.float32(p.search_scale))
        crops = crop(image, centres, sides, p.search_size, border=np.stack([target.border for target in ours]))
        features = np.stack([target.features for target in ours])
        outputs = run(self.engines[1], crops=crops, features=features)
        logits, distances = outputs["logits"], outputs["distances"]

        boxes = decode_ltrb(distances, self.grid)
        probability = sigmoid(logits)
        cell, rate = select(
            probability, boxes, last[:, 2:] * (np.float32(p.search_size) / sides), self.window, self.settings
        )
        found = xyxy_to_cxcywh(crop_to_image(at_cell(boxes, cell), centres, sides, p.search_size))
        # The place is believed at once, the size only slowly.
        found[:, 2:] = last[:, 2:] + rate[:, None] * (found[:, 2:] - last[:, 2:])
        kept = self._kept(found, image.shape[1], image.shape[0])
        raw = at_cell(logits, cell)
        scores = self.calibration(raw)
        # A box that is not finite would be searched for ever after: the target stays where it was.
        bad = ~(np.isfinite(found).all(1) & np.isfinite(raw))
        kept[bad], scores[bad] = before[bad], 0
        for target, box in zip(ours, kept, strict=True):
            target.box = box
        return [Estimate(box, float(score)) for box, score in zip(kept, scores, strict=True)]

    def _template_sides(self, states: FloatArray) -> FloatArray:
        """(N, 2) image px that the template crops of (N, 4) cxcywh boxes show."""
        size, context = states[:, 2:], np.float32(self.parameters.context)
        if self.parameters.stretched:
            return size * (1 + context)
        # SiamFC (Bertinetto et al., 2016), section 2.4: a square as large as the box with its context
        padded = size + context * size.sum(1, keepdims=True)
        return np.asarray(np.sqrt(padded * padded[:, ::-1]), np.float32)

    def _kept(self, states: FloatArray, width: int, height: int) -> FloatArray:
        """(N, 4) xyxy boxes of states, their centres on the image and no side too small to follow or larger than it."""
        places = np.clip(states[:, :2], -0.5, [width - 0.5, height - 0.5])
        sizes = np.clip(states[:, 2:], self.smallest, np.maximum([width, height], self.smallest))
        return cxcywh_to_xyxy(np.concatenate([places, sizes], 1))

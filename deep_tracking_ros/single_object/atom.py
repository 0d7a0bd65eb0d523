"""ATOM: a classifier learnt online says where the target is, its box climbs the overlap that a network predicts.

M. Danelljan, G. Bhat, F. S. Khan, M. Felsberg, "ATOM: Accurate Tracking by Overlap Maximization", CVPR 2019. Figure 2
of the paper from left to right is `AtomTracker.track`: classify, propose boxes, climb, learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import crop, crop_to_image, image_to_crop
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.single_object.parts.batches import batched, run
from deep_tracking_ros.single_object.parts.online_target import OnlineTargets, quick_classifier
from deep_tracking_ros.single_object.parts.peaks import PeakSettings, Verdict
from deep_tracking_ros.single_object.parts.refinement import (
    RefinementSettings,
    by_engine,
    jitter,
    mean_of_best,
    refine,
)
from deep_tracking_ros.single_object.parts.siamese_tracker import (
    CHANNELS,
    STRIDE,
    SiameseParameters,
    SiameseTarget,
    TemplateTracker,
    backbone_network,
    by_side,
    keep,
    settle,
    siamese_networks,
)
from deep_tracking_ros.single_object.tracker import Estimate, Target
from deep_tracking_ros.types import FloatArray

NAMES = ("fine", "coarse")


@dataclass(frozen=True)
class AtomSettings:
    """``tracking`` of the card."""

    boxes: int = parameter(10, "Boxes that climb for each target.", minimum=1, maximum=64)
    best: int = parameter(3, "Boxes that the result is the mean of.", minimum=1, maximum=64)
    shift: float = parameter(0.1, "Most that a starting box is off its place, in its sides.", minimum=0, maximum=1)
    growth: float = parameter(0.3, "Most that a starting box's log sides differ.", minimum=0, maximum=2)
    steps: int = parameter(5, "Steps of the climb.", minimum=0, maximum=100)
    step: float = parameter(0.05, "Length of a step; see RefinementSettings.", minimum=1e-6, maximum=10)
    update_every: int = parameter(10, "Images from one update of a classifier to the next.", minimum=1, maximum=10_000)
    size_rate: float = parameter(0.5, "Share of a change of size that is taken on.", minimum=0, maximum=1)
    window: float = parameter(0.15, "What a place at the edge of the crop loses in score.", minimum=0, maximum=1)
    not_found: float = parameter(0.25, "Score below which the target is not there.", minimum=-1, maximum=1)


@dataclass(eq=False)
class AtomTarget(SiameseTarget):
    """A target, its modulation, and its classifier."""

    classifier: Any  # parts.online_classifier.ClassifierState


def networks(model: Model) -> tuple[Network, ...]:
    """'atom/template', 'atom/search', 'atom/overlap' and 'atom/features' of a model, the second and third also for near
    crops.

    Raises `ModelError` where the parameters in the card make no network.
    """
    p = model.card.settings(SiameseParameters, "parameters")

    def head() -> Any:
        from deep_tracking_ros.single_object.atom_network import AtomHead

        return AtomHead(p.channels, p.template)

    def overlap() -> Any:
        from torch import nn

        from deep_tracking_ros.single_object.atom_network import Overlap
        from deep_tracking_ros.single_object.parts.weights import load_part

        whole = nn.ModuleDict({"head": head()})
        load_part(whole, model, "head.")
        return Overlap(whole["head"]).eval()  # type: ignore[arg-type]

    def maps(cells: int) -> dict[str, tuple[int, ...]]:
        return {"fine": (p.channels, 2 * cells, 2 * cells), "coarse": (p.channels, cells, cells)}

    pair = siamese_networks(
        "atom", model, p, head,
        {f"by_{name}": (p.channels,) for name in NAMES},
        lambda cells: {**maps(cells), "late": (CHANNELS, cells, cells)},
        sized=(True, False),
    )  # fmt: skip
    boxes = TensorSpec("boxes", (-1, -1, 4), np.float32, (1, 1, 4), (4, 10, 4), (16, 64, 4))
    climbs = [
        Network(
            f"atom/{name}",
            (*(batched(key, shape) for key, shape in maps(side // STRIDE).items()), boxes),
            (TensorSpec("iou", (-1, -1)), TensorSpec("gradient", (-1, -1, 4))),
            model.digest,
            overlap,
        )
        for name, side in (("overlap", p.search), ("overlap_near", p.near))
        if side
    ]
    return *pair, *climbs, backbone_network("atom", model, p.search)


class AtomTracker(TemplateTracker):
    """Follows targets by the networks of `networks` and one small classifier for each target."""

    learns = True
    Settings = AtomSettings
    settings: AtomSettings
    networks = staticmethod(networks)

    def __init__(self, model: Model, make: Callable[[Network], Engine]) -> None:
        super().__init__(model, make)
        s = self.settings
        self.online = OnlineTargets(
            lambda crops: run(self.by_name["features"], crops=crops)["late"],
            self.parameters.search,
            quick_classifier(s.update_every),
            PeakSettings(not_found=s.not_found),
        )
        self.away = {side: np.float32(s.window) * farness(side // STRIDE + 1) for side in self.parameters.sides}

    def learn(self, image: NDArray[np.uint8], boxes: FloatArray) -> list[Target]:
        states = xyxy_to_cxcywh(boxes)
        classifiers = self.online.start(image, states, self.search_windows(states, self.parameters.search)[1])
        plain = [cast(SiameseTarget, target) for target in super().learn(image, boxes)]
        return [AtomTarget(t.box, t.size, t.features, c) for t, c in zip(plain, classifiers, strict=True)]

    def track(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Estimate]:
        if not targets:
            return []
        ours = [cast(AtomTarget, target) for target in targets]
        return by_side(ours, self.parameters.search, self.near, lambda some, side: self._track(image, some, side))

    def _track(self, image: NDArray[np.uint8], ours: Sequence[AtomTarget], side: int) -> list[Estimate]:
        last = xyxy_to_cxcywh(np.stack([target.box for target in ours]))
        centres, sides = self.search_windows(last, side)
        maps = self.search(ours, crop(image, centres, sides, side))

        classifiers = [target.classifier for target in ours]
        scores = self.online.score(classifiers, maps["late"])
        here = xyxy_to_cxcywh(image_to_crop(cxcywh_to_xyxy(last), centres, sides, side))
        found = self.online.localise(scores - self.away[side], here[:, 2:])
        lost = np.array([one.verdict is Verdict.NOT_FOUND for one in found])
        moved = here.copy()
        moved[:, :2] = np.where(lost[:, None], here[:, :2], np.array([one.place for one in found], np.float32))

        boxes, overlap = self.climb(cxcywh_to_xyxy(moved), {name: maps[name] for name in NAMES})
        states = xyxy_to_cxcywh(boxes)
        # The size follows slowly, as it does in the other trackers here; a lost target keeps its box.
        states[:, 2:] = here[:, 2:] + np.float32(self.settings.size_rate) * (states[:, 2:] - here[:, 2:])
        states = np.where(lost[:, None], here, states)
        updated = self.online.update(classifiers, maps["late"], found, states)
        for target, classifier in zip(ours, updated, strict=True):
            target.classifier = classifier
        raw = confidence(np.array([one.score for one in found], np.float32), overlap)
        trusted = np.where(np.isfinite(raw), self.calibration(raw), np.float32(np.nan))
        image_boxes = crop_to_image(cxcywh_to_xyxy(states), centres, sides, side)
        kept, sure = keep(image, ours, image_boxes, np.asarray(trusted, np.float32))
        return settle(ours, kept, sure, self.lost)

    def climb(self, boxes: FloatArray, maps: dict[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Boxes (N, 4) xyxy crop px after the climb, and their predicted IoU (N,); section 3.3."""
        s = self.settings
        # Every call draws the same boxes: results depend on nothing but the images.
        starts = jitter(boxes, s.boxes, np.random.default_rng(0), s.shift, s.growth)
        settings = RefinementSettings(s.steps, s.step)
        near = maps["coarse"].shape[2] != self.parameters.cells
        overlap = self.by_name["overlap_near" if near else "overlap"]
        best: list[FloatArray] = []
        value: list[FloatArray] = []
        for i in range(0, len(boxes), 16):
            part = {name: array[i : i + 16] for name, array in maps.items()}
            climbed, iou = refine(by_engine(overlap, **part), starts[i : i + 16], settings)
            mean, mean_iou = mean_of_best(climbed, iou, s.best)
            best.append(mean)
            value.append(mean_iou)
        return np.concatenate(best), np.concatenate(value)


def farness(cells: int) -> FloatArray:
    """(cells, cells) squares of how far cells are from the middle: 1 at the edges."""
    line = np.abs(np.linspace(-1, 1, cells, dtype=np.float32))
    return np.asarray(np.maximum(line[:, None], line[None]) ** 2, np.float32)


def confidence(score: FloatArray, overlap: FloatArray) -> FloatArray:
    """What the score is calibrated from: the classifier's score times the predicted IoU, stretched to a logit.

    Not a number where either is not finite.
    """
    both = np.clip(score, 0, 1) * np.clip(overlap, 0, 1)
    known = np.isfinite(score) & np.isfinite(overlap)
    return np.where(known, 6 * (2 * both - 1), np.nan).astype(np.float32)

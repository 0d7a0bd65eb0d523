"""MDNet, the real-time form: many candidates around the last box, judged by layers that learn the target online.

H. Nam, B. Han, "Learning Multi-Domain Convolutional Neural Networks for Visual Tracking", CVPR 2016, algorithm 1; I.
Jung, J. Son, M. Baek, B. Han, "Real-Time MDNet", ECCV 2018: the backbone runs once per image, candidates are pooled
from its features. Networks run in engines; fc4 to fc6 are learnt in torch on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.geometry.boxes import check_box, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import crop, crop_to_image, image_to_crop
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.single_object.parts import sampling
from deep_tracking_ros.single_object.parts.batches import batched, run
from deep_tracking_ros.single_object.parts.box_regression import BoxRegression
from deep_tracking_ros.single_object.parts.calibration import Calibration
from deep_tracking_ros.single_object.parts.siamese_tracker import (
    CHANNELS,
    OneSideParameters,
    backbone_network,
    context_window,
    keep,
)
from deep_tracking_ros.single_object.tracker import Estimate, SingleObjectTracker, Target
from deep_tracking_ros.types import FloatArray

BINS = 3
MOST = 512
"""Boxes of a target in one call."""


@dataclass(frozen=True)
class MDNetTracking:
    """``tracking`` of the card."""

    candidates: int = parameter(200, "Candidates in each image.", minimum=8, maximum=MOST)
    best: int = parameter(5, "Candidates that the box is the mean of.", minimum=1, maximum=64)
    shift: float = parameter(0.3, "Spread of candidates, in the target's mean side.", minimum=0.01, maximum=2)
    growth: float = parameter(0.05, "Spread of the logarithm of their size.", minimum=0, maximum=1)
    regression_penalty: float = parameter(1000.0, "Lambda of box regression.", minimum=0, maximum=1e6)
    start_steps: int = parameter(30, "Steps of learning in the first image.", minimum=1, maximum=1000)
    steps: int = parameter(10, "Steps of an update.", minimum=1, maximum=1000)
    update_every: int = parameter(10, "Images from one update to the next.", minimum=1, maximum=10_000)


@dataclass(eq=False)
class MDNetTarget(Target):
    """A target: its layers and memory, its box regression, and how many images it was followed through."""

    state: Any  # parts.mdnet_classifier.MDNetState
    regression: BoxRegression
    age: int = 0


def networks(model: Model) -> tuple[Network, Network]:
    """'mdnet/features' and 'mdnet/pool' of a model. Raises `ModelError` where its card's parameters make no network."""
    p = model.card.settings(OneSideParameters, "parameters")

    def pool() -> Any:
        from deep_tracking_ros.single_object.mdnet_network import Pool

        return Pool().eval()

    boxes = TensorSpec("boxes", (-1, -1, 4), np.float32, (1, 1, 4), (4, 256, 4), (16, MOST, 4))
    pooling = Network(
        "mdnet/pool",
        (batched("late", (CHANNELS, p.cells, p.cells)), boxes),
        (TensorSpec("pooled", (-1, -1, CHANNELS * BINS**2)),),
        model.digest,
        pool,
    )
    return backbone_network("mdnet", model, p.search), pooling


def trained_layers(model: Model, parameters: OneSideParameters) -> tuple[Any, ...]:
    """fc4 and fc5 of a model with their biases, weights as (inputs, outputs).

    Raises `ModelError` naming the weights that do not fit.
    """
    from torch import nn

    from deep_tracking_ros.single_object.mdnet_network import MDNetHead
    from deep_tracking_ros.single_object.parts.weights import load_part

    head = MDNetHead(parameters.channels, parameters.template)
    load_part(nn.ModuleDict({"head": head}), model, "head.")
    # torch keeps a linear layer's weights as (outputs, inputs)
    return tuple(part.detach().t().contiguous() for part in head.parameters())


class MDNetTracker(SingleObjectTracker):
    """Follows targets by the networks of `networks` and three small layers for each target."""

    reach = 0.6
    learns = True

    def __init__(self, model: Model, make: Callable[[Network], Engine]) -> None:
        from deep_tracking_ros.single_object.parts.mdnet_classifier import MDNetSettings

        self.card = model.card
        self.parameters = model.card.settings(OneSideParameters, "parameters")
        self.settings = s = model.card.settings(MDNetTracking)
        self.calibration = Calibration.from_card(model.card.calibration)
        self.engines = tuple(make(network) for network in networks(model))
        self.learning = MDNetSettings(start_steps=s.start_steps, steps=s.steps, update_every=s.update_every)
        self.trained = trained_layers(model, self.parameters)

    def start(self, image: NDArray[np.uint8], boxes: ArrayLike) -> list[Target]:
        from deep_tracking_ros.single_object.parts import mdnet_classifier

        height, width = image.shape[:2]
        inside = [check_box(box, width, height, self.smallest) for box in np.asarray(boxes, np.float32).reshape(-1, 4)]
        if not inside:
            return []
        array = np.stack(inside)
        centres, sides = self._windows(array)
        late = self._features(image, centres, sides)
        here = image_to_crop(array, centres, sides, self.parameters.search)
        on, off = self._examples(late, here, 64, 256, [0] * len(here), negative=0.5)
        states = mdnet_classifier.start(on, off, self.learning, self.trained)
        regressions = self._regressions(late, here)
        return [MDNetTarget(*one) for one in zip(inside, states, regressions, strict=True)]

    def track(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Estimate]:
        if not targets:
            return []
        from deep_tracking_ros.single_object.parts import mdnet_classifier

        ours = [cast(MDNetTarget, target) for target in targets]
        s, side = self.settings, self.parameters.search
        before = np.stack([target.box for target in ours])
        centres, sides = self._windows(before)
        late = self._features(image, centres, sides)
        here = image_to_crop(before, centres, sides, side)
        spread = sampling.Spread(s.shift, s.growth, 0.02)
        drawn = np.stack(
            [
                sampling.draw(box, s.candidates, np.random.default_rng(target.age), spread, side, side)
                for box, target in zip(here, ours, strict=True)
            ]
        )
        pooled = self._pool(late, drawn)
        logits = self._score(ours, pooled)
        best = np.argsort(-logits, 1, kind="stable")[:, : s.best]
        raw = np.take_along_axis(logits, best, 1).mean(1)
        found = np.take_along_axis(drawn, best[..., None], 1)
        described = np.take_along_axis(pooled, best[..., None], 1)
        boxes = np.stack(
            [
                (target.regression(x, some) if score > 0 else some).mean(0)
                for target, x, some, score in zip(ours, described, found, raw, strict=True)
            ]
        )
        # A target that was not found stays where it was; candidates far off would only lead it astray.
        boxes = np.where((raw > 0)[:, None], boxes, here).astype(np.float32)
        # What is not finite is learnt from as little as a target that was not found.
        sure = np.where(np.isfinite(raw), raw, np.float32(-1))
        on, off = self._examples(late, boxes, 32, 96, [target.age + 1 for target in ours], negative=0.3, of=sure > 0)
        states = mdnet_classifier.update([target.state for target in ours], sure.tolist(), on, off, self.learning)
        scores = np.where(np.isfinite(raw), self.calibration(raw), np.float32(np.nan)).astype(np.float32)
        kept, scores = keep(image, ours, crop_to_image(boxes, centres, sides, side), scores)
        for target, box, state in zip(ours, kept, states, strict=True):
            target.box, target.state, target.age = box, state, target.age + 1
        return [Estimate(box, float(score)) for box, score in zip(kept, scores, strict=True)]

    def _windows(self, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        return context_window(xyxy_to_cxcywh(boxes), self.parameters.search / self.parameters.template)

    def _features(self, image: NDArray[np.uint8], centres: FloatArray, sides: FloatArray) -> FloatArray:
        return run(self.engines[0], crops=crop(image, centres, sides, self.parameters.search))["late"]

    def _pool(self, late: FloatArray, boxes: FloatArray) -> FloatArray:
        """(T, N, D) features of boxes (T, N, 4) xyxy crop px."""
        return run(self.engines[1], late=late, boxes=np.asarray(boxes, np.float32))["pooled"]

    def _score(self, targets: Sequence[MDNetTarget], pooled: FloatArray) -> FloatArray:
        import torch

        from deep_tracking_ros.single_object.parts import mdnet_classifier

        with torch.no_grad():
            layers = mdnet_classifier.stacked([target.state for target in targets])
            return np.asarray(mdnet_classifier.score(layers, torch.from_numpy(pooled)).numpy(), np.float32)

    def _examples(
        self,
        late: FloatArray,
        boxes: FloatArray,
        positives: int,
        negatives: int,
        seeds: Sequence[int],
        negative: float,
        of: NDArray[np.bool_] | None = None,
    ) -> tuple[list[Any], list[Any]]:
        """Features of boxes on (IoU 0.7 and more) and off (``negative`` and less) targets, as tensors (n, D).

        Of all targets, or of those alone that ``of`` (T,) names; the others get none.
        """
        import torch

        side = self.parameters.search
        asked: list[int] = np.flatnonzero(np.ones(len(boxes)) if of is None else of).tolist()
        on, off = ([torch.empty(0, CHANNELS * BINS**2)] * len(boxes) for _ in range(2))
        if not asked:
            return on, off
        drawn = []
        for t in asked:
            box, rng = boxes[t], np.random.default_rng(seeds[t])
            # the box itself is the first: of narrow ones there are few others that overlap them so much
            near = sampling.draw_with_overlap(box, positives - 1, rng, sampling.POSITIVES, (0.7, 1.0), side, side)
            far = sampling.draw_with_overlap(box, negatives, rng, sampling.NEGATIVES, (0.0, negative), side, side)
            drawn.append((np.concatenate([box[None], near]), far))
        pooled = self._pool_ragged(late[asked], [np.concatenate(pair) for pair in drawn])
        for t, (near, _), features in zip(asked, drawn, pooled, strict=True):
            described = torch.from_numpy(features)
            on[t], off[t] = described[: len(near)], described[len(near) :]
        return on, off

    def _regressions(self, late: FloatArray, boxes: FloatArray) -> list[BoxRegression]:
        """Box regression of each target, learnt in the first image only (MDNet, section 4.3)."""
        side = self.parameters.search
        drawn = []
        for box in boxes:
            rng = np.random.default_rng(1)
            around = sampling.draw_with_overlap(box, 199, rng, sampling.REGRESSION, (0.6, 1.0), side, side)
            drawn.append(np.concatenate([box[None], around]))
        return [
            BoxRegression.fit(features, some, box, self.settings.regression_penalty)
            for features, some, box in zip(self._pool_ragged(late, drawn), drawn, boxes, strict=True)
        ]

    def _pool_ragged(self, late: FloatArray, boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """Features (n, D) of the boxes (n, 4) of each target, in one call: short ones are filled up."""
        most = max(map(len, boxes))
        filled = np.stack([np.concatenate([some, np.repeat(some[:1], most - len(some), 0)]) for some in boxes])
        return [features[: len(some)] for features, some in zip(self._pool(late, filled), boxes, strict=True)]

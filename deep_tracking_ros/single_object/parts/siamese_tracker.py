"""The tracker around a siamese head: cut, run, choose one of the boxes that the head offers, follow its size slowly.

Bo Li et al., "High Performance Visual Tracking with Siamese Region Proposal Network" (CVPR 2018), section 4. Heads
differ in what they offer (`parts.siamese`); a tracker says so in `SiameseTracker.offers`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.geometry.boxes import check_box, cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import context_side, crop, crop_to_image, whole_windows
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import REQUIRED, parameter
from deep_tracking_ros.single_object.parts.batches import batched, run
from deep_tracking_ros.single_object.parts.box_selection import SelectionSettings, at_cell, cosine_window, select
from deep_tracking_ros.single_object.parts.calibration import Calibration
from deep_tracking_ros.single_object.tracker import Estimate, SingleObjectTracker, Target
from deep_tracking_ros.types import FloatArray

STRIDE = 16
"""Crop pixels per cell."""
CHANNELS = 112
"""Of the backbone's late features."""
MANY = 4
"""Targets from which on near search crops are used for those that are steady, where a model has some."""
STEADY = 0.25
"""Most that a steady target moves from one image to the next, in sizes sqrt(w h) of it."""
CONTEXT = 0.5
"""Share of width plus height shown around the target in the template crop."""


@dataclass(frozen=True)
class SiameseParameters:
    """What every siamese network is made from: ``parameters`` of the card."""

    channels: int = parameter(REQUIRED, "Channels of the head.", minimum=1, maximum=4096)
    template: int = parameter(REQUIRED, "Side of the template crop.", unit="px", minimum=2 * STRIDE, maximum=1024)
    search: int = parameter(REQUIRED, "Side of the search crop.", unit="px", minimum=2 * STRIDE, maximum=2048)
    near: int = parameter(
        0, "Side of the search crops of steady targets among many; 0 = the same.", unit="px", minimum=0, maximum=2048
    )

    def __post_init__(self) -> None:
        if self.template % STRIDE or self.search % STRIDE or self.search < self.template:
            raise ModelError(
                f"template {self.template} and search {self.search} must be multiples of {STRIDE}, "
                "search not smaller than template"
            )
        if self.near and (self.near % STRIDE or not self.template <= self.near <= self.search):
            raise ModelError(
                f"near is {self.near}, it must be 0 or a multiple of {STRIDE} from template, {self.template}, to "
                f"search, {self.search}"
            )

    @property
    def cells(self) -> int:
        """Rows and columns of the maps."""
        return self.search // STRIDE

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the search crops that there are, px."""
        return (self.search, self.near) if self.near else (self.search,)


@dataclass(frozen=True)
class OneSideParameters(SiameseParameters):
    """Of methods that have no near search crops."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.near:
            raise ModelError(f"near is {self.near}, it must be 0: this architecture has search crops of one side only")


def siamese_networks(
    name: str,
    model: Model,
    parameters: SiameseParameters,
    head: Callable[[], Any],
    template: Mapping[str, tuple[int, ...]],
    outputs: Callable[[int], Mapping[str, tuple[int, ...]]],
    sized: tuple[bool, bool] = (True, True),
    told: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[Network, ...]:
    """The networks 'NAME/template', 'NAME/search' and, where there is one, 'NAME/near' of a model.

    Args:
        name: of the architecture.
        model: with the weights ``backbone.*`` and ``head.*``.
        parameters: sides of the crops.
        head: makes the head (`parts.siamese`), without weights.
        template: names and shapes, without the batch, of what is kept of a template.
        outputs: the same of what a search gives, by the rows and columns of its maps.
        sized: whether the head's ``template`` and ``search`` look at the target's size; what is not looked at cannot
            be an input of an exported network.
        told: names and shapes of what else the head says of a template, which searches do not ask for.
    """

    def module(part: str) -> Any:
        from torch import nn

        from deep_tracking_ros.single_object.parts import siamese
        from deep_tracking_ros.single_object.parts.backbone import Backbone
        from deep_tracking_ros.single_object.parts.weights import load_weights

        whole = nn.ModuleDict({"backbone": Backbone(), "head": head()})
        load_weights(whole, model)
        kind = siamese.TemplateNetwork if part == "template" else siamese.SearchNetwork
        return kind(whole["backbone"], whole["head"], sized[part != "template"]).eval()  # type: ignore[arg-type]

    kept = [batched(key, shape) for key, shape in template.items()]
    sizes = tuple((batched("sizes", (2,)),) if looks else () for looks in sized)
    learn = Network(
        f"{name}/template",
        (batched("crops", (parameters.template, parameters.template, 3), np.uint8), *sizes[0]),
        tuple(TensorSpec(key, (-1, *shape)) for key, shape in {**template, **(told or {})}.items()),
        model.digest,
        lambda: module("template"),
    )
    sides = {"search": parameters.search} | ({"near": parameters.near} if parameters.near else {})
    searches = [
        Network(
            f"{name}/{part}",
            (batched("crops", (side, side, 3), np.uint8), *sizes[1], *kept),
            tuple(TensorSpec(key, (-1, *shape)) for key, shape in outputs(side // STRIDE).items()),
            model.digest,
            lambda: module("search"),
        )
        for part, side in sides.items()
    ]
    return learn, *searches


def backbone_network(name: str, model: Model, side: int) -> Network:
    """'NAME/features': crops (N, side, side, 3) uint8 BGR to the backbone's ``late`` features, stride 16."""

    def module() -> Any:
        from torch import nn

        from deep_tracking_ros.single_object.parts import siamese
        from deep_tracking_ros.single_object.parts.backbone import Backbone
        from deep_tracking_ros.single_object.parts.weights import load_part

        whole = nn.ModuleDict({"backbone": Backbone()})
        load_part(whole, model, "backbone.")
        return siamese.LateFeatures(whole["backbone"]).eval()  # type: ignore[arg-type]

    cells = side // STRIDE
    return Network(
        f"{name}/features",
        (batched("crops", (side, side, 3), np.uint8),),
        (TensorSpec("late", (-1, CHANNELS, cells, cells)),),
        model.digest,
        module,
    )


@dataclass(eq=False)
class SiameseTarget(Target):
    """A target and what the network keeps of its template."""

    size: FloatArray  # (2,) width and height of the target in its template crop, px
    features: Mapping[str, FloatArray]  # without the batch axis
    steady: FloatArray | None = field(default=None, kw_only=True)
    """(4,) xyxy px, its box when it was last found; None where it may be lost, or was found far from where it was."""

    def is_steady(self) -> bool:
        """Whether it may be expected about where its box is: a copy that looks elsewhere may not."""
        if self.steady is None:
            return False
        (x, y, w, h), then = xyxy_to_cxcywh(self.box), xyxy_to_cxcywh(self.steady)
        return bool(max(abs(x - then[0]), abs(y - then[1])) <= STEADY * np.sqrt(w * h))

    def move(self, box: FloatArray, found: bool) -> None:
        """Take on a box (4,) xyxy px in an image, in which it was ``found`` or may have been lost."""
        (x, y, _, _), (now_x, now_y, w, h) = xyxy_to_cxcywh(self.box), xyxy_to_cxcywh(box)
        little = max(abs(x - now_x), abs(y - now_y)) <= STEADY * np.sqrt(w * h)
        self.box = box.copy()  # the caller's may be written into
        self.steady = self.box if found and little else None


AnySiamese = TypeVar("AnySiamese", bound=SiameseTarget)


@dataclass(frozen=True, eq=False)
class Offers:
    """The boxes that a head offers for each of N targets."""

    presence: FloatArray  # (N, K, C) probability of the target, at C cells of K kinds
    boxes: FloatArray  # (N, 4, K, C) xyxy, crop px
    confidence: FloatArray  # (N, K, C) what the score is calibrated from


@dataclass(frozen=True, eq=False)
class Chosen:
    """The box that was chosen for each of N targets, and where it comes from."""

    cell: NDArray[np.intp]  # (N,) number among K x C offers
    side: int  # of the search crops, px
    centres: FloatArray  # (N, 2) of the search crops, image px
    sides: FloatArray  # (N, 2) of the search crops, image px
    boxes: FloatArray  # (N, 4) xyxy image px, as offered
    scores: FloatArray  # (N,)


class TemplateTracker(SingleObjectTracker):
    """Learns a template of each target by one network, and looks for it in search crops by another one."""

    reach = 1.25
    Parameters: ClassVar[type[SiameseParameters]] = SiameseParameters
    Settings: ClassVar[type[Any]]
    """Of the card's ``tracking``."""

    def __init__(self, model: Model, make: Callable[[Network], Engine]) -> None:
        self.card = model.card
        self.parameters: SiameseParameters = model.card.settings(self.Parameters, "parameters")
        self.settings: Any = model.card.settings(self.Settings)
        self.calibration = Calibration.from_card(model.card.calibration)
        self.engines = tuple(make(network) for network in self.networks(model))
        self.lost = float(model.card.thresholds.get("lost", 0.2))
        # a GPU takes one batch in less time than two, whatever the side
        self.near = self.parameters.near if self.engines[0].device == "cpu" else 0
        self.by_name = {engine.network.name.partition("/")[2]: engine for engine in self.engines}

    @staticmethod
    @abstractmethod
    def networks(model: Model) -> tuple[Network, ...]:
        """Those of `siamese_networks`, and what else the method runs."""

    def start(self, image: NDArray[np.uint8], boxes: ArrayLike) -> list[Target]:
        height, width = image.shape[:2]
        inside = [check_box(box, width, height, self.smallest) for box in np.asarray(boxes, np.float32).reshape(-1, 4)]
        return self.learn(image, np.stack(inside)) if inside else []

    def learn(self, image: NDArray[np.uint8], boxes: FloatArray) -> list[Target]:
        """Targets of boxes (N, 4) xyxy px that were checked; N is 1 or more."""
        states = xyxy_to_cxcywh(boxes)
        crops, scale = self.template_crops(image, states)
        sizes = np.asarray(states[:, 2:] * scale, np.float32)
        features = run(self.by_name["template"], crops=crops, sizes=sizes)
        return [
            SiameseTarget(box, size, {key: value[i] for key, value in features.items()})
            for i, (box, size) in enumerate(zip(boxes, sizes, strict=True))
        ]

    def search(self, targets: Sequence[SiameseTarget], crops: NDArray[np.uint8]) -> dict[str, FloatArray]:
        """What the network for search crops (N, S, S, 3) of this side gives for each target."""
        name = "search" if crops.shape[1] == self.parameters.search else "near"
        sizes = np.stack([target.size for target in targets])
        return run(self.by_name[name], crops=crops, sizes=sizes, **kept_features(targets))

    def template_crops(self, image: NDArray[np.uint8], states: FloatArray) -> tuple[NDArray[np.uint8], FloatArray]:
        """Template crops of boxes (N, 4) cxcywh px, and their crop px per image px (N, 1)."""
        side = context_side(cxcywh_to_xyxy(states), CONTEXT)
        crops = crop(image, states[:, :2], side, self.parameters.template)
        return crops, np.asarray(self.parameters.template / side, np.float32)[:, None]

    def search_windows(self, states: FloatArray, side: int, zoom: float = 1) -> tuple[FloatArray, FloatArray]:
        """Centres and sides (N, 2) image px of search crops of ``side`` px around boxes (N, 4) cxcywh px.

        With a ``zoom`` other than 1 they show less at a larger scale than the template's.
        """
        return context_window(states, side / (self.parameters.template * zoom))


class SiameseTracker(TemplateTracker):
    """Chooses one of the boxes that its head offers; a method's tracker says which these are."""

    Settings = SelectionSettings
    settings: SelectionSettings

    def __init__(self, model: Model, make: Callable[[Network], Engine]) -> None:
        super().__init__(model, make)
        self.windows = {
            side: cosine_window(side // STRIDE + 2)[1:-1, 1:-1].reshape(1, -1) for side in self.parameters.sides
        }

    @abstractmethod
    def offers(self, outputs: Mapping[str, FloatArray], targets: Sequence[Any]) -> Offers:
        """What the search network gave for targets of this tracker, as boxes with a probability each."""

    def track(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Estimate]:
        if not targets:
            return []
        ours = [cast(SiameseTarget, target) for target in targets]
        return by_side(ours, self.parameters.search, self.near, lambda some, side: self._track(image, some, side))

    def _track(self, image: NDArray[np.uint8], targets: Sequence[SiameseTarget], side: int) -> list[Estimate]:
        last = xyxy_to_cxcywh(np.stack([target.box for target in targets]))
        centres, sides = self.search_windows(last, side)
        outputs = self.search(targets, crop(image, centres, sides, side))
        chosen = self.choose(self.offers(outputs, targets), last, centres, sides, side)
        return self.take(image, targets, chosen, outputs)

    def choose(self, offers: Offers, last: FloatArray, centres: FloatArray, sides: FloatArray, side: int) -> Chosen:
        """One offer per target: place by score and cosine window, size slowly; ``last`` is (N, 4) cxcywh image px."""
        before = last[:, 2:] * (np.float32(side) / sides)
        window = np.broadcast_to(self.windows[side], offers.presence.shape[1:])
        cell, rate = select(offers.presence, offers.boxes, before, window, self.settings)
        found = xyxy_to_cxcywh(crop_to_image(at_cell(offers.boxes, cell), centres, sides, side))
        # The place is believed at once, the size only slowly.
        found[:, 2:] = last[:, 2:] + rate[:, None] * (found[:, 2:] - last[:, 2:])
        raw = at_cell(offers.confidence, cell)
        scores = np.where(np.isfinite(raw), self.calibration(raw), np.float32(np.nan))
        return Chosen(cell, side, centres, sides, cxcywh_to_xyxy(found), np.asarray(scores, np.float32))

    def take(
        self,
        image: NDArray[np.uint8],
        targets: Sequence[SiameseTarget],
        chosen: Chosen,
        outputs: Mapping[str, FloatArray],
    ) -> list[Estimate]:
        """Move targets to the chosen boxes; ``outputs`` are the search network's, for what is more than a box."""
        boxes, scores = keep(image, targets, chosen.boxes, chosen.scores)
        return settle(targets, boxes, scores, self.lost)


def by_side(
    targets: Sequence[AnySiamese],
    search: int,
    near: int,
    track: Callable[[Sequence[AnySiamese], int], list[Estimate]],
) -> list[Estimate]:
    """Track targets in search crops of the usual side; of many, those that are steady in near ones, which cost less.

    Args:
        targets: all of an image.
        search: side of the usual search crops, px.
        near: side of the near ones, px; 0 = there are none.
        track: estimates of targets in search crops of a side, px.
    """
    steady = [target.is_steady() for target in targets] if near and len(targets) >= MANY else []
    if not any(steady):
        return track(targets, search)
    estimates: dict[int, Estimate] = {}
    for side, wanted in ((near, True), (search, False)):
        part = [i for i, one in enumerate(steady) if one is wanted]
        if part:
            estimates |= zip(part, track([targets[i] for i in part], side), strict=True)
    return [estimates[i] for i in range(len(targets))]


def settle(targets: Sequence[SiameseTarget], boxes: FloatArray, scores: FloatArray, lost: float) -> list[Estimate]:
    """Move targets to their boxes (N, 4) xyxy px with scores (N,), from `keep`, and say so.

    Those with a score below ``lost`` may be anywhere.
    """
    for target, box, score in zip(targets, boxes, scores, strict=True):
        target.move(box, bool(score >= lost))
    return [Estimate(box, float(score)) for box, score in zip(boxes, scores, strict=True)]


def context_window(states: FloatArray, ratio: float) -> tuple[FloatArray, FloatArray]:
    """Centres and sides (N, 2) image px of windows around boxes (N, 4) cxcywh px, ``ratio`` templates wide."""
    side = context_side(cxcywh_to_xyxy(states), CONTEXT) * np.float32(ratio)
    return whole_windows(states[:, :2], np.stack([side, side], 1))


def keep(
    image: NDArray[np.uint8], targets: Sequence[Target], boxes: FloatArray, scores: FloatArray, smallest: float = 4.0
) -> tuple[FloatArray, FloatArray]:
    """Boxes that can be searched for in the next image: centre on the image, no side vanishing or larger than it.

    A target whose box or score is not finite stays where it was, with score 0: it would be lost for ever.
    """
    height, width = image.shape[:2]
    states = xyxy_to_cxcywh(boxes)
    places = np.clip(states[:, :2], 0, [width - 1, height - 1])
    sizes = np.clip(states[:, 2:], smallest, np.maximum([width, height], smallest))
    kept, sure = cxcywh_to_xyxy(np.concatenate([places, sizes], 1)), scores.copy()
    bad = ~(np.isfinite(boxes).all(1) & np.isfinite(scores))
    if bad.any():
        kept[bad], sure[bad] = np.stack([target.box for target in targets])[bad], 0
    return kept, sure


def kept_features(targets: Sequence[SiameseTarget]) -> dict[str, FloatArray]:
    """Template features of all targets, stacked."""
    if len(targets) == 1:  # without a copy
        return {key: value[None] for key, value in targets[0].features.items()}
    return {key: np.stack([target.features[key] for target in targets]) for key in targets[0].features}

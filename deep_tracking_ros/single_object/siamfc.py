"""SiamFC: follow an object by cross-correlating its first picture with a search region around its last place.

L. Bertinetto, J. Valmadre, J. Henriques, A. Vedaldi, P. Torr, "Fully-Convolutional Siamese Networks for Object
Tracking", 2016; sections 2.4 and 3.1 are the tracker below. Two things differ. The paper searches scale by running
the network over the search region at three scales; here the search region is embedded once and compared with nine
kernels cut out of the exemplar at three widths times three heights, so that aspect is searched too. And the paper
takes the best of its scales and the peak of an upsampled response; here both are the mean of the response's softmax
around the peak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.geometry.boxes import check_box, cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import context_side, crop
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.parameters import REQUIRED, parameter
from deep_tracking_ros.single_object.parts.batches import batched, run, sigmoid
from deep_tracking_ros.single_object.parts.box_selection import at_cell
from deep_tracking_ros.single_object.parts.calibration import Calibration
from deep_tracking_ros.single_object.tracker import Estimate, SingleObjectTracker, Target
from deep_tracking_ros.types import FloatArray

STRIDE = 8
"""Crop pixels per cell of the response."""
CONTEXT = 0.5
"""Share of width plus height shown around the target in the exemplar crop (the paper's p)."""
MEMBERS = 9
"""Kernels of a target: three widths times three heights."""


@dataclass(frozen=True)
class SiamFCParameters:
    """What the network is made from: ``parameters`` of the card."""

    channels: int = parameter(REQUIRED, "Channels of the embedding.", minimum=1, maximum=4096)
    kernel: int = parameter(REQUIRED, "Rows and columns of a kernel, in cells.", minimum=1, maximum=128)
    exemplar: int = parameter(REQUIRED, "Side of the exemplar crop.", unit="px", minimum=STRIDE, maximum=1024)
    search: int = parameter(REQUIRED, "Side of the search crop.", unit="px", minimum=STRIDE, maximum=2048)
    step: float = parameter(REQUIRED, "Logarithm of the factor between two scales.", minimum=0.001, maximum=1)

    @classmethod
    def of(cls, model: Model) -> SiamFCParameters:
        """Raises `ModelError` for values that are none, or do not go together."""
        p = model.card.settings(cls, "parameters")
        if p.exemplar % STRIDE or p.search % STRIDE or not p.kernel * STRIDE <= p.exemplar <= p.search:
            raise ModelError(
                f"parameters in the card of model {model.card.name!r}: exemplar {p.exemplar} and search {p.search} "
                f"must be multiples of {STRIDE}, search not smaller, and a kernel of {p.kernel} cells fit into exemplar"
            )
        return p

    @property
    def cells(self) -> int:
        """Rows and columns of the response."""
        return self.search // STRIDE - self.kernel + 1


@dataclass(frozen=True)
class SiamFCTracking:
    """Run-time settings, ``tracking`` of the card, which has the values that the model was measured with."""

    window: float = parameter(0.3, "Weight of the cosine window.", minimum=0, maximum=1)
    scale_penalty: float = parameter(0.3, "Cost of a change of scale by one step, a logit.", minimum=0, maximum=100)
    scale_rate: float = parameter(1.0, "Share of a measured change of size that is taken on.", minimum=0, maximum=1)
    reach: int = parameter(1, "Cells around the peak that its place is averaged over.", minimum=0, maximum=128)
    sure: float = parameter(2.0, "Presence, a logit, below which the size stays as it is.", minimum=-100, maximum=100)


@dataclass(eq=False)
class SiamFCTarget(Target):
    """A target and its kernels."""

    shape: FloatArray  # (2,) width and height of the target in its exemplar crop, px
    kernels: FloatArray  # (9, h, w, C)


def networks(model: Model) -> tuple[Network, Network]:
    """The networks 'siamfc/exemplar' and 'siamfc/search' of a model, before a backend was chosen.

    Raises `ModelError` where the parameters in its card make no network.
    """
    p = SiamFCParameters.of(model)

    def module(part: str) -> Any:
        from deep_tracking_ros.single_object.parts.weights import load_weights
        from deep_tracking_ros.single_object.siamfc_network import SiamFC
        from deep_tracking_ros.single_object.siamfc_network import part as part_of

        network = SiamFC(p.channels, p.kernel, p.exemplar, p.step)
        load_weights(network, model)
        return part_of(network, part)  # type: ignore[arg-type]

    kernels = (MEMBERS, p.kernel, p.kernel, p.channels)
    return (
        Network(
            "siamfc/exemplar",
            (batched("crops", (p.exemplar, p.exemplar, 3), np.uint8), batched("sizes", (2,))),
            (TensorSpec("kernels", (-1, *kernels)),),
            model.digest,
            lambda: module("exemplar"),
        ),
        Network(
            "siamfc/search",
            (batched("crops", (p.search, p.search, 3), np.uint8), batched("kernels", kernels)),
            (TensorSpec("responses", (-1, MEMBERS, p.cells, p.cells)), TensorSpec("presence", (-1, p.cells, p.cells))),
            model.digest,
            lambda: module("search"),
        ),
    )


class SiamFCTracker(SingleObjectTracker):
    """Follows targets by the two networks of `networks`."""

    def __init__(self, model: Model, make: Callable[[Network], Engine]) -> None:
        self.card = model.card
        self.parameters = SiamFCParameters.of(model)
        self.settings = model.card.settings(SiamFCTracking)
        self.calibration = Calibration.from_card(model.card.calibration)
        self.engines = tuple(make(network) for network in networks(model))
        hann = np.hanning(self.parameters.cells + 2)[1:-1]
        self.window = np.outer(hann, hann).astype(np.float32)
        steps = np.array([-1.0, 0.0, 1.0])
        self.penalty = (self.settings.scale_penalty * (np.abs(steps)[:, None] + np.abs(steps)[None])).reshape(-1)

    def start(self, image: NDArray[np.uint8], boxes: ArrayLike) -> list[Target]:
        height, width = image.shape[:2]
        inside = [check_box(box, width, height, self.smallest) for box in np.asarray(boxes, np.float32).reshape(-1, 4)]
        if not inside:
            return []
        states, sides = xyxy_to_cxcywh(np.stack(inside)), context_side(np.stack(inside), CONTEXT)
        crops = crop(image, states[:, :2], sides, self.parameters.exemplar)
        shapes = np.asarray(states[:, 2:] * (self.parameters.exemplar / sides)[:, None], np.float32)
        kernels = run(self.engines[0], crops=crops, sizes=shapes)["kernels"]
        return [SiamFCTarget(*one) for one in zip(inside, shapes, kernels, strict=True)]

    def track(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Estimate]:
        if not targets:
            return []
        ours = [cast(SiamFCTarget, target) for target in targets]
        before = np.stack([target.box for target in ours])
        states = xyxy_to_cxcywh(before)
        # Each axis is scaled so that the target has its exemplar's width and height in the crop: the kernels then tell
        # what is left between box and target, also after its aspect has changed.
        zoom = np.stack([target.shape for target in ours]) / states[:, 2:]  # crop px per image px
        crops = crop(image, states[:, :2], self.parameters.search / zoom, self.parameters.search)
        kernels = np.stack([target.kernels for target in ours])
        outputs = run(self.engines[1], crops=crops, kernels=kernels)
        shift, scale, raw = self.peak(outputs["responses"], outputs["presence"])
        states[:, :2] += shift / zoom
        sure = raw >= self.settings.sure
        states[sure, 2:] *= np.exp(self.settings.scale_rate * scale[sure])
        boxes, scores = self._kept(states, image.shape[1], image.shape[0]), self.calibration(raw)
        # A box that is not finite would be searched for ever after: the target stays where it was.
        bad = ~(np.isfinite(states).all(1) & np.isfinite(raw))
        boxes[bad], scores[bad] = before[bad], 0
        for target, box in zip(ours, boxes, strict=True):
            target.box = box
        return [Estimate(box, float(score)) for box, score in zip(boxes, scores, strict=True)]

    def peak(self, responses: FloatArray, presence: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Where targets are in their search crops.

        Args:
            responses: (N, 9, H, W) logits of place and scale.
            presence: (N, H, W) logits.

        Returns:
            Their shifts from the crop's centre (N, 2) x and y in crop px, the logarithms of their changes of width and
            height (N, 2), and the presence at the peak (N,), a logit.
        """
        s, cells = self.settings, self.parameters.cells
        ranked = (1 - s.window) * sigmoid(presence) + s.window * self.window
        peak = ranked.reshape(len(ranked), -1).argmax(1)
        around = np.arange(-s.reach, s.reach + 1)
        y, x = (place[:, None] + around for place in np.divmod(peak, cells))  # (N, 2 reach + 1) each
        inside = ((y >= 0) & (y < cells))[:, :, None] & ((x >= 0) & (x < cells))[:, None, :]
        number = np.arange(len(peak))[:, None, None]
        near = responses[number, :, y.clip(0, cells - 1)[:, :, None], x.clip(0, cells - 1)[:, None, :]]
        logits = np.where(inside[..., None], near - self.penalty, -np.inf)  # (N, rows, columns, 9)
        share = np.exp(logits - logits.max((1, 2, 3), keepdims=True))
        share /= share.sum((1, 2, 3), keepdims=True)
        place = np.stack([(share.sum((1, 3)) * x).sum(1), (share.sum((2, 3)) * y).sum(1)], 1)
        members = share.sum((1, 2)).reshape(-1, 3, 3)
        steps = np.array([-self.parameters.step, 0.0, self.parameters.step])
        shift = np.asarray((place - (cells - 1) / 2) * STRIDE, np.float32)
        scale = np.asarray(np.stack([members.sum(2) @ steps, members.sum(1) @ steps], 1), np.float32)
        return shift, scale, at_cell(presence, peak)

    def _kept(self, states: FloatArray, width: int, height: int) -> FloatArray:
        """(N, 4) xyxy boxes of states, their centres on the image and no side vanishing or without bounds."""
        places = np.clip(states[:, :2], 0, [width - 1, height - 1])
        sizes = np.clip(states[:, 2:], self.smallest, [2 * width, 2 * height])
        return cxcywh_to_xyxy(np.concatenate([places, sizes], 1))

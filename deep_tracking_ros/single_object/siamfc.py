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
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.geometry.boxes import check_box, cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import context_side, crop
from deep_tracking_ros.inference.engine import Engine, Network, TensorSpec
from deep_tracking_ros.models.store import Model
from deep_tracking_ros.single_object.parts.calibration import Calibration
from deep_tracking_ros.single_object.tracker import Estimate, SingleObjectTracker, Target
from deep_tracking_ros.types import FloatArray

BATCH = (1, 4, 16)
"""Targets in one call: fewest, usual, most. More targets go in several calls."""
STRIDE = 8
"""Crop pixels per cell of the response."""
CONTEXT = 0.5
"""Share of width plus height shown around the target in the exemplar crop (the paper's p)."""
MEMBERS = 9
"""Kernels of a target: three widths times three heights."""


@dataclass(frozen=True)
class SiamFCTracking:
    """Run-time settings; the values that a model was measured with are in its card."""

    window: float = 0.3  # weight of the cosine window, 0 to 1
    scale_penalty: float = 0.3  # what a change of scale by one step costs, as a logit
    scale_rate: float = 1.0  # share of a measured change of size that is taken on
    reach: int = 1  # cells around the peak that its place is averaged over
    sure: float = 2.0  # presence, a logit, below which the size stays as it is

    @classmethod
    def from_card(cls, values: dict[str, Any]) -> SiamFCTracking:
        """Raises `ModelError` for a key that is not known."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ModelError(f"tracking of the model card has unknown keys {unknown}; SiamFC knows {known}")
        return cls(**values)


@dataclass(eq=False)
class SiamFCTarget(Target):
    """A target and its kernels."""

    shape: FloatArray  # (2,) width and height of the target in its exemplar crop, px
    kernels: FloatArray  # (9, h, w, C)


def networks(model: Model) -> tuple[Network, Network]:
    """The networks 'siamfc/exemplar' and 'siamfc/search' of a model, before a backend was chosen.

    Raises `ModelError` where its weights do not fit the architecture.
    """
    p = model.card.parameters
    try:
        channels, kernel = int(p["channels"]), int(p["kernel"])
        exemplar, search, step = int(p["exemplar"]), int(p["search"]), float(p["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"parameters of model {model.card.name!r} must hold channels, kernel, exemplar, search and "
                         f"step as numbers: {error!r}") from error  # fmt: skip
    cells = (search - exemplar) // STRIDE + exemplar // STRIDE - kernel + 1

    def batched(name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> TensorSpec:
        return TensorSpec(name, (-1, *shape), dtype, *((n, *shape) for n in BATCH))

    def module(part: str) -> Any:
        from deep_tracking_ros.single_object.parts.weights import load_weights
        from deep_tracking_ros.single_object.siamfc_network import SiamFC
        from deep_tracking_ros.single_object.siamfc_network import part as part_of

        network = SiamFC(channels, kernel, exemplar, step)
        load_weights(network, model)
        return part_of(network, part)  # type: ignore[arg-type]

    kernels = (MEMBERS, kernel, kernel, channels)
    return (
        Network(
            "siamfc/exemplar",
            (batched("crops", (exemplar, exemplar, 3), np.uint8), batched("sizes", (2,))),
            (TensorSpec("kernels", (-1, *kernels)),),
            model.digest,
            lambda: module("exemplar"),
        ),
        Network(
            "siamfc/search",
            (batched("crops", (search, search, 3), np.uint8), batched("kernels", kernels)),
            (TensorSpec("responses", (-1, MEMBERS, cells, cells)), TensorSpec("presence", (-1, cells, cells))),
            model.digest,
            lambda: module("search"),
        ),
    )


class SiamFCTracker(SingleObjectTracker):
    """Follows targets by the two networks of `networks`."""

    def __init__(self, model: Model, make: Callable[[Network], Engine]) -> None:
        self.card = model.card
        self.engines = tuple(make(network) for network in networks(model))
        self.settings = SiamFCTracking.from_card(dict(model.card.tracking))
        self.calibration = Calibration.from_card(model.card.calibration)
        self.exemplar_side = int(model.card.parameters["exemplar"])
        self.search_side = int(model.card.parameters["search"])
        self.step = float(model.card.parameters["step"])
        cells = self.engines[1].outputs[1].shape[-1]
        hann = np.hanning(cells + 2)[1:-1]
        self.window = np.outer(hann, hann).astype(np.float32)
        steps = np.array([-1.0, 0.0, 1.0])
        self.penalty = (self.settings.scale_penalty * (np.abs(steps)[:, None] + np.abs(steps)[None])).reshape(-1)

    def start(self, image: NDArray[np.uint8], boxes: ArrayLike) -> list[Target]:
        height, width = image.shape[:2]
        inside = [check_box(box, width, height, self.smallest) for box in np.asarray(boxes, np.float32).reshape(-1, 4)]
        if not inside:
            return []
        states, sides = xyxy_to_cxcywh(np.stack(inside)), context_side(np.stack(inside), CONTEXT)
        crops = crop(image, states[:, :2], sides, self.exemplar_side)
        shapes = np.asarray(states[:, 2:] * (self.exemplar_side / sides)[:, None], np.float32)
        (kernels,) = self._batches(self.engines[0], crops=crops, sizes=shapes)
        return [SiamFCTarget(*one) for one in zip(inside, shapes, kernels, strict=True)]

    def track(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Estimate]:
        if not targets:
            return []
        ours = [cast(SiamFCTarget, target) for target in targets]
        states = xyxy_to_cxcywh(np.stack([target.box for target in ours]))
        # Each axis is scaled so that the target has its exemplar's width and height in the crop: the kernels then tell
        # what is left between box and target, also after its aspect has changed.
        zoom = np.stack([target.shape for target in ours]) / states[:, 2:]  # crop px per image px
        crops = crop(image, states[:, :2], self.search_side / zoom, self.search_side)
        kernels = np.stack([target.kernels for target in ours])
        responses, presence = self._batches(self.engines[1], crops=crops, kernels=kernels)
        estimates = []
        for target, state, scaled, response, present in zip(ours, states, zoom, responses, presence, strict=True):
            shift, scale, raw = self.peak(response, present)
            state = state.copy()
            state[:2] += shift / scaled
            if raw >= self.settings.sure:
                state[2:] *= np.exp(self.settings.scale_rate * scale)
            target.box = self._kept(state, image.shape[1], image.shape[0])
            estimates.append(Estimate(target.box, float(self.calibration(raw))))
        return estimates

    def peak(self, response: FloatArray, presence: FloatArray) -> tuple[FloatArray, FloatArray, float]:
        """Where the target is in its search crop.

        Args:
            response: (9, H, W) logits of place and scale.
            presence: (H, W) logits.

        Returns:
            Its shift from the crop's centre (x, y) in crop px, the logarithm of its change of width and height, and
            the highest presence around it, a logit.
        """
        s = self.settings
        probability = 1 / (1 + np.exp(-presence))
        ranked = (1 - s.window) * probability + s.window * self.window
        row, column = np.unravel_index(int(ranked.argmax()), ranked.shape)
        top, left = max(0, int(row) - s.reach), max(0, int(column) - s.reach)
        near = response[:, top : int(row) + s.reach + 1, left : int(column) + s.reach + 1]
        near = near - self.penalty[:, None, None]
        share = np.exp(near - near.max())
        share /= share.sum()
        y = share.sum((0, 2)) @ np.arange(top, top + share.shape[1])
        x = share.sum((0, 1)) @ np.arange(left, left + share.shape[2])
        centre = (presence.shape[0] - 1) / 2
        shift = np.array([x - centre, y - centre], np.float32) * STRIDE
        members = share.sum((1, 2)).reshape(3, 3)
        steps = np.array([-self.step, 0.0, self.step])
        scale = np.array([members.sum(1) @ steps, members.sum(0) @ steps], np.float32)
        return shift, scale, float(presence[row, column])

    def _kept(self, state: FloatArray, width: int, height: int) -> FloatArray:
        """The box of a state, its centre on the image and its sides neither vanishing nor without bounds."""
        state[:2] = np.clip(state[:2], 0, [width - 1, height - 1])
        state[2:] = np.clip(state[2:], self.smallest, [2 * width, 2 * height])
        return cxcywh_to_xyxy(state)

    @staticmethod
    def _batches(engine: Engine, **arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """Run an engine over any number of targets, as few calls as its profile allows."""
        count = len(next(iter(arrays.values())))
        parts = [
            engine(**{name: array[i : i + BATCH[-1]] for name, array in arrays.items()})
            for i in range(0, count, BATCH[-1])
        ]
        return [np.concatenate([part[spec.name] for part in parts]) for spec in engine.outputs]

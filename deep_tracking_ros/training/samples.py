"""From a pair of pictures to what a network sees: crops cut by the same code as at run time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.crops import context_side, crop, image_to_crop
from deep_tracking_ros.training.photometric import PhotometricSettings, photometric
from deep_tracking_ros.training.views import Pair, Picture8, TargetView
from deep_tracking_ros.types import FloatArray


@dataclass(frozen=True)
class CutSettings:
    """How pairs are cut. Shifts are in px of the search crop."""

    template_size: int = 127
    search_size: int = 255
    context: float = 0.5
    shift: float = 64.0
    far_shift: float = 90.0  # of `far_share` of the pairs
    far_share: float = 0.2
    scale: float = 0.3  # the search crop is scaled by e^-scale to e^scale
    box_noise: float = 0.03  # of the template's box, as share of its sides: boxes drawn by hand are not exact
    photometric: PhotometricSettings = field(default_factory=PhotometricSettings)


@dataclass(frozen=True, eq=False)
class Sample:
    """What a network sees of a pair, and the truth in it."""

    template: Picture8  # (S, S, 3) BGR
    search: Picture8  # (R, R, 3) BGR
    box: FloatArray  # (4,) xyxy in px of the search crop; of another object where not positive
    positive: bool
    visibility: float
    mask: Picture8 | None  # (R, R), 255 = visible part of the object
    kind: str

    @property
    def shows(self) -> bool:
        """Whether it is an example of what presence looks like; an object of which little is seen is none."""
        return self.positive and self.visibility > 0.3


def size_in_template(pair: Pair, settings: CutSettings) -> FloatArray:
    """(2,) width and height of the target in the template crop, px, without `CutSettings.box_noise`."""
    box = pair.template.box
    return (box[2:] - box[:2]) * (settings.template_size / float(context_side(box, settings.context)))


def cut(pair: Pair, rng: np.random.Generator, settings: CutSettings | None = None, zoom: float = 1) -> Sample:
    """Cut a pair into a template centred on its box and a search crop shifted and scaled at random.

    With a ``zoom`` the search crop shows less, at so many times the template's scale; shifts are those of the crop.
    """
    s = settings or CutSettings()
    box = pair.template.box.astype(np.float64)
    size = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + rng.uniform(-1, 1, 2) * s.box_noise * size
    size = size * np.exp(rng.uniform(-1, 1, 2) * s.box_noise)
    side = float(context_side(np.concatenate([centre - size / 2, centre + size / 2]), s.context))
    template = crop(pair.template.image, centre, side, s.template_size)[0]

    box = pair.search.box.astype(np.float64)
    ratio = s.search_size / (s.template_size * zoom)
    side = float(context_side(box, s.context)) * ratio * np.exp(rng.uniform(-s.scale, s.scale))
    shift = s.far_shift if rng.random() < s.far_share else s.shift
    centre = (box[:2] + box[2:]) / 2 - rng.uniform(-shift, shift, 2) * side / s.search_size
    search = crop(pair.search.image, centre, side, s.search_size)[0]
    mask: Picture8 | None = None
    if pair.search.mask is not None:
        # outside of the picture `crop` continues with the mean, which is nothing of the object
        border = cv2.copyMakeBorder(pair.search.mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        matrix = np.array([[s.search_size / side, 0, 0], [0, s.search_size / side, 0]])
        matrix[:, 2] = (s.search_size - 1) / 2 - matrix[0, 0] * (centre + 1)
        soft = cv2.warpAffine(border, matrix, (s.search_size, s.search_size), flags=cv2.INTER_LINEAR)
        mask = np.where(soft >= 128, np.uint8(255), np.uint8(0))
    target = image_to_crop(box, centre, side, s.search_size)
    return Sample(
        photometric(template, rng, s.photometric),
        photometric(search, rng, s.photometric),
        target, pair.positive, pair.search.visibility, mask, pair.kind,
    )  # fmt: skip


def mirrored(pair: Pair) -> Pair:
    """Both pictures of a pair with left and right exchanged."""

    def other(view: TargetView) -> TargetView:
        edge = np.float32(view.image.shape[1] - 1)
        box = np.array([edge - view.box[2], view.box[1], edge - view.box[0], view.box[3]], np.float32)
        mask = None if view.mask is None else np.ascontiguousarray(view.mask[:, ::-1])
        return TargetView(np.ascontiguousarray(view.image[:, ::-1]), box, mask, view.visibility)

    return dataclasses.replace(pair, template=other(pair.template), search=other(pair.search))


def loosened(pair: Pair, rng: np.random.Generator, amount: float) -> Pair:
    """Both boxes of a pair drawn larger or smaller by the same shares: people draw loose and tight boxes."""
    if not pair.positive:
        return pair
    factor = np.exp(rng.uniform(-amount, amount, 2)).astype(np.float32)

    def resized(box: Any) -> Any:
        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * factor
        return np.concatenate([centre - half, centre + half])

    return dataclasses.replace(
        pair,
        template=dataclasses.replace(pair.template, box=resized(pair.template.box)),
        search=dataclasses.replace(pair.search, box=resized(pair.search.box)),
    )


def contact_sheet(samples: Sequence[Sample], columns: int = 4) -> NDArray[np.uint8]:
    """One picture of many samples, each template beside its search crop, for looking at by eye.

    The true box is green (red where the pair is negative); the visible part's outline is yellow.
    """
    cells = []
    for sample in samples:
        search = sample.search.copy()
        if sample.mask is not None:
            contours, _ = cv2.findContours(sample.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(search, contours, -1, (0, 230, 255), 1)
        corners = np.round(sample.box).astype(int)
        colour = (80, 220, 60) if sample.positive else (40, 40, 230)
        cv2.rectangle(search, corners[:2].tolist(), corners[2:].tolist(), colour, 2)
        text = sample.kind + (f" {sample.visibility:.2f}" if sample.visibility < 1 else "")
        cv2.putText(search, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(search, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        cell = np.full((search.shape[0] + 4, search.shape[1] + sample.template.shape[1] + 6, 3), 255, np.uint8)
        cell[2 : 2 + len(sample.template), 2 : 2 + sample.template.shape[1]] = sample.template
        cell[2:-2, 4 + sample.template.shape[1] : -2] = search
        cells.append(cell)
    while len(cells) % columns:
        cells.append(np.full_like(cells[0], 255))
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return np.vstack(rows)

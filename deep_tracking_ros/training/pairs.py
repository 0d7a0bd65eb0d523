"""Pairs of pictures of one object, drawn at random from clips, still pictures and composed scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.training.clips import ClipSet
from deep_tracking_ros.training.composites import SceneSettings, draw_pair
from deep_tracking_ros.training.pictures import MarkedObject, Picture, PictureSet, polygon_mask, rescale
from deep_tracking_ros.training.views import Pair, TargetView
from deep_tracking_ros.types import FloatArray


@dataclass(frozen=True)
class PairSettings:
    """What is drawn how often. Shares need not add up to one; kinds without a source are left out."""

    clip: float = 0.4
    still: float = 0.3
    composite: float = 0.3
    negative: float = 0.12
    max_gap: int = 40  # frames between the two pictures of a clip
    rotation: float = 12.0  # degrees; of the search picture of stills
    aspect: float = 0.12  # the search picture of stills is stretched by e^-aspect to e^aspect
    scene: SceneSettings = field(default_factory=SceneSettings)


class PairSampler:
    """Draws pairs; pair number n depends on the sources, the settings, ``seed`` and n alone.

    ``index`` is the number of the next pair: set it to go on where an earlier run stopped.
    """

    def __init__(self, pictures: PictureSet, clips: ClipSet, settings: PairSettings, seed: int) -> None:
        self.pictures, self.clips, self.settings, self.seed = pictures, clips, settings, seed
        self.index = 0
        sources: list[tuple[float, Callable[[np.random.Generator], Pair]]] = []
        if clips.clips:
            sources.append((settings.clip, self._clip))
        self._objects = [(p, o) for p, o in pictures.objects if _fits(p, o)]
        if self._objects:
            sources.append((settings.still, self._still))
        sources.append((settings.composite, self._composite))
        shares = np.array([share for share, _ in sources], np.float64)
        if shares.min() < 0 or shares.sum() <= 0:
            raise InvalidRequestError(
                f"no pair can be drawn from {len(clips.clips)} clips and {len(self._objects)} marked objects "
                f"with the shares {shares.tolist()}; give other sources or shares of which at least one is above 0"
            )
        self._thresholds = np.cumsum(shares / shares.sum())
        self._draw = [draw for _, draw in sources]

    def sample(self) -> Pair:
        """The next pair."""
        rng = np.random.default_rng([self.seed, self.index])
        self.index += 1
        kind = min(int(np.searchsorted(self._thresholds, rng.random())), len(self._draw) - 1)
        return self._draw[kind](rng)

    def _clip(self, rng: np.random.Generator) -> Pair:
        clips = self.clips.clips
        clip = clips[rng.integers(len(clips))]
        seen = clip.seen()
        first = int(rng.choice(seen))
        near = seen[(np.abs(seen - first) <= self.settings.max_gap) & (seen != first)]
        second = int(rng.choice(near)) if near.size else first
        template = self.clips.view(clip, first)
        others = [c for c in clips if c.video != clip.video]
        if others and rng.random() < self.settings.negative:
            other = others[rng.integers(len(others))]
            return Pair(template, self.clips.view(other, int(rng.choice(other.seen()))), False, "clip")
        return Pair(template, self.clips.view(clip, second), True, "clip")

    def _composite(self, rng: np.random.Generator) -> Pair:
        return draw_pair(self.pictures, rng, bool(rng.random() < self.settings.negative), self.settings.scene)

    def _still(self, rng: np.random.Generator) -> Pair:
        objects = self._objects
        picture, thing = objects[rng.integers(len(objects))]
        template = _view(self.pictures, picture, thing)
        if rng.random() < self.settings.negative:
            other, other_thing = objects[rng.integers(len(objects))]
            if other is not picture:
                return Pair(template, _view(self.pictures, other, other_thing), False, "still")
        return Pair(template, turned(template, rng, self.settings.rotation, self.settings.aspect), True, "still")


def _fits(picture: Picture, thing: MarkedObject, largest: float = 0.5) -> bool:
    """Whether the object leaves room around it: else its search crop would be mostly outside of the picture."""
    return bool(np.prod(thing.box[2:] - thing.box[:2]) <= largest**2 * picture.size[0] * picture.size[1])


def _view(pictures: PictureSet, picture: Picture, thing: MarkedObject) -> TargetView:
    image, scale = pictures.image(picture), pictures.scale(picture)
    mask = None
    if thing.polygon is not None:
        mask = polygon_mask(rescale(thing.polygon, scale), image.shape[1], image.shape[0])
    return TargetView(image, rescale(thing.box, scale), mask)


def turned(view: TargetView, rng: np.random.Generator, rotation: float, aspect: float) -> TargetView:
    """The view's picture rotated (up to ``rotation`` degrees) and stretched (up to e^``aspect``) about the object.

    Without a mask the object is taken as an ellipse that fills the box.
    """
    height, width = view.image.shape[:2]
    angle, stretch = np.deg2rad(rng.uniform(-rotation, rotation)), np.exp(rng.uniform(-aspect, aspect))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([np.sqrt(stretch), 1 / np.sqrt(stretch)])
    centre = (view.box[:2] + view.box[2:]).astype(np.float64) / 2
    matrix = np.hstack([linear, (centre - linear @ centre)[:, None]])
    image = cv2.warpAffine(view.image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    if view.mask is not None:
        mask = cv2.warpAffine(view.mask, matrix, (width, height), flags=cv2.INTER_NEAREST)
        x, y, w, h = cv2.boundingRect(mask)
        if w >= 2 and h >= 2:
            box: FloatArray = np.array([x, y, x + w, y + h], np.float32) - np.float32(0.5)
            return TargetView(np.asarray(image, np.uint8), box, np.asarray(mask, np.uint8), view.visibility)
    half = np.sqrt(((linear * ((view.box[2:] - view.box[:2]) / 2)) ** 2).sum(1))
    box = np.concatenate([centre - half, centre + half])
    limits = np.array([width, height, width, height]) - 0.5
    return TargetView(np.asarray(image, np.uint8), np.clip(box, -0.5, limits).astype(np.float32), None, view.visibility)

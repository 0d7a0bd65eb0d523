"""Made-up scenes that ask one question each of a tracker: a look-alike that crosses the target, a sudden jump.

They are for measuring, not for training: take pictures for them that no model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.training.composites import (
    SceneSettings,
    draw_background,
    draw_object,
    moving_layer,
    recoloured,
)
from deep_tracking_ros.training.pictures import MarkedObject, Picture, PictureSet
from deep_tracking_ros.training.render import render
from deep_tracking_ros.training.scene import Scene, still
from deep_tracking_ros.types import FloatArray

Likeness = Literal["twin", "recoloured"]

SETTINGS = SceneSettings(
    log_scale=0.15, rotation=0.15, perspective=0.05, deformed=0.5, bent=0.0, blended=0.0, smallest=34, largest=56
)
"""Objects that change little, so that a failure is due to the one thing that is asked."""
SPAN = 0.6
"""Share of the way between a layer's two places that its spline covers in the time from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Crossing:
    """A short video in which something that looks like the target passes it."""

    images: tuple[NDArray[np.uint8], ...]  # T of (H, W, 3) BGR
    target: FloatArray  # (T, 4) xyxy px, hidden parts included
    look_alike: FloatArray  # (T, 4)
    before: bool  # the look-alike passes in front of the target, not behind it


def draw_crossing(
    objects: PictureSet,
    backgrounds: PictureSet,
    rng: np.random.Generator,
    likeness: Likeness = "recoloured",
    frames: int = 48,
) -> Crossing:
    """A look-alike that comes from one side of the target, crosses it and leaves to the other side.

    At both ends its centre is about twice the target's size (square root of the area) away, in the middle at most 0.3
    times. Target and camera move a little.

    Args:
        objects: where the target is cut out.
        backgrounds: what it moves over.
        rng: the only source of chance.
        likeness: 'twin', the same picture, so that only motion tells them apart, or 'recoloured'.
        frames: length.
    """
    s = SETTINGS
    size = float(np.exp(rng.uniform(np.log(s.smallest), np.log(s.largest))))
    _, thing = draw_object(objects, rng, replace(s, shapes=0.0 if objects.cutouts else 1.0))
    other = thing if likeness == "twin" else recoloured(thing, rng)
    angle = rng.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    # the target goes the other way or stays
    middle = np.array([s.width, s.height]) / 2
    path = middle + np.outer([1, -1], along) * size * rng.uniform(0, 0.8) / SPAN
    apart = np.outer([-1, 1], along) * 2.0 * size / SPAN + across * size * rng.uniform(-0.3, 0.3)
    target = moving_layer(thing, "target", size, path, rng, s, 1.0)
    passing = moving_layer(other, "look-alike", size, path + apart, rng, s, 1.0)
    before = bool(rng.random() < 0.5)
    layers = (draw_background(backgrounds, rng, s), *((target, passing) if before else (passing, target)))
    scene = Scene(s.width, s.height, layers, still(middle))
    shown = [render(scene, float(t)) for t in np.linspace(0, 1, frames)]
    mine, its = (1, 2) if before else (2, 1)
    return Crossing(
        tuple(one.image for one in shown),
        np.stack([one.boxes[mine] for one in shown]),
        np.stack([one.boxes[its] for one in shown]),
        before,
    )


@dataclass(frozen=True, eq=False)
class Jump:
    """Two pictures of one still scene; from the first to the second only the target moved."""

    images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    boxes: FloatArray  # (2, 4) xyxy px


def draw_jump(
    objects: PictureSet, backgrounds: PictureSet, rng: np.random.Generator, displacement: float, margin: float = 8.0
) -> Jump:
    """A target that jumps in a random direction.

    Args:
        objects: where the target is cut out.
        backgrounds: what it moves over.
        rng: the only source of chance.
        displacement: in units of the target's size, the square root of the area of its box.
        margin: px between the target and the picture's edge at both places.

    Raises:
        DataError: so large a jump does not fit into the picture; 3 always does.
    """
    s = SETTINGS
    picture = np.array([s.width, s.height], np.float64)
    size = float(np.exp(rng.uniform(np.log(s.smallest), np.log(s.largest))))
    _, thing = draw_object(objects, rng, replace(s, shapes=0.0 if objects.cutouts else 1.0))
    middle = picture / 2
    # it is drawn in the middle of the picture first, to know its box there, then moved by whole pixels
    thing_layer = moving_layer(thing, "target", size, np.stack([middle, middle]), rng, replace(s, deformed=0.0), 0.0)
    background = draw_background(backgrounds, rng, s)
    box = render(Scene(s.width, s.height, (background, thing_layer), still(middle)), 0.0).boxes[1]
    extent = (box[2:] - box[:2]).astype(np.float64)
    low, high = extent / 2 + margin, picture - 1 - extent / 2 - margin
    for _ in range(200):  # directions, until one keeps it in the picture
        angle = rng.uniform(0, 2 * np.pi)
        step = np.round(displacement * np.sqrt(extent.prod()) * np.array([np.cos(angle), np.sin(angle)]))
        lowest, highest = np.ceil(np.maximum(low, low - step)), np.floor(np.minimum(high, high - step))
        if (lowest <= highest).all():
            first = np.round(rng.uniform(lowest, highest))
            break
    else:
        raise DataError(
            f"a jump by {displacement:g} target sizes does not fit into a picture of {s.width}x{s.height} px"
        )
    places = np.stack([first, first + step]) - np.round(middle)
    images, boxes = [], []
    for place in places:
        moved = replace(thing_layer, motion=still(thing_layer.motion.pivot, middle + place))
        shown = render(Scene(s.width, s.height, (background, moved), still(middle)), 0.0)
        images.append(shown.image)
        boxes.append(shown.boxes[1])
    return Jump((images[0], images[1]), np.stack(boxes))


def masked_pictures(frames: Iterable[tuple[str, Path, NDArray[np.bool_]]]) -> PictureSet:
    """Pictures whose objects are given by masks, such as frames of DAVIS.

    Args:
        frames: label, image file and (H, W) mask of each.
    """
    pictures = []
    for label, path, mask in frames:
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if not outlines:
            continue
        outline = max(outlines, key=cv2.contourArea)[:, 0].astype(np.float32)
        box = np.array([*(outline.min(0) - 0.5), *(outline.max(0) + 0.5)], np.float32)
        size = (mask.shape[1], mask.shape[0])
        pictures.append(Picture(path, size, (MarkedObject(box, label, outline),)))
    return PictureSet(pictures)

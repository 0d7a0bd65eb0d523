"""Boxes around a target: candidates for where it went, and examples of what it is and is not.

H. Nam, B. Han, "Learning Multi-Domain Convolutional Neural Networks for Visual Tracking" (MDNet), CVPR 2016, section
4: candidates are normal in place and size; examples are chosen by their overlap with the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from deep_tracking_ros.types import FloatArray

ROUNDS = 20
"""How often boxes are drawn anew for overlaps that are rare."""
SMALLEST = 2.0
"""Shortest side of a box, px."""


@dataclass(frozen=True)
class Spread:
    """How far drawn boxes are from the given one."""

    shift: float
    """Of the centre, in the box's mean side."""

    growth: float
    """Of the logarithm of the size."""

    aspect: float = 0.0
    """Of the logarithm of each side on its own."""

    uniform: bool = False
    """Up to these values evenly; else they are standard deviations."""


POSITIVES = Spread(0.1, 0.05, 0.03)
"""Examples of the target."""
NEGATIVES = Spread(2.0, 0.3, 0.1, uniform=True)
"""Examples of what is around it."""
REGRESSION = Spread(0.3, 0.25, 0.1, uniform=True)
"""Boxes from which box regression learns the way to the target."""


def draw(box: ArrayLike, count: int, rng: np.random.Generator, spread: Spread, width: int, height: int) -> FloatArray:
    """Boxes around one box, their centres on the image.

    Args:
        box: (4,) xyxy px.
        count: boxes to be drawn.
        rng: of the target; the same state gives the same boxes.
        spread: how far they are off.
        width: of the image, px.
        height: of the image, px.

    Returns:
        (count, 4) xyxy px, sides of `SMALLEST` px to twice the image's.
    """
    states = np.repeat(xyxy_to_cxcywh(box)[None], count, 0).astype(np.float64)
    noise = rng.uniform(-1, 1, (count, 5)) if spread.uniform else rng.standard_normal((count, 5))
    states[:, :2] += spread.shift * noise[:, :2] * states[:, 2:].mean(1, keepdims=True)
    states[:, 2:] *= np.exp(spread.growth * noise[:, 2:3] + spread.aspect * noise[:, 3:])
    states[:, :2] = states[:, :2].clip(0, [width - 1, height - 1])
    states[:, 2:] = states[:, 2:].clip(SMALLEST, [2 * width, 2 * height])
    return cxcywh_to_xyxy(states)


def draw_with_overlap(
    box: ArrayLike,
    count: int,
    rng: np.random.Generator,
    spread: Spread,
    overlap: tuple[float, float],
    width: int,
    height: int,
) -> FloatArray:
    """Boxes whose IoU with the given one is from ``overlap[0]`` to ``overlap[1]``.

    Returns:
        (n, 4) xyxy px, in the order in which they were drawn; n is ``count``, or less where such boxes are rare, and 0
        where there are none, as for low overlaps with a box that fills the image.
    """
    kept: list[FloatArray] = []
    missing = count
    for _ in range(ROUNDS):
        drawn = draw(box, 2 * count, rng, spread, width, height)
        shared = iou(drawn, np.asarray(box, np.float32))
        kept.append(drawn[(shared >= overlap[0]) & (shared <= overlap[1])][:missing])
        missing -= len(kept[-1])
        if not missing:
            break
    return np.concatenate(kept)

"""What the families of detection networks have in common: how an image goes in, and what is read from the output.

Inside the network's image, edges are counted: the first pixel covers 0 to 1, as all of these networks were trained.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.types import FloatArray

Size = tuple[int, int]
"""Rows and columns of the image that a network takes, px."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Preparation:
    """How an image becomes the input of a network: (pixel - mean) / std, channels in the order of ``colour``."""

    colour: str = "rgb"  # or 'bgr'
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of channels of 0 to 255, in the order of `colour`
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    fit: str = "centre"  # key of `parts.letterbox.FITS`
    pad: int = 114  # grey beside the image, 0 to 255


@dataclass(frozen=True, eq=False)
class Candidates:
    """Boxes of a batch that reached the score, before overlapping ones are dropped."""

    image: NDArray[np.intp]  # (K,) row of the batch
    boxes: FloatArray  # (K, 4) xyxy, px of the network's image, edges
    scores: FloatArray  # (K,)
    kinds: NDArray[np.intp]  # (K,)


class Family(ABC):
    """Networks whose output has one layout."""

    name: ClassVar[str]
    layout: ClassVar[str]  # shape of the output in words
    raw: ClassVar[bool]
    """Whether the output is that of the last layers, so that boxes are still to be computed from cells."""
    suppressed: ClassVar[bool] = False
    """Whether the network itself drops overlapping boxes."""
    preparation: ClassVar[Preparation]

    @abstractmethod
    def classes(self, shape: Shape, size: Size) -> int | None:
        """Number of classes that an output of this shape (batch first) has for an image of this size.

        None = it is not of this family; 0 = any number.
        """

    @abstractmethod
    def decode(self, output: FloatArray, size: Size, least: float) -> Candidates:
        """The boxes of an output that fits, whose score is at least ``least``."""


@lru_cache(maxsize=32)
def cells(size: Size, strides: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Columns and rows (N, 2) of all cells of an image, and their strides (N, 1): level by level, row by row."""
    places, steps = [], []
    for stride in strides:
        rows, columns = -(-size[0] // stride), -(-size[1] // stride)
        y, x = np.mgrid[:rows, :columns]
        places.append(np.stack([x.ravel(), y.ravel()], 1))
        steps.append(np.full((rows * columns, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(steps).astype(np.float32)


def count_cells(size: Size, strides: Sequence[int]) -> int:
    """Number of cells of an image."""
    return sum((-(-size[0] // stride)) * (-(-size[1] // stride)) for stride in strides)


def best_classes(scores: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """(B, N) score and (B, N) index of the best class of (B, N, C)."""
    kinds = scores.argmax(-1)
    return np.take_along_axis(scores, kinds[..., None], -1)[..., 0], kinds


def corners(centres: FloatArray, sides: FloatArray) -> FloatArray:
    """(K, 4) xyxy of centres and sides (K, 2)."""
    half = sides / 2
    return np.concatenate([centres - half, centres + half], 1)

"""The contract of every single-object tracker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.inference.engine import Engine
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.types import FloatArray, Mask


@dataclass(eq=False)
class Target:
    """What a tracker knows of one object. Trackers derive their own kind and keep everything of the object in it."""

    box: FloatArray
    """(4,) xyxy px, where the object was last seen."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Where a target is in one image."""

    box: FloatArray  # (4,) xyxy px; may reach out of the image
    score: float  # calibrated probability that IoU with the object is above 0.5
    contour: FloatArray | None = None  # (n, 2) px
    mask: Mask | None = None


class SingleObjectTracker(ABC):
    """Follows objects of any kind from a box in one image.

    The networks are shared between all targets; what is known of a target lives in its `Target`, so targets can be
    added and dropped at any time, and one tracker serves several cameras.
    """

    card: ModelCard
    engines: tuple[Engine, ...]
    """The networks in use, for diagnostics."""

    smallest: ClassVar[float] = 4.0
    """Shortest side of a box that can be started, px."""

    @abstractmethod
    def start(self, image: NDArray[np.uint8], boxes: ArrayLike) -> list[Target]:
        """Learn targets from boxes in an image.

        Args:
            image: (H, W, 3) uint8 BGR.
            boxes: (N, 4) xyxy px, each with some of its area on the image.
        """

    @abstractmethod
    def track(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Estimate]:
        """Find all targets in the next image, in one batch, and update what is known of them.

        Args:
            image: (H, W, 3) uint8 BGR.
            targets: what `start` returned; updated in place.

        Returns:
            One estimate per target, in their order.
        """

"""The contract of every single-object tracker."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.inference.engine import Engine
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.types import FloatArray, Mask

AnyTarget = TypeVar("AnyTarget", bound="Target")


@dataclass(eq=False)
class Target:
    """What a tracker knows of one object. Trackers derive their own kind and keep everything of the object in it.

    What is learnt on the way is put in the place of what was there, never written into it: copies share it.
    """

    box: FloatArray
    """(4,) xyxy px, where the object was last seen."""

    def at(self: AnyTarget, box: FloatArray) -> AnyTarget:
        """A copy that is looked for around another box (4,) xyxy px, by the same call of `track`; this one stays.

        So a lost object is searched elsewhere: any number of copies are tracked beside the others in one batch, and
        the one that finds it takes the place of the original.
        """
        other = copy.copy(self)
        other.box = np.array(box, np.float32)  # the caller's may be written into
        return other


@dataclass(frozen=True, eq=False)
class Estimate:
    """Where a target is in one image."""

    box: FloatArray  # (4,) xyxy px; may reach out of the image
    score: float  # calibrated probability that IoU with the object is above 0.5
    contour: FloatArray | None = None  # (n, 2) px
    mask: Mask | None = None

    def __post_init__(self) -> None:
        # Trackers go on from the box that they give here: whoever writes into an estimate must not lose the target.
        object.__setattr__(self, "box", np.array(self.box, np.float32))


class SingleObjectTracker(ABC):
    """Follows objects of any kind from a box in one image.

    The networks are shared between all targets; what is known of a target lives in its `Target`, so targets can be
    added and dropped at any time, and one tracker serves several cameras.
    """

    card: ModelCard
    engines: tuple[Engine, ...]
    """The networks in use, for diagnostics."""

    learns: bool = False
    """Whether targets are learnt while they are followed, in torch on the CPU."""
    smallest: float = 4.0
    """Shortest side of a box that can be started, px."""
    reach: float = 1.0
    """How far from the centre of a target's box `track` finds the object, in x and in y; in sizes sqrt(w h) of it."""

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

"""What a tracker learns from: one picture with one object in it, and pairs of such pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.types import FloatArray

Picture8 = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TargetView:
    """One picture with one object in it.

    ``image`` may be shared between views and must not be written to. ``box`` holds the whole object as far as it
    lies on the image, also where something hides it; ``visibility`` is the share of the object that is seen, parts
    outside of the image counted as hidden (1 where the source does not say).
    """

    image: Picture8  # (H, W, 3) BGR
    box: FloatArray  # (4,) xyxy px, pixel centres at integers
    mask: Picture8 | None = None  # (H, W), 255 = visible part of the object
    visibility: float = 1.0  # 0 to 1


@dataclass(frozen=True, eq=False)
class Pair:
    """A template picture and a search picture of the same object or, where not ``positive``, of another one."""

    template: TargetView
    search: TargetView
    positive: bool
    kind: str  # 'clip' | 'still' | 'composite'

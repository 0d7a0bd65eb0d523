"""The frozen first blocks of the backbone, run where samples are made: their features are kept, not computed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike

from deep_tracking_ros.single_object.parts import backbone

STRIDE = 8
"""Px from one cell of these features to the next."""


def fields_of_crops(sides: Mapping[str, int], features: bool) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
    """Shape and type of arrays that hold crops of these sides, or what `early_features` makes of them."""
    if features:
        cells = {name: side // STRIDE for name, side in sides.items()}
        return {name: ((side, side, backbone.EARLY_CHANNELS), np.float16) for name, side in cells.items()}
    return {name: ((side, side, 3), np.uint8) for name, side in sides.items()}


def early_features() -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """The frozen first blocks as a function: one crop (S, S, 3) to features (S / 8, S / 8, 40) float16."""
    network = backbone.Backbone()
    network.load_state_dict(backbone.imagenet_state())
    early = network.early.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def run(crop: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            features = early(torch.from_numpy(crop)[None])[0].permute(1, 2, 0)
        return features.numpy().astype(np.float16)  # type: ignore[no-any-return]

    return run

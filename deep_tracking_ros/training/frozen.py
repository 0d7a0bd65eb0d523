"""The frozen first blocks of the backbone, run where samples are made: their features are kept, not computed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from deep_tracking_ros.single_object.parts import backbone


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

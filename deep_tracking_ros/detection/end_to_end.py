"""Networks that choose their boxes themselves: nothing overlaps any more.

A. Wang et al., "YOLOv10: Real-Time End-to-End Object Detection", NeurIPS 2024; exports of others with NMS in the graph
look the same.
"""

from __future__ import annotations

import numpy as np

from deep_tracking_ros.detection.family import Candidates, Family, Preparation, Shape, Size
from deep_tracking_ros.types import FloatArray

MOST = 2000
"""Rows of such an output; more are a grid that is not decoded."""


class EndToEnd(Family):
    """(B, N, 6), or (N, 6) of one image: corners, score and number of the class; unused rows have score 0."""

    name = "end_to_end"
    layout = f"batch x N x 6 (or N x 6), N up to {MOST}: corners, score, class"
    raw = False
    suppressed = True
    preparation = Preparation()

    def classes(self, shape: Shape, size: Size) -> int | None:
        return 0 if len(shape) in (2, 3) and shape[-1] == 6 and shape[-2] <= MOST else None

    def decode(self, output: FloatArray, size: Size, least: float) -> Candidates:
        rows = output.reshape(-1, *output.shape[-2:])
        image, row = (rows[..., 4] >= least).nonzero()
        chosen = rows[image, row]
        return Candidates(image, chosen[:, :4], chosen[:, 4], np.rint(chosen[:, 5]).astype(np.intp))

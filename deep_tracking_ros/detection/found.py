"""What a detector found in one image, before it becomes a message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.types import Detection, Detections, FloatArray


@dataclass(frozen=True, eq=False)
class Found:
    """The detections of one image, best first."""

    boxes: FloatArray  # (N, 4) xyxy, image px
    scores: FloatArray  # (N,) 0 to 1
    kinds: NDArray[np.intp]  # (N,) index into the labels

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: NDArray[Any]) -> Found:
        return Found(self.boxes[rows], self.scores[rows], self.kinds[rows])


def nothing() -> Found:
    """No detection."""
    return Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.intp))


def as_detections(
    found: Found, label: Callable[[int], str], stamp: int, frame_id: str, embeddings: FloatArray | None = None
) -> Detections:
    """The detections of an image with the names of their classes; ``embeddings`` (N, D), a row of zeros = none."""
    looks = [None] * len(found) if embeddings is None else [row if row.any() else None for row in embeddings]
    rows = zip(found.boxes, found.scores.tolist(), found.kinds.tolist(), looks, strict=True)
    return Detections(
        stamp, frame_id, tuple(Detection(box, score, label(kind), look) for box, score, kind, look in rows)
    )

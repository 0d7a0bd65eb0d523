"""From a map of scores and boxes to one box: the post-processing shared by siamese trackers that regress boxes.

SiamRPN (Li et al., 2018), section 4.3: a cosine window against large displacement, a penalty on change of scale and
ratio against the last frame, and a size that follows slowly where the network is not sure. All functions work on a
batch of targets at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.types import FloatArray


@dataclass(frozen=True)
class SelectionSettings:
    """How the best cell is chosen; measured values stand in the model's card."""

    window_influence: float = parameter(0.42, "Share of the cosine window in the score.", minimum=0, maximum=1)
    penalty: float = parameter(0.12, "Strength of the penalty on change of scale and ratio.", minimum=0, maximum=10)
    size_rate: float = parameter(0.3, "How far the size follows the network at a score of 1.", minimum=0, maximum=1)


def cell_grid(cells: int, stride: float, origin: float) -> FloatArray:
    """(2, cells, cells) x and y of each cell in crop px; the first cell lies at ``origin``."""
    line = origin + stride * np.arange(cells, dtype=np.float32)
    return np.stack(np.meshgrid(line, line))


def decode_ltrb(distances: FloatArray, grid: FloatArray) -> FloatArray:
    """Distances to the left, top, right and bottom side as boxes.

    Args:
        distances: (B, 4, H, W) crop px.
        grid: (2, H, W) crop px, from `cell_grid`.

    Returns:
        (B, 4, H, W) xyxy, crop px.
    """
    return np.concatenate([grid - distances[:, :2], grid + distances[:, 2:]], 1)


def cosine_window(cells: int) -> FloatArray:
    """(cells, cells) Hann window, 1 in the middle."""
    line = np.hanning(cells)
    return np.outer(line, line).astype(np.float32)


def _change(ratio: FloatArray) -> FloatArray:
    return np.maximum(ratio, 1 / ratio)


def select(
    scores: FloatArray, boxes: FloatArray, sizes: FloatArray, window: FloatArray, settings: SelectionSettings
) -> tuple[NDArray[np.intp], FloatArray]:
    """Choose one cell per target.

    Args:
        scores: (B, H, W) probability that the cell is on the target.
        boxes: (B, 4, H, W) xyxy, crop px.
        sizes: (B, 2) last width and height of the target, crop px.
        window: (H, W) from `cosine_window`.
        settings: strengths of window and penalty, and how fast sizes follow.

    Returns:
        The cells (B,), counted along rows as `at_cell` takes them, and the rates (B,), 0 to 1, with which the size
        should follow the box of the cell.
    """
    w, h = np.maximum(boxes[:, 2] - boxes[:, 0], 1), np.maximum(boxes[:, 3] - boxes[:, 1], 1)
    last_w, last_h = sizes[:, 0, None, None], sizes[:, 1, None, None]

    def padded(width: FloatArray, height: FloatArray) -> FloatArray:
        pad = (width + height) / 2
        return np.asarray(np.sqrt((width + pad) * (height + pad)), np.float32)

    scale_change = _change(padded(w, h) / padded(last_w, last_h))
    ratio_change = _change((last_w / last_h) / (w / h))
    penalised = np.exp(-(scale_change * ratio_change - 1) * settings.penalty) * scores
    ranked = penalised * (1 - settings.window_influence) + window * settings.window_influence
    best = ranked.reshape(len(scores), -1).argmax(1)
    return best, at_cell(penalised, best) * np.float32(settings.size_rate)


def at_cell(maps: FloatArray, cells: NDArray[np.intp]) -> FloatArray:
    """Values (B, ...) of maps (B, ..., H, W) at one cell per batch element, counted along rows."""
    flat = maps.reshape(*maps.shape[:-2], -1)
    return np.stack([values[..., cell] for values, cell in zip(flat, cells, strict=True)])

"""Boxes made better by climbing the IoU that a network predicts for them.

B. Jiang et al., "Acquisition of Localization Confidence for Accurate Object Detection" (IoU-Net), ECCV 2018, section
3.3 and algorithm 2; M. Danelljan, G. Bhat, F. S. Khan, M. Felsberg, "ATOM: Accurate Tracking by Overlap
Maximization", CVPR 2019, section 3.3, which starts from several boxes and takes the mean of the best.

Steps are taken in coordinates that do not know the size of the box: centre in widths and heights, and logarithms of
width and height (section 3.3 of IoU-Net). A fixed step goes to and fro over the top, where IoU has an edge; so a
step that made a box worse is taken back and halved, and no box ends with a lower prediction than it began with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from deep_tracking_ros.inference.engine import Array, Engine
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

Predict = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""Boxes (B, N, 4) xyxy px to their predicted IoU (B, N) and its gradient by the box's sides (B, N, 4), 1/px."""

LARGEST_CHANGE = 0.5
"""Most that one step moves a centre, in sides, or changes the logarithm of a side."""


@dataclass(frozen=True)
class RefinementSettings:
    """How boxes climb."""

    iterations: int = parameter(5, "Steps that a box may take.", minimum=0, maximum=100)
    step: float = parameter(0.05, "Length of a step where IoU changes by 1 per side.", minimum=1e-6, maximum=10)
    smallest_change: float = parameter(0.001, "Change of IoU in one step that ends the climb.", minimum=0, maximum=1)


def refine(predict: Predict, boxes: ArrayLike, settings: RefinementSettings) -> tuple[FloatArray, FloatArray]:
    """Gradient ascent of boxes on their predicted IoU, all at once.

    Calls ``predict`` once more than there are steps, always with all boxes; ends early when none changes any more.

    Args:
        predict: IoU and gradient of boxes; from `by_autograd`, `by_engine` or any other function.
        boxes: (B, N, 4) xyxy px; N boxes for each of B targets.
        settings: number and length of the steps, and when to stop.

    Returns:
        Boxes (B, N, 4) and their predicted IoU (B, N), which is at least that of the box at the start. A box whose
        prediction is not finite stays where it is.
    """
    best = np.array(boxes, np.float32)
    value, gradient = predict(best)
    step = np.full(value.shape, settings.step, np.float32)
    active = np.isfinite(value) & np.isfinite(gradient).all(-1)
    for _ in range(settings.iterations):
        if not active.any():
            break
        moved = np.where(active[..., None], _step(best, gradient, step), best)
        new_value, new_gradient = predict(moved)
        finite = np.isfinite(new_value) & np.isfinite(new_gradient).all(-1)
        better = active & finite & (new_value > value)
        active &= ~(np.abs(new_value - value) < settings.smallest_change)
        best = np.where(better[..., None], moved, best)
        gradient = np.where(better[..., None], new_gradient, gradient)
        value = np.where(better, new_value, value)
        step = np.where(better, step, step / 2)
    return best, value


def _step(boxes: FloatArray, gradient: FloatArray, step: FloatArray) -> FloatArray:
    """Boxes one step up: the gradient by centre / side and log side, in which all boxes are of size 1."""
    states = xyxy_to_cxcywh(boxes)
    sizes = np.maximum(states[..., 2:], 1e-3)
    near, far = gradient[..., :2], gradient[..., 2:]
    limit = np.float32(LARGEST_CHANGE)
    shift = np.clip(step[..., None] * sizes * (near + far), -limit, limit)
    growth = np.clip(step[..., None] * sizes * (far - near) / 2, -limit, limit)
    return cxcywh_to_xyxy(np.concatenate([states[..., :2] + shift * sizes, sizes * np.exp(growth)], -1))


def jitter(boxes: ArrayLike, count: int, rng: np.random.Generator, shift: float, growth: float) -> FloatArray:
    """Boxes to start from: the given one and others around it (ATOM, section 3.3).

    Args:
        boxes: (B, 4) xyxy px.
        count: boxes for each, the given one included.
        rng: the same state gives the same boxes.
        shift: most that a centre moves, in sides of the box.
        growth: most that the logarithm of a side changes.

    Returns:
        (B, count, 4) xyxy px, the given boxes first; noise is uniform, and the same for each of the B boxes: what is
        drawn for a target does not depend on which others are followed with it.
    """
    states = np.repeat(xyxy_to_cxcywh(boxes)[:, None], count, 1)
    noise = rng.uniform(-1, 1, states.shape[1:]).astype(np.float32)
    noise[0] = 0
    states[..., :2] += np.float32(shift) * noise[..., :2] * states[..., 2:]
    states[..., 2:] *= np.exp(np.float32(growth) * noise[..., 2:])
    return cxcywh_to_xyxy(states)


def mean_of_best(boxes: FloatArray, values: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Mean (B, 4) of the ``count`` boxes with the highest values out of (B, N, 4), and mean (B,) of these values."""
    best = np.argsort(-values, 1, kind="stable")[:, :count]
    mean_box = np.take_along_axis(boxes, best[..., None], 1).mean(1)
    return mean_box.astype(np.float32), np.take_along_axis(values, best, 1).mean(1).astype(np.float32)


def by_autograd(iou: Callable[[Tensor], Tensor]) -> Predict:
    """The gradient of a differentiable torch function from boxes (B, N, 4) to IoU (B, N), each by its own box."""

    def predict(boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        import torch

        with torch.enable_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(boxes)).requires_grad_()
            values = iou(tensor)
            (gradient,) = torch.autograd.grad(values.sum(), tensor)
        return values.detach().numpy(), gradient.numpy()

    return predict


def by_engine(engine: Engine, **arrays: Array) -> Predict:
    """An engine with outputs ``iou`` (B, N) and ``gradient`` (B, N, 4), on ``boxes`` and the given other inputs.

    `roi_pooling.precise_roi_pool_with_slopes` gives a network the gradient.
    """

    def predict(boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        outputs = engine(boxes=boxes, **arrays)
        return outputs["iou"], outputs["gradient"]

    return predict

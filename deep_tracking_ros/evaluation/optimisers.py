"""Gauss-Newton with conjugate gradients against gradient descent, at equal processor time, on what a tracker learns.

The problem is that of ATOM (Danelljan et al., CVPR 2019, section 3.2): both layers of its classifier, from views of a
target's first image (`parts.online_classifier.first_problem`). Descent is given its best rate in hindsight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes import xyxy_to_cxcywh
from deep_tracking_ros.geometry.crops import crop
from deep_tracking_ros.single_object.parts.backbone import Backbone, imagenet_state
from deep_tracking_ros.single_object.parts.gauss_newton import (
    DescentSettings,
    GaussNewtonSettings,
    LeastSquares,
    Weights,
    gauss_newton,
    gradient_descent,
)
from deep_tracking_ros.single_object.parts.online_classifier import ClassifierSettings, first_problem
from deep_tracking_ros.single_object.parts.online_target import STRIDE, views
from deep_tracking_ros.types import FloatArray

SIDE = 256
"""Of the crop around a target, px."""
AREA = 5.0
"""What the crop shows, in target sizes along each side (ATOM, section 4: an area of 5 times the target)."""
RATES = (1e-6, 3e-6, 1e-5, 2e-5, 3e-5, 1e-4, 1e-3)
"""Rates of gradient descent that are tried; on real clips the best lies inside, and from 1e-4 on most diverge."""
DIVERGED = 1e6
"""Stands for a loss that is no number or is larger than this, as share of the first one."""
NEWTON, CONJUGATE = 6, 10
"""Steps of Gauss-Newton, as ATOM takes them in the first image."""


def problems(
    targets: Iterable[tuple[NDArray[np.uint8], FloatArray]], settings: ClassifierSettings | None = None
) -> Iterator[tuple[LeastSquares, Weights]]:
    """What ATOM's classifier learns of each target, on features that ImageNet made.

    Args:
        targets: image (H, W, 3) uint8 BGR and box (4,) xyxy px.
        settings: of the classifier.
    """
    backbone = Backbone()
    backbone.load_state_dict(imagenet_state())
    backbone.eval()
    for image, box in targets:
        state = xyxy_to_cxcywh(box)
        side = AREA * float(np.sqrt(state[2] * state[3]))
        picture = crop(image, state[None, :2], np.array([side], np.float32), SIDE)
        with torch.no_grad():
            late = backbone(torch.from_numpy(picture)).late.numpy()
        made, places = views(late)
        centres = torch.from_numpy(places)[None]
        sizes = torch.from_numpy(state[None, 2:] * np.float32(SIDE / side / STRIDE))
        yield first_problem(torch.from_numpy(made), centres, sizes, settings or ClassifierSettings())


@dataclass(frozen=True, eq=False)
class Descent:
    """How a loss fell: one entry at the beginning, one after each measured stretch of steps."""

    seconds: FloatArray  # (n,) processor time, 0 first, measuring not counted
    loss: FloatArray  # (n,)

    def at(self, seconds: FloatArray) -> FloatArray:
        """Loss reached by each time; the last one holds."""
        return np.asarray(self.loss[np.searchsorted(self.seconds, seconds, side="right") - 1], np.float32)


def newton(problem: LeastSquares, weights: Weights) -> Descent:
    """`NEWTON` steps of Gauss-Newton, each with `CONJUGATE` conjugate gradient steps."""
    seconds, losses = [0.0], [_loss(problem, weights)]
    for _ in range(NEWTON):
        begin = time.process_time()
        weights, _direction = gauss_newton(problem, weights, GaussNewtonSettings(1, CONJUGATE))
        seconds.append(seconds[-1] + time.process_time() - begin)
        losses.append(_loss(problem, weights))
    return Descent(np.array(seconds, np.float32), np.array(losses, np.float32))


def gradient(problem: LeastSquares, weights: Weights, rate: float, until: float) -> Descent:
    """Gradient descent with momentum 0.9 for so much processor time."""
    last: Weights | None = None
    seconds, losses = [0.0], [_loss(problem, weights)]
    while seconds[-1] < until:
        begin = time.process_time()
        weights, last = gradient_descent(problem, weights, DescentSettings(5, rate, 0.9), last)
        seconds.append(seconds[-1] + time.process_time() - begin)
        losses.append(_loss(problem, weights))
    return Descent(np.array(seconds, np.float32), np.array(losses, np.float32))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Losses of several problems, as shares of the loss at the beginning, at equal times."""

    seconds: FloatArray  # (n,)
    newton: FloatArray  # (P, n)
    gradient: dict[float, FloatArray]  # by rate: (P, n)

    @property
    def best(self) -> FloatArray:
        """(P, n) of gradient descent, each problem with the rate that was best for it at the end."""
        table = np.stack(list(self.gradient.values()))  # (R, P, n)
        choice = table[..., -1].argmin(0)
        return np.asarray(table[choice, np.arange(table.shape[1])], np.float32)

    @property
    def fixed(self) -> tuple[float, FloatArray]:
        """The rate whose median over all problems was best at the end, and its (P, n) losses."""
        rate = min(self.gradient, key=lambda one: float(np.median(self.gradient[one][:, -1])))
        return rate, self.gradient[rate]

    def as_json(self) -> dict[str, Any]:
        rate, fixed = self.fixed

        def quartiles(table: FloatArray) -> list[list[float]]:
            rows = np.percentile(table, (25, 50, 75), axis=0)
            return [[round(float(value), 5) for value in row] for row in rows]

        return {
            "milliseconds": [round(1000 * float(value), 2) for value in self.seconds],
            "gauss_newton": quartiles(self.newton),
            "gradient_best_rate": quartiles(self.best),
            "gradient_one_rate": quartiles(fixed),
            "rate": rate,
            "problems": len(self.newton),
        }


def compare(
    found: Iterable[tuple[LeastSquares, Weights]], points: int = 60, progress: Callable[[], None] = lambda: None
) -> Comparison:
    """Both methods on each problem, for as long as Gauss-Newton takes; ``progress`` is called after each problem.

    The losses are read at ``points`` times that are common to all problems, up to the shortest time of Gauss-Newton.
    """
    runs = []
    for problem, weights in found:
        gauss_newton(problem, weights, GaussNewtonSettings(1, 1))  # the first call is slow
        first = newton(problem, weights)
        until = float(first.seconds[-1])
        runs.append((first, {rate: gradient(problem, weights, rate, until) for rate in RATES}))
        progress()
    seconds = np.linspace(0, min(float(first.seconds[-1]) for first, _ in runs), points, dtype=np.float32)

    def table(each: Iterable[Descent]) -> FloatArray:
        rows = [np.nan_to_num(one.at(seconds) / one.loss[0], nan=DIVERGED, posinf=DIVERGED) for one in each]
        return np.asarray(np.minimum(np.stack(rows), DIVERGED), np.float32)

    return Comparison(
        seconds,
        table(first for first, _ in runs),
        {rate: table(by_rate[rate] for _, by_rate in runs) for rate in RATES},
    )


def _loss(problem: LeastSquares, weights: Weights) -> float:
    with torch.no_grad():
        return float(problem.loss(weights)[0])

"""Gauss-Newton with conjugate gradients: few, long steps for models that are learnt while the robot waits.

M. Danelljan, G. Bhat, F. S. Khan, M. Felsberg, "ATOM: Accurate Tracking by Overlap Maximization", CVPR 2019, section
3.2 and algorithm 1. The loss is a sum of squares,

    L(w) = sum_j gamma_j |r_j(w)|^2 + sum_k lambda_k |w_k|^2.

Each outer step makes the residuals linear about w; the quadratic problem that this gives, with J their Jacobian, is
solved by conjugate gradients, which need only products with J and its transpose. Both come from automatic
differentiation: J^T u is a gradient, and since it is linear in u, its gradient by u gives J p.

Several problems with weights of the same shape run at once, along the first axis of every tensor, with step lengths
of their own. `gradient_descent` takes the same problems, for comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from deep_tracking_ros.parameters import parameter

Weights = tuple[Tensor, ...]
"""What is learnt: tensors (T, ...), the first axis of all of them counts the problems."""

HALVINGS = 4
"""How often a step that raised the loss is halved before it is given up."""


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """T problems; what one problem's residuals are must depend on its own weights only."""

    residuals: Callable[[Weights], Tensor]
    """Weights to residuals (T, ...), twice differentiable by autograd; the r_j before they are weighed."""

    regularisation: tuple[float, ...]
    """lambda_k of each tensor of the weights."""

    importance: Tensor | None = None
    """gamma_j, of any shape that multiplies residuals (T, ...); None = 1."""

    def weighed(self, weights: Weights) -> Tensor:
        """(T, M) residuals times the roots of their importance."""
        r = self.residuals(weights)
        return (r if self.importance is None else r * self.importance.sqrt()).flatten(1)

    def loss(self, weights: Weights) -> Tensor:
        """(T,) what is minimised."""
        penalty = torch.stack([k * w.flatten(1).square().sum(1) for k, w in self._penalised(weights)]).sum(0)
        return self.weighed(weights).square().sum(1) + penalty

    def _penalised(self, weights: Weights) -> zip[tuple[float, Tensor]]:
        return zip(self.regularisation, weights, strict=True)

    def damp(self, product: Weights, vector: Weights) -> Weights:
        """A product with J^T J or J^T, with the part of the penalty added: lambda_k times ``vector``."""
        return tuple(a + k * v for a, (k, v) in zip(product, self._penalised(vector), strict=True))


@dataclass(frozen=True)
class GaussNewtonSettings:
    """How long to look for better weights. ATOM takes 6 x 10 steps in the first image and 1 x 5 later."""

    newton_steps: int = parameter(1, "Outer steps: how often residuals are made linear.", minimum=1, maximum=100)
    conjugate_steps: int = parameter(5, "Conjugate gradient steps in each outer step.", minimum=1, maximum=1000)
    momentum: float = parameter(0.0, "How much of the last direction is kept; 0 = start anew.", minimum=0, maximum=1)


@dataclass(frozen=True, eq=False)
class Direction:
    """Where conjugate gradients went last: what is kept from one image to the next (ATOM, section 3.4)."""

    step: Weights  # p
    gradient: Weights  # g, the negative gradient, at the last step
    squared: Tensor  # (T,) g^T g there


def gauss_newton(
    problem: LeastSquares, weights: Weights, settings: GaussNewtonSettings, last: Direction | None = None
) -> tuple[Weights, Direction]:
    """Better weights, by algorithm 1 of ATOM.

    Args:
        problem: what is minimised.
        weights: where to start.
        settings: how many steps, and how directions are chosen.
        last: direction of an earlier call, for problems that changed only a little; used where momentum is above 0.

    Returns:
        Weights whose loss is not above that at the start, for each problem, and the last direction.
    """
    loss = None
    for _ in range(settings.newton_steps):
        step, last, before = _conjugate_gradients(problem, weights, settings, last)
        weights, loss = _walk(problem, weights, step, before if loss is None else loss)
    assert last is not None  # there is at least one step
    return weights, last


def _conjugate_gradients(
    problem: LeastSquares, weights: Weights, settings: GaussNewtonSettings, last: Direction | None
) -> tuple[Weights, Direction, Tensor]:
    """The step (T, ...) to the minimum of the quadratic problem about ``weights``; the direction; the loss there."""
    with torch.enable_grad():
        at = tuple(w.detach().requires_grad_() for w in weights)
        r = problem.weighed(at)
        u = torch.zeros_like(r, requires_grad=True)
        transposed = torch.autograd.grad(r, at, u, create_graph=True)  # J^T u, whose gradient by u gives J p

    def curvature(p: Weights) -> Weights:
        (forward,) = torch.autograd.grad(transposed, u, p, retain_graph=True)
        return problem.damp(torch.autograd.grad(r, at, forward, retain_graph=True), p)

    weights = tuple(w.detach() for w in weights)
    downhill = problem.damp(torch.autograd.grad(r, at, r.detach(), retain_graph=True), weights)
    g = tuple(-part for part in downhill)
    loss = r.detach().square().sum(1)
    loss = loss + torch.stack([k * w.flatten(1).square().sum(1) for k, w in problem._penalised(weights)]).sum(0)
    step = tuple(torch.zeros_like(w) for w in weights)
    kept = last if settings.momentum > 0 else None
    for _ in range(settings.conjugate_steps):
        squared = _dot(g, g)
        p = g
        if kept is not None:
            # Polak-Ribiere: forgets a kept direction where the problem has changed
            new = squared - _dot(g, kept.gradient)
            beta = (new / kept.squared.clamp(min=torch.finfo(new.dtype).tiny)).clamp(min=0)
            p = _add(g, beta, kept.step)
        q = curvature(p)
        bend = _dot(p, q)
        # with a kept direction p is not conjugate yet: this is the step to the minimum along any p
        alpha = torch.where(bend > 0, _dot(g, p) / bend, torch.zeros_like(bend))
        step = _add(step, alpha, p)
        kept = Direction(p, g, squared)
        g = _add(g, -alpha, q)
    assert kept is not None
    momentum = settings.momentum or 1.0
    return step, Direction(kept.step, kept.gradient, kept.squared / momentum), loss


def _walk(problem: LeastSquares, weights: Weights, step: Weights, loss: Tensor) -> tuple[Weights, Tensor]:
    """Weights after the step, and their loss; a problem that got worse goes half as far, or stays where it is."""
    length = torch.ones_like(loss)
    with torch.no_grad():
        for _ in range(HALVINGS):
            there = _add(weights, length, step)
            new = problem.loss(there)
            worse = ~(new <= loss)
            if not bool(worse.any()):
                return there, new
            length = torch.where(worse, length / 2, length)
        length = torch.where(worse, torch.zeros_like(length), length)
        there = tuple(torch.where(_column(length, w) > 0, t, w) for t, w in zip(there, weights, strict=True))
        return there, torch.where(worse, loss, new)


@dataclass(frozen=True)
class DescentSettings:
    """Steps of fixed length along the gradient."""

    steps: int = parameter(50, "Steps.", minimum=1, maximum=100_000)
    rate: float = parameter(0.01, "Length of a step per length of the loss's gradient.", minimum=1e-9, maximum=100)
    momentum: float = parameter(0.9, "Share of the last step that is taken again.", minimum=0, maximum=0.999)


def gradient_descent(
    problem: LeastSquares, weights: Weights, settings: DescentSettings, last: Weights | None = None
) -> tuple[Weights, Weights]:
    """Plain gradient descent with momentum on the same problem (ATOM compares with it in section 4.1).

    Returns:
        Weights, and the last step, which the next call may go on from. Unlike with `gauss_newton` the loss may rise,
        where the rate is too high for the problem.
    """
    step = last or tuple(torch.zeros_like(w) for w in weights)
    for _ in range(settings.steps):
        with torch.enable_grad():
            at = tuple(w.detach().requires_grad_() for w in weights)
            gradient = torch.autograd.grad(problem.loss(at).sum(), at)
        step = tuple(settings.momentum * s - settings.rate * g for s, g in zip(step, gradient, strict=True))
        weights = tuple(w.detach() + s for w, s in zip(weights, step, strict=True))
    return weights, step


def _dot(a: Weights, b: Weights) -> Tensor:
    """(T,) scalar products over everything but the first axis."""
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def _column(factors: Tensor, like: Tensor) -> Tensor:
    return factors.reshape(-1, *[1] * (like.dim() - 1))


def _add(a: Weights, factors: Tensor, b: Weights) -> Weights:
    """a + factors * b, with one factor (T,) for each problem."""
    return tuple(x + _column(factors, x) * y for x, y in zip(a, b, strict=True))

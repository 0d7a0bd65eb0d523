import itertools

import pytest
import torch
from torch.nn import functional

from deep_tracking_ros.single_object.parts.gauss_newton import (
    DescentSettings,
    GaussNewtonSettings,
    LeastSquares,
    gauss_newton,
    gradient_descent,
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(problems=3, rows=12, columns=6, regularisation=0.0, importance=None, seed=0):
    """A w = b for each problem; the weights come in two parts."""
    a, b = random(problems, rows, columns, seed=seed), random(problems, rows, seed=seed + 1)

    def residuals(weights):
        return (a @ torch.cat(weights, 1).unsqueeze(2)).squeeze(2) - b

    start = random(problems, 2, seed=seed + 2), random(problems, columns - 2, seed=seed + 3)
    return LeastSquares(residuals, (regularisation,) * 2, importance), start, a, b


def test_linear_problems_are_solved_in_as_many_steps_as_they_have_unknowns():
    problem, start, a, b = linear()
    settings = GaussNewtonSettings(1, 6)
    weights, _ = gauss_newton(problem, start, settings)
    expected = torch.linalg.lstsq(a, b.unsqueeze(2)).solution.squeeze(2)
    torch.testing.assert_close(torch.cat(weights, 1), expected)
    short, _ = gauss_newton(problem, start, GaussNewtonSettings(1, 5))
    assert (torch.cat(short, 1) - expected).abs().max() > 1e-4  # and in no fewer


def test_importance_and_regularisation_are_those_of_the_formula():
    """gamma weighs rows, lambda adds rows sqrt(lambda) w = 0."""
    importance = torch.rand(3, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    problem, start, a, b = linear(regularisation=0.7, importance=importance)
    weights, _ = gauss_newton(problem, start, GaussNewtonSettings(1, 6))
    rows = torch.cat([a * importance.sqrt().unsqueeze(2), 0.7**0.5 * torch.eye(6).double().expand(3, 6, 6)], 1)
    right = torch.cat([b * importance.sqrt(), torch.zeros(3, 6).double()], 1)
    expected = torch.linalg.lstsq(rows, right.unsqueeze(2)).solution.squeeze(2)
    torch.testing.assert_close(torch.cat(weights, 1), expected)
    loss = (rows @ expected.unsqueeze(2)).squeeze(2) - right
    torch.testing.assert_close(problem.loss(weights), loss.square().sum(1))


def test_problems_do_not_know_of_each_other():
    problem, start, a, b = linear(regularisation=0.1)
    together, _ = gauss_newton(problem, start, GaussNewtonSettings(2, 3))
    for one in range(3):
        alone = LeastSquares(lambda w, i=one: (a[i] @ torch.cat(w, 1)[0] - b[i])[None], (0.1, 0.1))
        weights, _ = gauss_newton(alone, tuple(w[one : one + 1] for w in start), GaussNewtonSettings(2, 3))
        torch.testing.assert_close(torch.cat(weights, 1)[0], torch.cat(together, 1)[one])


def curved(seed=0):
    """Two layers with an exponential unit, as ATOM's classifier has, with as many parameters as it can fit."""
    x, y = random(4, 30, 5, seed=seed), random(4, 30, seed=seed + 1).tanh()

    def residuals(weights):
        return functional.elu(torch.tanh(x @ weights[0]) @ weights[1].unsqueeze(2)).squeeze(2) - y

    start = random(4, 5, 6, seed=seed + 2) / 2, random(4, 6, seed=seed + 3) / 2
    return LeastSquares(residuals, (0.01, 0.01)), start


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_falls_for_every_problem_in_every_step(seed):
    problem, weights = curved(seed)
    losses = [problem.loss(weights)]
    for _ in range(8):
        weights, _ = gauss_newton(problem, weights, GaussNewtonSettings(1, 10))
        losses.append(problem.loss(weights))
    assert all((after <= before).all() for before, after in itertools.pairwise(losses))
    assert (losses[-1] < 0.5 * losses[0]).all()


def test_it_takes_fewer_steps_than_gradient_descent():
    """The paper's reason for it, on two linear layers and features of unequal strength, as networks give them."""
    strength = torch.logspace(0, -1.5, 20).double()
    x = random(2, 200, 20) * strength
    y = functional.elu((x @ random(2, 20, 4, seed=1) @ random(2, 4, 1, seed=2)).squeeze(2))

    def residuals(weights):
        return functional.elu((x @ weights[0] @ weights[1].unsqueeze(2)).squeeze(2)) - y

    problem = LeastSquares(residuals, (1e-6, 1e-6), torch.full_like(y, 1 / 200))
    start = random(2, 20, 4, seed=3) / 5, random(2, 4, seed=4) / 5
    newton = problem.loss(gauss_newton(problem, start, GaussNewtonSettings(6, 10))[0]).sum()
    descent = {
        rate: problem.loss(gradient_descent(problem, start, DescentSettings(60, rate, 0.9))[0]).sum()
        for rate in (0.01, 0.03, 0.1, 0.3)
    }
    assert newton < min(descent.values()) / 20  # with as many steps, and the best rate
    assert min(descent.values()) < problem.loss(start).sum() / 10  # which do learn


def test_gradient_descent_is_what_its_name_says():
    problem, start, a, b = linear(problems=1)
    (first, second), step = gradient_descent(problem, start, DescentSettings(1, 0.01, 0.5))
    w = torch.cat(start, 1)
    gradient = 2 * (a.transpose(1, 2) @ (a @ w.unsqueeze(2) - b.unsqueeze(2))).squeeze(2)
    torch.testing.assert_close(torch.cat([first, second], 1), w - 0.01 * gradient)
    torch.testing.assert_close(torch.cat(step, 1), -0.01 * gradient)
    torch.testing.assert_close(
        gradient_descent(problem, start, DescentSettings(7, 0.001, 0.5))[0],
        gradient_descent(
            problem, *gradient_descent(problem, start, DescentSettings(3, 0.001, 0.5))[:1],
            DescentSettings(4, 0.001, 0.5), gradient_descent(problem, start, DescentSettings(3, 0.001, 0.5))[1],
        )[0],
    )  # fmt: skip


def test_a_kept_direction_helps_where_the_problem_stays_the_same():
    """One step at a time, with its state kept, is conjugate gradients; without, it is steepest descent."""
    problem, start, _, _ = linear(columns=6, regularisation=0.05)
    exact = problem.loss(gauss_newton(problem, start, GaussNewtonSettings(1, 6))[0])
    kept = forgotten = start
    last = None
    for _ in range(6):
        kept, last = gauss_newton(problem, kept, GaussNewtonSettings(1, 1, momentum=1.0), last)
        forgotten, _ = gauss_newton(problem, forgotten, GaussNewtonSettings(1, 1), last)
    torch.testing.assert_close(problem.loss(kept), exact)
    assert (problem.loss(forgotten) > exact * 1.001).all()


def test_steps_that_lead_up_are_taken_back():
    """The linear model of this residual is off by far: a full step from 3 goes to -7, where the loss is higher."""
    problem = LeastSquares(lambda w: torch.atan(w[0]), (0.0,))
    start = (torch.tensor([[3.0], [0.5]], dtype=torch.float64),)
    before = problem.loss(start)
    weights, _ = gauss_newton(problem, start, GaussNewtonSettings(1, 1))
    assert (problem.loss(weights) < before).all()
    assert weights[0][1].abs() < 0.1  # the other one goes all the way
    weights, _ = gauss_newton(problem, start, GaussNewtonSettings(6, 1))
    torch.testing.assert_close(weights[0], torch.zeros(2, 1).double(), atol=1e-6, rtol=0)


def test_at_the_minimum_nothing_moves():
    problem = LeastSquares(lambda w: w[0] - 2, (0.0,))
    weights, _ = gauss_newton(problem, (torch.full((2, 3), 2.0),), GaussNewtonSettings(2, 4))
    assert (weights[0] == 2).all()

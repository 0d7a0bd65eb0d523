import numpy as np
import pytest
import torch

from deep_tracking_ros.evaluation.optimisers import DIVERGED, NEWTON, RATES, Comparison, Descent, compare, problems
from deep_tracking_ros.single_object.parts.gauss_newton import LeastSquares
from deep_tracking_ros.single_object.parts.online_classifier import ClassifierSettings


def test_a_descent_holds_its_last_loss():
    one = Descent(np.array([0, 0.1, 0.3], np.float32), np.array([4, 2, 1], np.float32))
    assert one.at(np.array([0, 0.05, 0.1, 0.29, 0.3, 9], np.float32)).tolist() == [4, 4, 2, 2, 1, 1]


def test_rates_are_chosen_at_the_end():
    slow = np.array([[1, 0.5, 0.4], [1, 0.9, 0.1]], np.float32)
    fast = np.array([[1, 0.8, 0.2], [1, DIVERGED, DIVERGED]], np.float32)
    result = Comparison(np.arange(3, dtype=np.float32), slow, {0.1: slow, 1.0: fast})
    assert result.best.tolist() == [fast[0].tolist(), slow[1].tolist()]
    assert result.fixed[0] == 0.1
    assert result.as_json()["rate"] == 0.1


def test_both_methods_go_down_on_an_ill_conditioned_problem():
    torch.manual_seed(0)
    scales = torch.logspace(0, -1.5, 12)
    matrix = torch.linalg.qr(torch.randn(1, 30, 12)).Q * scales
    right = torch.randn(1, 30, 1)
    problem = LeastSquares(lambda w: torch.matmul(matrix, w[0].unsqueeze(2)) - right, (1e-6,))
    calls = []
    result = compare([(problem, (torch.zeros(1, 12),))], points=20, progress=lambda: calls.append(1))
    least = torch.linalg.lstsq(matrix, right)
    floor = float((matrix @ least.solution - right).square().sum() / right.square().sum())
    assert result.newton.shape == (1, 20)
    assert result.newton[0, 0] == 1
    assert result.newton[0, -1] == pytest.approx(floor, rel=0.01)
    assert floor * 0.999 < result.best[0, -1] < 1
    assert calls == [1]


def test_a_rate_that_is_too_high_counts_as_diverged():
    problem = LeastSquares(lambda w: 1e3 * (w[0] - 1), (0.0,))
    result = compare([(problem, (torch.zeros(1, 4),))], points=20)
    assert result.gradient[max(RATES)][0, -1] == DIVERGED
    assert np.isfinite(result.as_json()["gradient_one_rate"]).all()


def test_problems_are_those_of_the_classifier():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (120, 160, 3), np.uint8)
    ((problem, weights),) = problems([(image, np.array([60, 40, 100, 70], np.float32))], ClassifierSettings(channels=8))
    assert [tuple(w.shape) for w in weights] == [(1, 8, 112), (1, 8, 4, 4)]
    # with a kernel of zeros all scores are zero: what is left are the labels, Gaussians of height 1, and the penalty
    residuals = problem.residuals(weights)
    assert residuals.shape[:2] == (1, 6)
    assert float(residuals.detach().min()) == pytest.approx(-1, abs=0.1)
    assert NEWTON == 6

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.training.motion import Deformation, Motion, Spline, apply

UNIT = st.floats(-1, 1, allow_subnormal=False)


def motion(values) -> Motion:
    """A motion whose parameters are the values (8,), -1 to 1, scaled to what scenes use."""
    limits = np.array([50, 50, 0.5, 0.3, 1.0, 0.3, 0.002, 0.002])
    return Motion(np.array([40.0, 30.0]), Spline.constant(np.asarray(values) * limits))


def deformation(seed: int) -> Deformation:
    rng = np.random.default_rng(seed)
    waves = np.hstack([rng.uniform(-0.06, 0.06, (2, 2)), rng.uniform(-2, 2, (2, 2)), rng.uniform(0, 6, (2, 1))])
    knots = np.hstack([rng.uniform(-1, 1, (6, 2)), rng.uniform(-0.15, 0.15, (6, 1))])
    angle = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.cos(angle), np.sin(angle)])
    return Deformation(waves, np.array([40.0, 30.0]), normal, 20.0, 60.0, Spline(knots))


def test_a_spline_passes_through_a_straight_line():
    line = Spline(np.arange(8.0)[:, None], duration=5)
    np.testing.assert_allclose([line(t)[0] for t in (0, 1.25, 2.5, 5)], [1, 2.25, 3.5, 6], atol=1e-12)


def test_a_spline_stays_in_the_hull_of_its_knots_and_is_smooth():
    knots = np.random.default_rng(0).uniform(-1, 1, (7, 3))
    spline = Spline(knots)
    values = np.array([spline(t) for t in np.linspace(0, 1, 4001)])
    assert (values <= knots.max(0)).all()
    assert (values >= knots.min(0)).all()
    # twice differentiable: second differences do not jump where pieces meet
    second = np.diff(values, 2, axis=0) * 4000**2
    assert np.abs(np.diff(second, axis=0)).max() < 0.02 * np.abs(second).max()


def test_a_spline_rests_beyond_its_ends():
    spline = Spline(np.random.default_rng(0).uniform(-1, 1, (6, 2)), duration=3)
    np.testing.assert_array_equal(spline(-1), spline(0))
    np.testing.assert_array_equal(spline(9), spline(3))


def test_three_knots_are_too_few():
    with pytest.raises(InvalidRequestError, match="K >= 4"):
        Spline(np.zeros((3, 2)))


@given(arrays(np.float64, 8, elements=UNIT))
def test_the_matrix_is_the_formula_of_the_docstring(values):
    x, y, log_scale, log_aspect, turn, shear, px, py = values * [50, 50, 0.5, 0.3, 1.0, 0.3, 0.002, 0.002]
    points = np.array([[0.0, 0], [80, 0], [13, 55], [40, 30]])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    scale = np.diag(np.exp([log_scale + log_aspect / 2, log_scale - log_aspect / 2]))
    away = points - [40, 30]
    linear = away @ (rotation @ np.array([[1, shear], [0, 1]]) @ scale).T
    expected = [x, y] + linear / (1 + away @ [px, py])[:, None]
    np.testing.assert_allclose(apply(motion(values).matrix(0.3), points), expected, atol=1e-8)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_deformation_is_undone_to_a_millionth_of_a_pixel(seed, t):
    bend = deformation(seed)
    points = np.random.default_rng(seed).uniform(0, 80, (200, 2))
    np.testing.assert_allclose(bend.undo(points + bend(points, t), t), points, atol=1e-5)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_bounds_of_a_deformation_hold(seed, t):
    bend = deformation(seed)
    rng = np.random.default_rng(seed)
    points = np.array([40.0, 30.0]) + rng.uniform(-40, 40, (500, 2))
    steps = rng.normal(0, 1e-3, points.shape)
    slopes = np.linalg.norm(bend(points + steps, t) - bend(points, t), axis=1) / np.linalg.norm(steps, axis=1)
    assert slopes.max() <= bend.steepness() + 1e-6
    assert np.linalg.norm(bend(points, t), axis=1).max() <= bend.largest(t) + 1e-9


def test_a_deformation_that_could_fold_is_refused():
    waves = np.array([[0.5, 0, 4.0, 0, 0]])
    with pytest.raises(InvalidRequestError, match=r"2\.00 could fold"):
        Deformation(waves, np.zeros(2), np.array([1.0, 0]), 10, 10, Spline.constant(np.array([1.0, 0])))

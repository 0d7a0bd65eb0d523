import numpy as np
import pytest

from deep_tracking_ros.multi_object.parts import kalman
from deep_tracking_ros.multi_object.parts.kalman import Noise

BOX = np.array([[100.0], [50.0], [20.0], [20.0]])  # size 20 px
NOISE = Noise(measurement=0.1, jitter=0.0, speed=1.0, acceleration=0.5)


def test_numbers_of_one_step_agree_with_the_matrix_filter():
    belief = kalman.predict(kalman.start(BOX, NOISE), 0.5, NOISE)
    measured = BOX + np.array([[10.0], [0.0], [0.0], [0.0]])
    after = kalman.update(belief, measured, NOISE)
    # the textbook, for cx alone
    f, h = np.array([[1, 0.5], [0, 1]]), np.array([[1.0, 0.0]])
    q = 10.0**2 * np.array([[0.5**3 / 3, 0.5**2 / 2], [0.5**2 / 2, 0.5]])
    p = f @ np.diag([4.0**2, 20.0**2]) @ f.T + q
    gain = p @ h.T / (p[0, 0] + 2.0**2)
    mean = np.array([100.0, 0.0]) + gain[:, 0] * 10.0
    p = (np.eye(2) - gain @ h) @ p
    assert after[[0, 4], 0] == pytest.approx(mean)
    assert after[kalman.COVARIANCE, 0] == pytest.approx([p[0, 0], p[0, 1], p[1, 1]])


def test_two_half_steps_are_one_step():
    belief = kalman.update(kalman.predict(kalman.start(BOX, NOISE), 0.1, NOISE), BOX + 1, NOISE)
    belief[6:8] = 0  # noise is relative to the size, which must not change on the way
    once = kalman.predict(belief, 0.2, NOISE)
    twice = kalman.predict(kalman.predict(belief, 0.1, NOISE), 0.1, NOISE)
    assert twice == pytest.approx(once, rel=1e-12)


def test_covariance_stays_positive_definite_over_any_times():
    rng = np.random.default_rng(1)
    belief = kalman.start(np.repeat(BOX, 50, 1), Noise())
    for _ in range(500):
        belief = kalman.predict(belief, 10.0 ** rng.uniform(-6, 3), Noise())
        seen = np.flatnonzero(rng.random(50) < 0.7)
        belief[:, seen] = kalman.update(belief[:, seen], rng.uniform(1, 1000, (4, len(seen))), Noise())
        p, pv, v = belief[kalman.COVARIANCE]
        assert (p > 0).all()
        assert (v > 0).all()
        assert (p * v > pv**2).all()


def test_a_turned_and_grown_picture_carries_the_belief_along():
    belief = kalman.update(kalman.predict(kalman.start(BOX, NOISE), 0.1, NOISE), BOX + 1, NOISE)
    matrix = np.array([[0.0, -2.0, 7.0], [2.0, 0.0, 0.0]])  # a quarter turn, twice the size
    moved = kalman.warp(belief, matrix)
    assert moved[0:2, 0] == pytest.approx([-2 * belief[1, 0] + 7, 2 * belief[0, 0]])
    assert moved[2:4, 0] == pytest.approx(2 * belief[2:4, 0])
    assert moved[4:6, 0] == pytest.approx([-2 * belief[5, 0], 2 * belief[4, 0]])
    assert moved[kalman.COVARIANCE, 0] == pytest.approx(4 * belief[kalman.COVARIANCE, 0])

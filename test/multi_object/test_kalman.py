import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.multi_object.parts import kalman
from deep_tracking_ros.multi_object.parts.kalman import Filter, Noise

BOX = np.array([[100.0], [50.0], [20.0], [20.0]])  # size 20 px
NOISE = Noise(measurement=0.1, jitter=0.0, speed=1.0, acceleration=0.5)


def updated(filter_, belief, boxes, found=None):
    after = belief.copy()
    filter_.update(after, kalman.TARGETS @ boxes, found)
    return after


def moving(filter_, boxes):
    """Belief after two boxes, 0.1 s and 1 px apart."""
    return updated(filter_, filter_.predict(filter_.start(boxes), 0.1), boxes + 1)


def test_numbers_of_one_step_agree_with_the_matrix_filter():
    filter_ = Filter(NOISE)
    belief = filter_.predict(filter_.start(BOX), 0.5)
    after = updated(filter_, belief, BOX + np.array([[10.0], [0.0], [0.0], [0.0]]))
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
    filter_ = Filter(NOISE)
    belief = moving(filter_, BOX)
    belief[6:8] = 0  # noise is relative to the size, which must not change on the way
    once = filter_.predict(belief, 0.2)
    twice = filter_.predict(filter_.predict(belief, 0.1), 0.1)
    assert twice == pytest.approx(once, rel=1e-12)


def test_each_box_may_have_a_time_of_its_own():
    filter_, boxes = Filter(Noise()), np.repeat(BOX, 3, 1) * [1.0, 2.0, 3.0]
    belief, dt = moving(filter_, boxes), np.array([0.0, 0.04, 2.0])
    each = filter_.predict_each(belief, dt)
    for k in range(3):
        assert each[:, [k]] == pytest.approx(filter_.predict(belief[:, [k]], dt[k]), rel=1e-12)


def test_what_is_not_found_stays_as_it_was_predicted():
    filter_ = Filter(NOISE)
    belief = filter_.predict(filter_.start(np.repeat(BOX, 3, 1)), 0.1)
    boxes = np.repeat(BOX, 3, 1) + 5
    after = updated(filter_, belief, boxes, np.array([True, False, True]))
    assert (after[:, 1] == belief[:, 1]).all()
    assert after[:, [0, 2]] == pytest.approx(updated(filter_, belief, boxes)[:, [0, 2]])


def test_no_box_becomes_smaller_than_a_pixel():
    filter_ = Filter(Noise())
    belief = moving(filter_, BOX)
    belief[6:8] = -1000
    later = filter_.predict(belief, 1.0)
    assert later[2:4, 0].tolist() == [1, 1]
    assert later[kalman.AREA, 0] == 1


@given(st.integers(0, 2**32 - 1), st.floats(-6, 0), st.floats(0, 3))
@settings(max_examples=20, deadline=None)
def test_covariance_stays_positive_definite_over_any_times(seed, shortest, longest):
    rng, filter_ = np.random.default_rng(seed), Filter(Noise())
    belief = filter_.start(np.repeat(BOX, 50, 1))
    for _ in range(200):
        belief = filter_.predict(belief, float(10.0 ** rng.uniform(shortest, longest)))
        filter_.update(belief, kalman.TARGETS @ rng.uniform(1, 1000, (4, 50)), rng.random(50) < 0.7)
        p, pv, v = belief[kalman.COVARIANCE]
        assert (p > 0).all()
        assert (v > 0).all()
        assert (p * v > pv**2).all()


def test_a_turned_and_grown_picture_carries_the_belief_along():
    belief = moving(Filter(NOISE), BOX)
    matrix = np.array([[0.0, -2.0, 7.0], [2.0, 0.0, 0.0]])  # a quarter turn, twice the size
    moved = kalman.warp(belief, matrix)
    assert moved[0:2, 0] == pytest.approx([-2 * belief[1, 0] + 7, 2 * belief[0, 0]])
    assert moved[2:4, 0] == pytest.approx(2 * belief[2:4, 0])
    assert moved[4:6, 0] == pytest.approx([-2 * belief[5, 0], 2 * belief[4, 0]])
    assert moved[kalman.COVARIANCE, 0] == pytest.approx(4 * belief[kalman.COVARIANCE, 0])
    assert moved[kalman.AREA, 0] == pytest.approx(4 * belief[kalman.AREA, 0])

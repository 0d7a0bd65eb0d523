import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.geometry.boxes import cxcywh_to_xyxy
from deep_tracking_ros.pipelines import motion

number = st.floats(-5000, 5000, width=32)
side = st.floats(0.015625, 4000, width=32)
score = st.floats(0, 1)
elapsed = st.floats(0, 100)
boxes = st.tuples(number, number, side, side).map(lambda b: cxcywh_to_xyxy(np.float32(b)))


def is_positive_definite(covariance):
    assert np.isfinite(covariance).all()
    np.testing.assert_array_equal(covariance, covariance.swapaxes(-1, -2))
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    assert (scale > 0).all()
    correlation = covariance[..., 0, 1] / (scale[..., 0] * scale[..., 1])
    return (np.abs(correlation) < 1).all()


def kalman(mean, covariance, z, r, dt, q):
    """One step of the textbook's filter for a single axis, in matrices."""
    f, h = np.array([[1, dt], [0, 1]]), np.array([[1.0, 0.0]])
    noise = q * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
    mean, covariance = f @ mean, f @ covariance @ f.T + noise
    s = h @ covariance @ h.T + r
    k = covariance @ h.T / s
    return mean + (k * (z - h @ mean)).ravel(), (np.eye(2) - k @ h) @ covariance


def test_equals_the_textbooks_filter():
    first, second = np.float32([10, 20, 50, 60]), np.float32([14, 19, 56, 58])
    a = motion.start(first, 0.8)
    b = motion.update(motion.predict(a, 0.1), second, 0.6)
    size = np.sqrt(40 * 40)
    r = (np.sqrt(42 * 39) * 0.03**0.6 * 0.5**0.4) ** 2
    z = np.array([35, 38.5, 42, 39])
    for axis in range(4):
        q = (motion.ACCELERATION[axis] * size) ** 2
        mean, covariance = kalman(a.mean[axis], a.covariance[axis], z[axis], r, 0.1, q)
        np.testing.assert_allclose(b.mean[axis], mean, rtol=1e-9)
        np.testing.assert_allclose(b.covariance[axis], covariance, rtol=1e-9)


def test_finds_the_velocity_with_uneven_time_steps():
    rng = np.random.default_rng(0)
    time, belief = 0.0, motion.start(np.float32([0, 0, 40, 40]))
    for dt in rng.uniform(0.02, 0.2, 100):
        time += dt
        belief = motion.update(motion.predict(belief, dt), np.float32([0, 0, 40, 40]) + np.float32(time) * 30, 1.0)
    np.testing.assert_allclose(belief.velocity, [30, 30, 0, 0], atol=0.5)
    ahead = motion.predict(belief, 1.0)
    np.testing.assert_allclose(ahead.position[:2], 20 + (time + 1) * 30, atol=1)


def test_all_targets_at_once_equal_one_after_the_other():
    one, two = np.float32([0, 0, 40, 40]), np.float32([100, 50, 110, 90])
    beliefs = [motion.start(one), motion.start(two, 0.5)]
    together = motion.update(motion.predict(motion.stack(beliefs), [0.1, 0.3]), [one + 3, two - 2], [0.9, 0.4])
    for i, (box, dt, sure) in enumerate(((one + 3, 0.1, 0.9), (two - 2, 0.3, 0.4))):
        alone = motion.update(motion.predict(beliefs[i], dt), box, sure)
        np.testing.assert_array_equal(together[i].mean, alone.mean)
        np.testing.assert_array_equal(together[i].covariance, alone.covariance)
    assert together.position_covariance.shape == (2, 4, 4)


def test_a_low_score_moves_the_belief_less():
    belief = motion.predict(motion.start(np.float32([0, 0, 40, 40])), 0.05)
    sure, unsure = (motion.update(belief, np.float32([10, 0, 50, 40]), p) for p in (1.0, 0.1))
    assert 20 < unsure.position[0] < sure.position[0] <= 30
    assert (np.diagonal(unsure.position_covariance) > np.diagonal(sure.position_covariance)).all()


def test_the_error_of_measured_boxes_is_what_their_covariance_says_now_and_later():
    """4000 objects of 40 px that move along x as the filter believes, measured with the noise that it assumes."""
    rng, number, dt, sure, ahead = np.random.default_rng(0), 4000, 0.04, 0.7, 0.1
    q = (motion.ACCELERATION[0] * 40) ** 2
    noise_of = lambda t: np.linalg.cholesky(q * np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]]))  # noqa: E731
    deviation = 40 * motion.SURE**sure * motion.UNSURE ** (1 - sure)
    x, v = np.zeros(number), rng.normal(0, motion.SPEED[0] * 40, number)

    def boxes_at(centres):
        return cxcywh_to_xyxy(np.stack([centres, 0 * centres, 0 * centres + 40, 0 * centres + 40], -1))

    def move(x, v, t):
        dx, dv = noise_of(t) @ rng.normal(size=(2, number))
        return x + t * v + dx, v + dv

    belief = motion.start(boxes_at(x + rng.normal(0, deviation, number)), np.full(number, sure))
    for _ in range(20):
        x, v = move(x, v, dt)
        seen = boxes_at(x + rng.normal(0, deviation, number))
        belief = motion.update(motion.predict(belief, dt), seen, np.full(number, sure))
    raw = motion.measured(belief, seen, np.full(number, sure))
    np.testing.assert_allclose(cxcywh_to_xyxy(raw.position), seen, atol=1e-4)
    later, (x_later, _) = motion.predict(raw, ahead), move(x, v, ahead)
    for which, truth in ((raw, x), (later, x_later)):
        ratio = np.mean((which.mean[:, 0, 0] - truth) ** 2 / which.covariance[:, 0, 0, 0])
        assert ratio == pytest.approx(1, abs=0.08)
        assert is_positive_definite(which.covariance)
    too_sure = np.mean((raw.mean[:, 0, 0] - x) ** 2 / belief.covariance[:, 0, 0, 0])
    assert too_sure > 1.3  # the filtered position is better known than the measured one


@given(boxes, score, st.lists(st.tuples(elapsed, boxes, score), max_size=30))
def test_the_covariance_stays_positive_definite(first, sure, later):
    belief = motion.start(first, sure)
    assert is_positive_definite(belief.covariance)
    for dt, box, p in later:
        belief = motion.predict(belief, dt)
        assert is_positive_definite(belief.covariance)
        belief = motion.update(belief, box, p)
        assert is_positive_definite(belief.covariance)
        assert np.isfinite(belief.mean).all()


@given(boxes, st.floats(0.001, 10), st.floats(1.001, 3))
def test_a_longer_prediction_is_less_sure(first, dt, longer):
    belief = motion.start(first)
    near, far = motion.predict(belief, dt), motion.predict(belief, dt * longer)
    for later, earlier in ((near, belief), (far, near)):
        assert (later.covariance[:, 0, 0] > earlier.covariance[:, 0, 0]).all()
    assert (far.position[2:] >= motion.SMALLEST).all()

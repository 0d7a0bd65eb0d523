import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.multi_object.motion_3d import (
    BOX,
    MODELS,
    STATE,
    YAW,
    Belief,
    ConstantTurn,
    ConstantVelocity,
    Noise,
)
from deep_tracking_ros.multi_object.noise_3d import NOISE, OTHER

CAR = np.array([NOISE["car"].row])
BOXES = np.array([[3.0, 4, 1, 4, 2, 1.5, 0.3]])


def followed(model, path, dt, noise=CAR):
    belief = model.start(path[:1], noise)
    for box in path[1:]:
        belief = model.predict(belief, noise, dt)
        belief, _ = model.update(belief, box[None], noise)
    return belief


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dt", [0.05, 0.1, 0.5])
def test_velocity_of_an_object_going_straight_in_real_time(name, dt):
    heading, speed = 0.3, 12.0
    t = np.arange(60) * dt
    path = np.tile(BOXES[0], (60, 1))
    path[:, 0] += t * speed * np.cos(heading)
    path[:, 1] += t * speed * np.sin(heading)
    velocity = MODELS[name].velocity(followed(MODELS[name], path, dt))
    np.testing.assert_allclose(velocity.mean[0, :3], [speed * np.cos(heading), speed * np.sin(heading), 0], atol=0.1)
    assert (np.linalg.eigvalsh(velocity.covariance[0]) > 0).all()


def test_constant_turn_learns_the_rate_and_predicts_the_arc():
    radius, rate, dt = 20.0, 0.5, 0.1
    angle = np.arange(80) * dt * rate
    path = np.tile(BOXES[0], (81, 1))
    angle = np.append(angle, angle[-1] + 1.0 * rate)  # the last one a second later
    path[:, 0], path[:, 1], path[:, YAW] = radius * np.sin(angle), -radius * np.cos(angle), angle
    model = ConstantTurn()
    belief = followed(model, path[:-1], dt)
    assert model.velocity(belief).mean[0, 3] == pytest.approx(rate, abs=0.02)
    later = model.predict(belief, CAR, 1.0)
    assert np.hypot(*(later.mean[0, :2] - path[-1, :2])) < 0.3
    straight = ConstantVelocity()
    off = straight.predict(followed(straight, path[:-1], dt), CAR, 1.0).mean[0, :2] - path[-1, :2]
    assert np.hypot(*off) > 1.5


@pytest.mark.parametrize("turn", [0.0, 1e-6, 2e-3, 0.4, -3.0])
def test_jacobian_of_constant_turn(turn):
    """The covariance without noise is J P J^T; its columns are what small changes do to the mean."""
    model, nothing = ConstantTurn(), np.zeros_like(CAR)
    mean = np.array([[1, 2, 0.5, 4, 2, 1.5, 0.7, 9, turn, 0.2]])
    for k in range(STATE):
        direction = np.zeros(STATE)
        direction[k] = 1
        predicted = model.predict(Belief(mean, np.outer(direction, direction)[None]), nothing, 0.3)
        ends = [
            model.predict(Belief(mean + s * direction, np.eye(STATE)[None]), nothing, 0.3).mean[0]
            for s in (1e-5, -1e-5)
        ]
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(predicted.covariance[0], np.outer(slope, slope), atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_two_half_steps_are_one_step(name):
    model = MODELS[name]
    belief = model.start(BOXES, CAR)
    belief.mean[:, BOX:] = [5, 0.0, 0.1]  # constant turn: going straight
    half = model.predict(model.predict(belief, CAR, 0.1), CAR, 0.1)
    whole = model.predict(belief, CAR, 0.2)
    np.testing.assert_allclose(half.mean, whole.mean, atol=1e-9)
    if name == "constant_velocity":
        positions = np.ix_([0], [0, 1, 2, 7, 8, 9], [0, 1, 2, 7, 8, 9])
        np.testing.assert_allclose(half.covariance[positions], whole.covariance[positions], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_turned_round_it_goes_on_as_before(name):
    model = MODELS[name]
    belief = model.start(BOXES, CAR)
    belief.mean[:, BOX:] = [5, 0.2, 0.1]
    before = model.velocity(belief).mean
    model.turn_round(belief, np.array([True]))
    np.testing.assert_allclose(model.velocity(belief).mean, before, atol=1e-9)
    assert abs(belief.mean[0, YAW] - BOXES[0, YAW]) == pytest.approx(np.pi)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(sorted(MODELS)),
    st.lists(st.tuples(st.floats(1e-3, 5), st.booleans(), st.floats(-50, 50), st.floats(-4, 4)), max_size=30),
)
def test_covariance_stays_positive_definite(name, steps):
    model, noise = MODELS[name], np.array([NOISE[OTHER].row])
    belief = model.start(BOXES, noise)
    for dt, seen, place, yaw in steps:
        belief = model.predict(belief, noise, dt)
        if seen:
            box = np.add(BOXES, [[place, -place, 0, 0, 0, 0, yaw]])
            belief, _ = model.update(belief, box, noise)
        np.testing.assert_allclose(belief.covariance, belief.covariance.transpose(0, 2, 1), rtol=1e-9, atol=1e-9)
        np.linalg.cholesky(belief.covariance)  # raises where it is not
        np.linalg.cholesky(model.velocity(belief).covariance + 1e-9 * np.eye(4))


@pytest.mark.parametrize("speed", [0.0, 8.0])
def test_the_doubt_of_a_velocity_is_that_of_samples(speed):
    """Also of an object at rest, whose speed may be anything along a heading that is not known well."""
    rng, yaw = np.random.default_rng(0), 0.6
    mean, variance = np.zeros(10), np.full(10, 0.01)
    mean[[6, 7]], variance[[6, 7]] = [yaw, speed], [0.15**2, 10.0**2]
    got = MODELS["constant_turn"].velocity(Belief(mean[None], np.diag(variance)[None]))
    samples = rng.normal(mean, np.sqrt(variance), (200_000, 10))
    velocities = samples[:, 7, None] * np.stack([np.cos(samples[:, 6]), np.sin(samples[:, 6])], 1)
    np.testing.assert_allclose(got.covariance[0, :2, :2], np.cov(velocities.T), rtol=0.06, atol=0.06)


@pytest.mark.parametrize("name", MODELS)
def test_sizes_and_headings_are_less_sure_later(name):
    model, dt = MODELS[name], 0.4
    before = model.start(BOXES, CAR)
    grown = np.diagonal(model.predict(before, CAR, dt).covariance[0] - before.covariance[0])
    car = NOISE["car"]
    np.testing.assert_allclose(grown[3:6], (car.size / 10) ** 2 * dt, atol=1e-12)
    # a heading turns by what is known of turn rates at first sight, in constant_turn with what pushes them beside
    pushed = car.turn_acceleration**2 * dt**3 / 3 if name == "constant_turn" else 0.0
    assert grown[YAW] == pytest.approx((car.turn * dt) ** 2 + pushed)


@pytest.mark.parametrize("name", MODELS)
def test_turned_round_the_doubt_is_as_before(name):
    model, path = MODELS[name], np.tile(BOXES[0], (10, 1))
    path[:, 0] += 0.8 * np.arange(10)
    belief = followed(model, path, 0.1)
    turned = Belief(belief.mean.copy(), belief.covariance.copy())
    model.turn_round(turned, np.array([True]))
    one, other = (model.predict(b, CAR, 0.5) for b in (belief, turned))
    np.testing.assert_allclose(other.mean[0, :3], one.mean[0, :3], atol=1e-9)
    np.testing.assert_allclose(other.covariance[0, :BOX, :BOX], one.covariance[0, :BOX, :BOX], atol=1e-9)
    np.testing.assert_allclose(model.velocity(other).covariance, model.velocity(one).covariance, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_a_sure_detection_of_what_could_be_anywhere_leaves_its_own_doubt(name):
    """Variances of 1e6 and 1e-10 m^2 meet, more digits than there are: the short form of the update ends below 0."""
    noise = np.array([Noise(1e-5, 1e-5, 1e-5, speed=1000, acceleration=1, turn=1, turn_acceleration=1, climb=1).row])
    model = MODELS[name]
    belief = model.predict(model.start(BOXES, noise), noise, 1.0)
    seen, _ = model.update(belief, belief.mean[:, :BOX], noise)
    np.linalg.cholesky(seen.covariance)
    np.testing.assert_allclose(np.diagonal(seen.covariance[0])[:2], 1e-10, rtol=1e-3)

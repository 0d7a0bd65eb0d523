import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.geometry.boxes import iou, xyxy_to_cxcywh
from deep_tracking_ros.single_object.parts.box_regression import BoxRegression
from deep_tracking_ros.single_object.parts.sampling import (
    NEGATIVES,
    POSITIVES,
    REGRESSION,
    Spread,
    draw,
    draw_with_overlap,
)

BOX = np.array([300.0, 200, 380, 240], np.float32)
boxes = st.builds(
    lambda x, y, w, h: np.array([x, y, x + w, y + h], np.float32),
    st.floats(0, 500), st.floats(0, 400), st.floats(8, 120), st.floats(8, 70),
)  # fmt: skip


def rng(seed=0):
    return np.random.default_rng(seed)


@settings(max_examples=30, deadline=None)
@given(boxes, st.integers(0, 1000))
def test_boxes_have_the_overlap_that_was_asked_for(box, seed):
    positives = draw_with_overlap(box, 50, rng(seed), POSITIVES, (0.7, 1), 640, 480)
    negatives = draw_with_overlap(box, 100, rng(seed), NEGATIVES, (0, 0.3), 640, 480)
    assert len(positives) == 50
    assert len(negatives) == 100
    assert (iou(positives, box) >= 0.7).all()
    assert (iou(negatives, box) <= 0.3).all()
    centres = xyxy_to_cxcywh(np.concatenate([positives, negatives]))[:, :2]
    assert (centres >= -0.01).all()
    assert (centres <= [639.01, 479.01]).all()


def test_draws_follow_their_spread_and_seed():
    # MDNet, where a target may be in the next image: diag(0.09 r^2, 0.09 r^2, 0.25) of place and scale 1.05^s
    spread = Spread(0.3, 0.5 * float(np.log(1.05)))
    drawn = draw(BOX, 20_000, rng(1), spread, 640, 480)
    np.testing.assert_array_equal(drawn, draw(BOX, 20_000, rng(1), spread, 640, 480))
    states = xyxy_to_cxcywh(drawn)
    shift = (states[:, :2] - [340, 220]) / 60  # of the mean side
    growth = np.log(states[:, 2:] / [80, 40])
    np.testing.assert_allclose(shift.std(0), 0.3, rtol=0.05)
    np.testing.assert_allclose(growth.std(0), 0.5 * np.log(1.05), rtol=0.05)
    np.testing.assert_allclose(growth[:, 0], growth[:, 1], atol=1e-4)  # no aspect of its own
    even = xyxy_to_cxcywh(draw(BOX, 20_000, rng(1), Spread(0.5, 0, 0.2, uniform=True), 640, 480))
    assert np.abs((even[:, :2] - [340, 220]) / 60).max() <= 0.5 + 1e-4
    aspect = np.log(even[:, 2:] / [80, 40])
    assert 0.19 < np.abs(aspect).max() <= 0.2 + 1e-4
    assert abs(np.corrcoef(aspect.T)[0, 1]) < 0.05


def test_a_box_that_fills_the_image_has_no_background():
    assert draw_with_overlap([0, 0, 639, 479], 20, rng(), Spread(0.01, 0.01), (0, 0.3), 640, 480).shape == (0, 4)


def described(drawn, seed=0, noise=0.02):
    """Features that say where the box is relative to the target, mixed up, with noise and things that say nothing."""
    states, target = xyxy_to_cxcywh(drawn).astype(np.float64), xyxy_to_cxcywh(BOX).astype(np.float64)
    told = np.concatenate([(target[:2] - states[:, :2]) / states[:, 2:], np.log(target[2:] / states[:, 2:])], 1)
    mix = rng(7).standard_normal((4, 60))
    random = rng(seed)
    other = random.standard_normal((len(drawn), 20))
    return np.concatenate([told @ mix + noise * random.standard_normal((len(drawn), 60)), other], 1) + 3


@pytest.mark.parametrize("count", [40, 500])
def test_regression_learns_the_way_to_the_target(count):
    """Also with fewer boxes than features."""
    taught = draw_with_overlap(BOX, count, rng(2), REGRESSION, (0.6, 1), 640, 480)
    regression = BoxRegression.fit(described(taught, 3), taught, BOX, 1.0)
    unseen = draw_with_overlap(BOX, 200, rng(4), REGRESSION, (0.6, 1), 640, 480)
    better = regression(described(unseen, 5), unseen)
    assert iou(unseen, BOX).mean() < 0.8
    assert iou(better, BOX).mean() > 0.93


def test_ridge_regression_is_its_formula():
    """The weights minimise |X W - Y|^2 + lambda |W|^2: there the gradient is 0."""
    for count in (30, 300):
        taught = draw_with_overlap(BOX, count, rng(2), REGRESSION, (0.6, 1), 640, 480)
        x = described(taught, 3)
        regression = BoxRegression.fit(x, taught, BOX, 10.0)
        states, target = xyxy_to_cxcywh(taught), xyxy_to_cxcywh(BOX)
        y = np.concatenate([(target[:2] - states[:, :2]) / states[:, 2:], np.log(target[2:] / states[:, 2:])], 1)
        x, y = x - x.mean(0), y - y.mean(0)
        gradient = x.T @ (x @ regression.weights - y) + 10 * regression.weights
        assert np.abs(gradient).max() < 1e-3 * np.abs(x.T @ y).max()


def test_regression_does_not_go_far():
    taught = draw_with_overlap(BOX, 200, rng(2), REGRESSION, (0.6, 1), 640, 480)
    regression = BoxRegression.fit(described(taught), taught, BOX, 1.0)
    (moved,) = regression(described(BOX[None]) * 1e6, BOX[None])
    size = xyxy_to_cxcywh(moved)[2:] / xyxy_to_cxcywh(BOX)[2:]
    assert np.isfinite(moved).all()
    assert (size <= np.exp(0.5) + 1e-4).all()
    assert (size >= np.exp(-0.5) - 1e-4).all()

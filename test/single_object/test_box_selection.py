import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.single_object.parts.box_selection import (
    SelectionSettings,
    at_cell,
    cell_grid,
    cosine_window,
    decode_ltrb,
    select,
)


def card(tracking):
    return ModelCard("m", "single_object", "siamese_box", tracking=tracking)


def boxes_of(widths, heights):
    """(1, 4, H, W) boxes around the origin."""
    w, h = np.asarray(widths, np.float32), np.asarray(heights, np.float32)
    return np.stack([-w / 2, -h / 2, w / 2, h / 2])[None]


def test_cells_lie_at_the_origin_and_one_stride_apart():
    grid = cell_grid(3, stride=16, origin=-1)
    assert grid[0].tolist() == [[-1, 15, 31]] * 3  # x goes with columns
    assert grid[1].tolist() == [[-1] * 3, [15] * 3, [31] * 3]


def test_distances_become_corners():
    distances = np.zeros((1, 4, 2, 2), np.float32)
    distances[0, :, 1, 0] = [1, 2, 3, 4]
    boxes = decode_ltrb(distances, cell_grid(2, 16, 8))
    assert boxes[0, :, 1, 0].tolist() == [8 - 1, 24 - 2, 8 + 3, 24 + 4]


def test_window_is_hann():
    window = cosine_window(5)
    assert window[2, 2] == 1
    assert window[2].tolist() == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-6)
    assert window[1, 1] == pytest.approx(0.25)


def test_values_at_a_cell():
    maps = np.arange(2 * 3 * 2 * 4).reshape(2, 3, 2, 4)
    found = at_cell(maps, np.array([5, 0]))
    assert found.tolist() == [maps[0, :, 1, 1].tolist(), maps[1, :, 0, 0].tolist()]
    assert at_cell(maps[:, 0], np.array([5, 0])).tolist() == [maps[0, 0, 1, 1], maps[1, 0, 0, 0]]


def test_penalty_by_hand():
    # Last size 20 x 20. Cell 0 is as large: penalty 1. Cell 1 is 40 x 40: padded side 80 / 40, change of scale 2, of
    # ratio 1. Cell 2 is 40 x 10: pad 25, sqrt(65 * 35) = 47.70, change of scale 47.70 / 40, of ratio 4.
    boxes = boxes_of([[20, 40, 40]], [[20, 40, 10]])
    last, window = np.array([[20, 20]], np.float32), np.zeros((1, 3), np.float32)
    expected = [1, np.exp(-0.1 * (2 - 1)), np.exp(-0.1 * (np.sqrt(65 * 35) / 40 * 4 - 1))]
    for cell, penalty in enumerate(expected):
        scores = np.full((1, 1, 3), 1e-3, np.float32)
        scores[0, 0, cell] = 0.8
        best, rate = select(scores, boxes, last, window, SelectionSettings(0, penalty=0.1, size_rate=0.5))
        assert best.tolist() == [cell]
        assert rate[0] == pytest.approx(0.5 * 0.8 * penalty, rel=1e-5)


def test_change_of_size_costs_the_same_both_ways():
    last, window = np.array([[20, 30]], np.float32), np.zeros((1, 2), np.float32)
    _, larger = select(
        np.ones((1, 1, 1), np.float32), boxes_of([[40]], [[60]]), last, window[:, :1], SelectionSettings()
    )
    _, smaller = select(
        np.ones((1, 1, 1), np.float32), boxes_of([[10]], [[15]]), last, window[:, :1], SelectionSettings()
    )
    assert larger == pytest.approx(smaller, rel=1e-5)


@pytest.mark.parametrize(("influence", "cell"), [(0.0, 0), (0.2, 0), (0.8, 12), (1.0, 12)])
def test_window_holds_against_a_far_look_alike(influence, cell):
    scores = np.zeros((1, 5, 5), np.float32)
    scores[0, 0, 0], scores[0, 2, 2] = 0.9, 0.5  # rank at influence f: 0.9 (1 - f) and 0.5 (1 - f) + f
    boxes = boxes_of(np.full((5, 5), 20), np.full((5, 5), 20))
    best, _ = select(scores, boxes, np.array([[20, 20]]), cosine_window(5), SelectionSettings(influence))
    assert best.tolist() == [cell]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_any_maps_give_a_cell_and_a_rate_within_bounds(seed, batch, influence, penalty, size_rate):
    rng = np.random.default_rng(seed)
    scores = rng.random((batch, 6, 6)).astype(np.float32)
    # sides may be negative, huge or nothing
    boxes = (rng.normal(size=(batch, 4, 6, 6)) * 10 ** rng.uniform(-3, 4)).astype(np.float32)
    last = rng.uniform(1, 300, (batch, 2)).astype(np.float32)
    chosen = SelectionSettings(influence, penalty, size_rate)
    best, rate = select(scores, boxes, last, cosine_window(6), chosen)
    assert best.shape == rate.shape == (batch,)
    assert ((best >= 0) & (best < 36)).all()
    assert ((rate >= 0) & (rate <= at_cell(scores, best) * size_rate + 1e-6)).all()
    alone = [select(scores[[i]], boxes[[i]], last[[i]], cosine_window(6), chosen)[0][0] for i in range(batch)]
    assert best.tolist() == alone


def test_settings_of_a_card_are_checked():
    assert card({"penalty": 0.2}).settings(SelectionSettings).penalty == 0.2
    for wrong, words in (
        ({"penalties": 0.2}, "card of model 'm': .*'penalties'.*known are penalty, size_rate, window_influence"),
        ({"penalty": "a"}, "penalty is 'a', it must be a float"),
        ({"size_rate": 7.0}, "size_rate is 7.0, it must be from 0 to 1"),
        ({"window_influence": float("nan")}, "window_influence is nan"),
    ):
        with pytest.raises(ModelError, match=words):
            card(wrong).settings(SelectionSettings)

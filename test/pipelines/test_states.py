import math

import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidRequestError, ModelError
from deep_tracking_ros.pipelines.states import Sighting, Thresholds
from deep_tracking_ros.types import State

LIMITS = Thresholds(tracked=0.6, lost=0.2)
HERE, THERE = np.float32([0, 0, 10, 10]), np.float32([50, 50, 60, 60])


def test_hysteresis_between_the_thresholds():
    scores = [0.9, 0.6, 0.5, 0.2, 0.19, 0.5, 0.59, 0.6, 0.5]
    state, seen = State.TRACKED, []
    for score in scores:
        state = LIMITS.next(state, score)
        seen.append(state.name[0])
    assert "".join(seen) == "TTUULLLTU"


def test_a_score_that_is_no_number_finds_nothing():
    assert LIMITS.next(State.TRACKED, math.nan) is State.LOST


def test_the_cards_thresholds_hold_unless_a_parameter_says_otherwise():
    card = {"tracked": 0.7, "lost": 0.3}
    assert Thresholds.choose(card) == Thresholds(0.7, 0.3)
    assert Thresholds.choose(card, tracked=0.9) == Thresholds(0.9, 0.3)
    assert Thresholds.choose(card, lost=0.0) == Thresholds(0.7, 0.0)
    assert Thresholds.choose({}, tracked=0.5, lost=0.1) == Thresholds(0.5, 0.1)


def test_thresholds_that_make_no_sense_are_refused():
    with pytest.raises(ModelError, match=r"no threshold 'lost'.*lost_threshold"):
        Thresholds.choose({"tracked": 0.7})
    with pytest.raises(InvalidRequestError, match=r"lost_threshold is 0\.8, above tracked_threshold 0\.7"):
        Thresholds.choose({"tracked": 0.7, "lost": 0.3}, lost=0.8)


def test_a_sighting_remembers_where_and_how_long_ago():
    sighting = Sighting(State.TRACKED, HERE)
    sighting = sighting.next(LIMITS, THERE, 0.4, 100)
    assert (sighting.state, sighting.unseen) == (State.UNCERTAIN, 100)
    sighting = sighting.next(LIMITS, THERE, 0.1, 50)
    assert (sighting.state, sighting.unseen) == (State.LOST, 150)
    np.testing.assert_array_equal(sighting.box, HERE)
    sighting = sighting.next(LIMITS, THERE, 0.7, 50)
    assert (sighting.state, sighting.unseen) == (State.TRACKED, 0)
    np.testing.assert_array_equal(sighting.box, THERE)

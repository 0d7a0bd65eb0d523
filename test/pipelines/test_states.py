import math
from dataclasses import replace

import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidRequestError, ModelError
from deep_tracking_ros.pipelines.states import Sighting, Thresholds
from deep_tracking_ros.types import State

LIMITS = Thresholds(tracked=0.6, lost=0.2)
HERE, THERE = np.float32([0, 0, 10, 10]), np.float32([50, 50, 60, 60])


def states(scores, limits=LIMITS, usual=0.0, start=State.TRACKED):
    """First letters of the states after each score."""
    sighting, seen = Sighting(start, HERE, usual=usual), []
    for score in scores:
        sighting = sighting.next(limits, HERE, score, 40)
        seen.append(sighting.state.name[0])
    return "".join(seen)


def test_hysteresis_between_the_thresholds():
    assert states([0.9, 0.6, 0.5, 0.2, 0.19, 0.5, 0.59, 0.6, 0.6, 0.6, 0.5]) == "TTUULLLLLTU"


def test_a_score_that_is_no_number_finds_nothing():
    assert states([math.nan, 0.5, math.nan]) == "LLL"


def test_a_lost_target_has_to_score_well_in_as_many_frames_as_it_was_lost_for():
    for away, needed in ((1, 1), (2, 2), (3, 3), (30, 3)):
        assert states([0.1] * away + [0.9] * needed) == "L" * (away + needed - 1) + "T"
    assert states([0.1] * 9 + [0.9, 0.9, 0.3] * 3) == "L" * 18  # not in a row
    assert states([0.1] * 9 + [0.9], replace(LIMITS, confirm=1)) == "L" * 9 + "T"


def test_a_lost_target_has_to_score_about_as_well_as_it_used_to():
    for usual, needed in ((0.0, 0.6), (0.7, 0.7), (0.99, 0.8)):  # never less than tracked, nor above half way to 1
        assert LIMITS.found(usual) == pytest.approx(needed)
        assert states([0.1] + [needed - 0.01] * 9, usual=usual) == "L" * 10
        assert states([0.1, needed], usual=usual) == "LT"


def test_the_usual_score_is_learnt_while_tracked_only():
    sighting = Sighting(State.TRACKED, HERE)
    for _ in range(100):
        sighting = sighting.next(LIMITS, HERE, 0.7, 40)
    assert sighting.usual == pytest.approx(0.7, abs=1e-3)
    for score in (0.5, 0.1, 0.1):
        sighting = sighting.next(LIMITS, HERE, score, 40)
    assert sighting.usual == pytest.approx(0.7, abs=1e-3)


def test_a_target_that_never_scores_well_again_is_lost():
    assert states([0.5] * 12) == "U" * 9 + "LLL"
    assert states([0.5] * 9 + [0.6] + [0.5] * 9) == "U" * 9 + "T" + "U" * 9
    assert states([0.5] * 3, replace(LIMITS, doubt=2)) == "ULL"


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
    sighting = sighting.next(LIMITS, THERE, 0.9, 50)
    assert (sighting.state, sighting.unseen) == (State.TRACKED, 0)
    np.testing.assert_array_equal(sighting.box, THERE)

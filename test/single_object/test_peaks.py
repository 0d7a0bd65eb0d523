import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.single_object.parts.peaks import PeakSettings, Verdict, localise

SIZE = (3.0, 3.0)


def bumps(*peaks, size=17, sigma=0.8):
    y, x = np.indices((size, size))
    return sum(height * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / sigma**2) for cx, cy, height in peaks)


def judge(*peaks, expected=(8, 8), size=SIZE):
    return localise([bumps(*peaks)], [expected], [size], PeakSettings())[0]


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 15), st.floats(1, 15), st.floats(0.45, 1.5))
def test_peaks_are_found_between_cells(x, y, height):
    found = judge((x, y, height))
    assert found.verdict is Verdict.FOUND
    np.testing.assert_allclose(found.place, (x, y), atol=0.1)
    assert height * 0.6 < found.score <= height + 1e-6


def test_peaks_on_the_border_stay_there():
    found = judge((0, 16.4, 1.0))
    assert found.place == (0, 16)


@pytest.mark.parametrize(
    ("peaks", "verdict", "place"),
    [
        ([(8, 8, 0.2)], Verdict.NOT_FOUND, (8, 8)),
        ([(8, 8, 1.0), (14, 8, 0.4)], Verdict.FOUND, (8, 8)),
        ([(8, 8, 1.0), (14, 8, 0.6)], Verdict.HARD_NEGATIVE, (8, 8)),
        ([(8, 8, 0.4), (14, 8, 0.22)], Verdict.FOUND, (8, 8)),  # nothing that could be a target
        ([(8, 8, 1.0), (14, 8, 0.9)], Verdict.HARD_NEGATIVE, (8, 8)),
        ([(14, 8, 1.0), (8, 8, 0.9)], Verdict.HARD_NEGATIVE, (8, 8)),  # the lower one is where the target was
        ([(3, 8, 1.0), (13, 8, 0.9)], Verdict.UNCERTAIN, (3, 8)),  # both are far
        ([(14, 8, 1.0), (8, 8, 0.7)], Verdict.HARD_NEGATIVE, (14, 8)),  # a clear winner may be far
        ([(8, 8, 1.0), (10, 8, 0.95)], Verdict.FOUND, (8, 8)),  # one peak
    ],
)
def test_verdicts(peaks, verdict, place):
    found = judge(*peaks)
    assert found.verdict is verdict
    np.testing.assert_allclose(found.place, place, atol=0.4)


def test_targets_are_judged_on_their_own_with_their_size():
    two_peaks = bumps((8, 8, 1.0), (12, 8, 0.7))
    small, large = localise([two_peaks] * 2, [(8, 8)] * 2, [(2, 2), (6, 6)], PeakSettings())
    assert small.verdict is Verdict.HARD_NEGATIVE
    assert large.verdict is Verdict.FOUND
    assert small.second == (12, 8)
    assert small.second_score == pytest.approx(0.7, abs=0.01)


def test_scores_that_are_not_finite_are_no_target():
    assert localise([np.full((5, 5), np.nan)], [(2, 2)], [SIZE], PeakSettings())[0].verdict is Verdict.NOT_FOUND

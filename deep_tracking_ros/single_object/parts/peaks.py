"""Where a target is in a map of scores, and what to think of it: found, with a distractor, in doubt, not there.

M. Danelljan et al., "ATOM: Accurate Tracking by Overlap Maximization", CVPR 2019, section 3.4: a distractor that
scores high is learnt as a hard negative at once, and a target whose score is low counts as lost. Which of two high
peaks is the target says how far they are from where it was. Numpy only: it runs where no torch is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.types import FloatArray


class Verdict(Enum):
    """What a map of scores says of its target."""

    FOUND = "found"
    HARD_NEGATIVE = "hard negative"
    """Found, and something else scores high too."""
    UNCERTAIN = "uncertain"
    """Two peaks, and no telling which is the target."""
    NOT_FOUND = "not found"


@dataclass(frozen=True)
class PeakSettings:
    """When a peak is a target and when a distractor."""

    not_found: float = parameter(0.25, "Score below which the target is not there.", minimum=-1, maximum=1)
    distractor: float = parameter(0.8, "Share of the best score above which a peak may be it.", minimum=0, maximum=1)
    hard_negative: float = parameter(0.5, "Share above which a peak is learnt as a distractor.", minimum=0, maximum=1)
    neighbourhood: float = parameter(2.2, "Sides of the area of one peak, in the target's.", minimum=0, maximum=20)
    displacement: float = parameter(
        0.8, "Way in one image beyond which a target is doubted, in its mean side.", minimum=0, maximum=20
    )


@dataclass(frozen=True)
class Localisation:
    """One target's place."""

    place: tuple[float, float]  # x, y of the peak, cells of the scores, between cells too
    score: float
    verdict: Verdict
    second: tuple[float, float]  # x, y of the highest peak elsewhere, cells
    second_score: float


def localise(scores: ArrayLike, expected: ArrayLike, sizes: ArrayLike, settings: PeakSettings) -> list[Localisation]:
    """Judge the peaks of each target's scores.

    Args:
        scores: (T, H, W), about 1 on the target and 0 elsewhere.
        expected: (T, 2) x, y where the targets should be, cells of the scores; mostly the middle.
        sizes: (T, 2) width and height of the targets, cells.
        settings: thresholds.
    """
    maps, places, sides = (np.asarray(array, np.float32) for array in (scores, expected, sizes))
    return [_judge(*one, settings) for one in zip(maps, places, sides, strict=True)]


def _judge(scores: FloatArray, expected: FloatArray, size: FloatArray, settings: PeakSettings) -> Localisation:
    s = settings
    best = _peak(scores)
    y, x = np.indices(scores.shape)
    half = np.maximum(s.neighbourhood * size / 2, 1)
    near = (np.abs(x - best[0]) <= half[0]) & (np.abs(y - best[1]) <= half[1])
    elsewhere = np.where(near, np.float32(-np.inf), scores)
    second = _peak(elsewhere)
    first_score, second_score = float(scores[best[1], best[0]]), float(elsewhere[second[1], second[0]])
    verdict = Verdict.FOUND
    if not first_score >= s.not_found:
        verdict = Verdict.NOT_FOUND
    elif second_score > s.distractor * first_score:
        reach = s.displacement * np.sqrt(size.prod())
        far = [np.hypot(*(np.array(peak) - expected)) > reach for peak in (best, second)]
        if far[0] == far[1]:
            verdict = Verdict.UNCERTAIN
        else:
            verdict = Verdict.HARD_NEGATIVE
            if far[0]:
                best, second, first_score, second_score = second, best, second_score, first_score
    elif second_score > s.hard_negative * first_score and second_score > s.not_found:
        verdict = Verdict.HARD_NEGATIVE
    place = (best[0] + _between(scores[best[1], :], best[0]), best[1] + _between(scores[:, best[0]], best[1]))
    return Localisation(place, first_score, verdict, (float(second[0]), float(second[1])), second_score)


def _peak(scores: FloatArray) -> tuple[int, int]:
    y, x = np.unravel_index(int(scores.argmax()), scores.shape)
    return int(x), int(y)


def _between(line: FloatArray, top: int) -> float:
    """How far the top of the parabola through the highest of a line and its neighbours is off, cells; -0.5 to 0.5."""
    if not 0 < top < len(line) - 1:
        return 0.0
    before, at, after = (float(value) for value in line[top - 1 : top + 2])
    bend = before - 2 * at + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0

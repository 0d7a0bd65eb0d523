from pathlib import Path

import numpy as np
import pytest

from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.evaluation.displacement import (
    EDGES,
    curve,
    displacement,
    real_trials,
    run_trials,
    succeeds,
    without_window,
)
from deep_tracking_ros.evaluation.sot import Competitor
from deep_tracking_ros.models.store import find_model
from deep_tracking_ros.single_object.parts.box_selection import SelectionSettings
from deep_tracking_ros.single_object.siamfc import SiamFCTracking


def test_displacement_is_in_sizes_of_the_first_box():
    # 8 x 2: size 4; moved by (6, 8) = 10 px
    assert displacement([0, 0, 8, 2], [6, 8, 14, 10]) == pytest.approx(2.5)


def moving(name, step, count=40):
    """A box of 10 px that moves so far each frame."""
    x = np.arange(count)[:, None] * step
    boxes = (np.array([[0, 0, 10, 10]]) + x * np.array([[1, 0, 1, 0]])).astype(np.float32)
    return Sequence(name, tuple(Path(str(t)) for t in range(count)), boxes)


def test_trials_fill_each_interval_by_turns_of_the_sequences():
    slow, fast = moving("slow", 0.5), moving("fast", 3.0)
    slow.boxes[5] = np.nan
    trials = real_trials([slow, fast], 6)
    counts = np.histogram([trial.displacement for trial in trials], EDGES)[0]
    assert counts.tolist() == [6, 6, 6, 6, 6, 6, 6]
    for trial in trials:
        before, after = trial.boxes
        assert displacement(before, after) == pytest.approx(trial.displacement)
        assert 5 not in (trial.first, trial.second) or trial.sequence is fast
    # 0.25 to 0.5 is reached by both (8 frames of 0.05, one of 0.3)
    both = [trial.sequence.name for trial in trials if 0.25 <= trial.displacement < 0.5]
    assert both == ["slow", "fast"] * 3
    again = [(trial.first, trial.second) for trial in real_trials([slow, fast], 6)]
    assert again == [(trial.first, trial.second) for trial in trials]
    assert again != [(trial.first, trial.second) for trial in real_trials([slow, fast], 6, seed=1)]


def still(name="still"):
    return Competitor(name, "none", "fp32", lambda image, box: lambda image: (box, 1.0))


def test_a_step_succeeds_with_more_than_half_of_overlap(monkeypatch):
    images = (np.zeros((4, 4, 3), np.uint8),) * 2
    boxes = np.array([[0, 0, 10, 10], [3, 0, 13, 10]], np.float32)
    assert succeeds(still(), images, boxes)  # 7 / 13
    boxes[1, [0, 2]] += 0.5
    assert not succeeds(still(), images, boxes)  # 6.5 / 13.5
    monkeypatch.setattr(Sequence, "image", lambda self, index: images[0])
    calls = []
    trials = real_trials([moving("toy", 1.0)], 3)
    results = run_trials(still(), trials, lambda: calls.append(1))
    assert results == [trial.displacement < 1 / 3 for trial in trials]
    assert len(calls) == len(trials)


def test_curves_are_means_of_intervals():
    result = curve([0.1, 0.2, 1.6, 1.8, 1.9], [1, 0, 0, 0, 1])
    assert result.displacement == pytest.approx([0.15, 1.7666667])
    assert result.success == pytest.approx([0.5, 1 / 3])
    assert result.as_json()["trials"] == [2, 3]
    assert result.as_json()["error"] == pytest.approx([np.sqrt(0.125), np.sqrt(2 / 27)], abs=1e-4)


def test_windows_are_switched_off_by_whatever_name():
    model = find_model("siamfc")
    off = without_window(model, SiamFCTracking())
    assert off.card.tracking == {**model.card.tracking, "window": 0.0}
    assert off.card.settings(SiamFCTracking).window == 0
    assert without_window(model, SelectionSettings()).card.tracking["window_influence"] == 0
    assert without_window(off, off.card.settings(SiamFCTracking)) is None  # it is off already
    assert without_window(model, None) is None
    assert model.card.tracking["window"] > 0

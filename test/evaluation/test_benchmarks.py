import json
import time
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.common import SHOT, clip, interleave, markdown, median, ratio, time_steps, write


def test_the_shot_has_no_cut_in_it():
    frames = clip()
    assert len(frames) == len(SHOT) == 26
    assert frames[0].shape == (272, 640, 3)
    differences = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(frames)]
    assert max(differences) < 10  # cuts of this clip change a pixel by more than 25 on average


def test_steps_are_timed_by_processor_and_by_clock():
    def work():
        while time.process_time() < end:
            pass

    end = time.process_time() + 0.01
    cpu, wall = time_steps([work])
    assert 5 < cpu < wall + 5
    cpu, wall = time_steps([lambda: time.sleep(0.01)] * 3)
    assert wall >= 10
    assert cpu < 5


def test_runs_go_by_turns_and_ratios_are_taken_within_a_turn():
    order = []

    def subject(name, values):
        values = iter(values)
        return lambda: (order.append(name), {"cpu_ms": next(values)})[1]

    # the machine is ten times slower in the second turn; the quotient stays
    runs = {"slow": subject("slow", [4.0, 40.0, 4.2]), "fast": subject("fast", [2.0, 20.0, 2.0])}
    results = interleave(runs, 3, lambda name: None)
    assert order == ["slow", "fast"] * 3
    assert median(results["slow"], "cpu_ms") == 4.2
    assert ratio(results["slow"], results["fast"], "cpu_ms") == pytest.approx(2.0)


def test_results_name_the_machine(tmp_path):
    write("toy", "A toy", {"answer": 42}, markdown(("a", "b"), [("1", "2")]), tmp_path)
    values = json.loads((tmp_path / "toy.json").read_text())
    assert values["answer"] == 42
    assert values["machine"]["cores"] >= 1
    assert values["machine"]["versions"]["numpy"] == np.__version__
    text = (tmp_path / "toy.md").read_text()
    assert "| a | b |\n|---|---|\n| 1 | 2 |" in text
    assert values["machine"]["processor"] in text

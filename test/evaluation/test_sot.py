from dataclasses import replace
from itertools import count

import cv2
import numpy as np
import pytest

from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.evaluation.sot import (
    Competitor,
    Run,
    competitor,
    evaluate,
    measure,
    run,
    summarise,
)
from deep_tracking_ros.geometry.boxes import check_box

NAN = [np.nan] * 4


def made_run(truth, boxes, scores=None, size=None):
    n = len(truth)
    scores = np.full(n, np.nan) if scores is None else scores
    seconds = np.array([np.nan] + [0.01] * (n - 1), np.float32)
    as_float = (np.asarray(a, np.float32) for a in (truth, boxes, scores))
    return Run(*as_float, seconds, seconds * 2, size)


def test_measures_by_hand():
    # IoU: 1 (first frame), 0.5 (half of it), 0 (30 px off), absent
    truth = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], NAN]
    boxes = [[0, 0, 10, 10], [0, 0, 5, 10], [30, 0, 40, 10], [0, 0, 9, 9]]
    m = measure(made_run(truth, boxes, [np.nan, 0.9, 0.3, 0.2]))
    # IoU 1 is above 20 of 21 thresholds, 0.5 above 0 to 0.45 (strictly), 0 above none
    assert m.auc == pytest.approx((20 + 10 + 0) / 21 / 3)
    assert m.success[10] == pytest.approx(1 / 3)
    assert m.success[0] == pytest.approx(2 / 3)
    assert m.success[20] == 0
    assert m.precision_20 == pytest.approx(2 / 3)
    assert m.precision_normalised == pytest.approx(1 / 3)  # the second centre is a quarter of the width off
    assert m.ao == pytest.approx((0.5 + 0) / 2)  # without the first frame
    assert m.sr_50 == 0
    assert m.sr_75 == 0
    assert m.frames == 3
    assert m.fps == pytest.approx(100)
    assert m.fps_wall == pytest.approx(50)
    # no frame has IoU > 0.5 after the first: the gaps are the scores, the absent frame's too
    assert m.calibration_error == pytest.approx((0.9 + 0.3 + 0.2) / 3)


def test_precision_counts_20_pixels_as_close():
    truth = [[0, 0, 10, 10]] * 3
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [20.1, 0, 30.1, 10]]
    assert measure(made_run(truth, boxes)).precision_20 == pytest.approx(2 / 3)


def test_average_overlap_cuts_boxes_to_a_known_image_size():
    truth = [[0, 0, 10, 10], [-0.5, -0.5, 9.5, 9.5]]
    boxes = [[0, 0, 10, 10], [-10.5, -0.5, 9.5, 9.5]]
    assert measure(made_run(truth, boxes)).ao == pytest.approx(0.5)
    assert measure(made_run(truth, boxes, size=(100, 100))).ao == pytest.approx(1)


def test_summary_means_sequences_for_auc_and_frames_for_overlap():
    box = [0, 0, 10, 10]
    good = made_run([box] * 4, [box] * 4)
    bad = made_run([box] * 2, [box, [50, 0, 60, 10]])
    m = summarise([good, bad])
    assert m.auc == pytest.approx((20 / 21 + 10 / 21) / 2)
    assert m.ao == pytest.approx(3 / 4)  # three of four frames after the first ones
    assert m.sr_50 == pytest.approx(3 / 4)
    assert m.frames == 6


@pytest.fixture
def sequence(tmp_path):
    """Eight frames, each with its number as grey level; absent in the first and in the fourth."""
    frames = []
    for t in range(8):
        frames.append(tmp_path / f"{t}.png")
        cv2.imwrite(str(frames[-1]), np.full((20, 40, 3), 10 * t, np.uint8))
    boxes = np.array([[t, 0, t + 10, 10] for t in range(8)], np.float32)
    boxes[[0, 3]] = np.nan
    return Sequence("toy", tuple(frames), boxes)


def oracle(seen, seconds=0.0, clock=None):
    """Reads the frame's number from its grey level and knows the box; each step takes so long on a made-up clock."""

    def start(image, box):
        seen.append(("start", image[0, 0, 0] // 10, box.tolist()))

        def step(image):
            number = int(image[0, 0, 0]) // 10
            seen.append(number)
            if clock is not None:
                clock.now += seconds
            return [number, 0, number + 10, 10], 1.0

        return step

    return Competitor("oracle", "none", "fp32", start)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_run_starts_on_the_first_true_box_and_sees_every_frame_after(sequence):
    seen, steps = [], count()
    result = run(oracle(seen), sequence, progress=lambda: next(steps))
    assert seen == [("start", 1, [1, 0, 11, 10]), 2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(result.boxes[[0, 1, 3]], sequence.boxes[[1, 2, 4]])
    m = measure(result)
    assert m.ao == 1
    assert m.frames == 6
    assert m.dropped == 0
    assert m.calibration_error == pytest.approx(1 / 6)  # it was sure in the frame without the target
    assert next(steps) == 7


def test_run_at_a_rate_drops_what_arrives_while_busy_and_repeats_the_last_box(sequence):
    clock, seen, steps = Clock(), [], count()
    # 10 Hz, 0.25 s a step: frame 2 (at 0.1 s) is done at 0.35, when 4 (0.3 s) is the newest; done at 0.6 -> 7
    result = run(oracle(seen, 0.25, clock), sequence, 10.0, lambda: next(steps), clock)
    assert seen[1:] == [2, 4, 7]
    np.testing.assert_array_equal(result.boxes[:, 0], [1, 2, 2, 4, 4, 4, 7])
    assert measure(result).dropped == 3
    assert next(steps) == 7


def test_run_at_a_rate_drops_nothing_where_the_tracker_is_fast(sequence):
    clock, seen = Clock(), []
    run(oracle(seen, 0.099, clock), sequence, 10.0, clock=clock)
    assert seen[1:] == [2, 3, 4, 5, 6, 7]


def test_evaluate_gives_json_with_the_measures_of_all_and_of_each(sequence):
    other = Sequence("other", sequence.frames, sequence.boxes, attributes=("partial occlusion",))
    result = evaluate([oracle([])], [sequence, other], {"cores": 2}, threads=1)[0].as_json()
    assert result["model"] == "oracle"
    for values in (result, *result["per_sequence"].values()):
        assert values["auc"] == pytest.approx(20 / 21, abs=1e-6)
        assert values["precision_20"] == values["ao"] == values["sr_50"] == 1
        assert values["fps"] > 0
        assert values["start_seconds"] >= 0
    assert list(result["per_sequence"]) == ["toy", "other"]
    # a box of 100 px is small, and absent in one frame after the first
    assert {name: values["sequences"] for name, values in result["by_attribute"].items()} == {
        "occlusion": ["other"],
        "low resolution": ["toy", "other"],
        "out of view": ["toy", "other"],
    }
    assert result["by_attribute"]["occlusion"]["auc"] == pytest.approx(20 / 21, abs=1e-6)
    assert result["reliability"]["frames"] == [0] * 9 + [12]  # it is always sure, also in the frame without the target
    assert result["reliability"]["absent"] == [0] * 9 + [2]
    assert result["reliability"]["seen"][-1] == pytest.approx(10 / 12, abs=1e-6)
    assert result["thresholds"][1] == 0.05
    assert len(result["thresholds"]) == 21


def test_trackers_take_turns_after_each_was_warmed_up(sequence):
    seen = {"a": [], "b": []}
    order = []
    competitors = [Competitor(name, "none", "fp32", oracle(seen[name]).start) for name in seen]
    results = evaluate(competitors, [sequence, replace(sequence, name="second")], {}, progress=order.append)
    assert [result.model for result in results] == ["a", "b"]
    assert order == ["a"] * 7 + ["b"] * 7 + ["a"] * 7 + ["b"] * 7
    assert [entry[0] for entry in seen["a"] if isinstance(entry, tuple)] == ["start"] * 3
    assert seen["a"][1] == 0  # the first step, not counted


def test_a_tracker_of_the_package_is_a_competitor(sequence):
    class Estimate:
        def __init__(self, box):
            self.box, self.score = box, 0.5

    class Still:
        card = type("Card", (), {"name": "still"})
        engines = (type("Engine", (), {"backend": "torch", "precision": "fp32"}),) * 2
        smallest = 4.0

        def start(self, image, boxes):
            assert boxes.shape == (1, 4)
            return [check_box(boxes[0], 40, 20, self.smallest)]

        def track(self, image, targets):
            return [Estimate(box) for box in targets]

    still = competitor(Still())
    assert (still.name, still.backend, still.precision) == ("still", "torch", "fp32")
    result = run(still, sequence)
    np.testing.assert_array_equal(result.boxes, [sequence.boxes[1]] * 7)
    np.testing.assert_array_equal(result.scores[1:], [0.5] * 6)

    Still.smallest = 10.5  # more than the box has: it is scored as standing still, the evaluation goes on
    result = run(still, sequence)
    np.testing.assert_array_equal(result.boxes, [sequence.boxes[1]] * 7)
    np.testing.assert_array_equal(result.scores[1:], [0] * 6)

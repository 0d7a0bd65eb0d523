import cv2
import numpy as np
import pytest

from deep_tracking_ros.evaluation.reliability import reliability
from deep_tracking_ros.single_object.parts.calibration import calibration_error
from deep_tracking_ros.visualization.plots import reliability_plot


def test_reliability_by_hand():
    # two frames at 0.95, one of them without the target; two at 0.12 and 0.18, one of them right; one without a score
    one = reliability([0.95, 0.95, 0.12, 0.18, np.nan], [1, 0, 1, 0, 1], [True, False, True, True, True])
    assert one.frames.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert one.absent.tolist() == [0] * 9 + [1]
    assert one.stated[[1, 9]] == pytest.approx([0.15, 0.95])
    assert one.seen[[1, 9]] == pytest.approx([0.5, 0.5])
    assert np.isnan(one.seen[0])
    assert one.error == pytest.approx((0.35 + 0.45) / 2)
    values = one.as_json()
    assert values["stated"][0] is None
    assert values["seen"][9] == 0.5


def test_its_error_is_the_calibration_error():
    rng = np.random.default_rng(0)
    score, success = rng.random(500), rng.random(500) < 0.4
    assert reliability(score, success, np.ones(500)).error == pytest.approx(calibration_error(score, success), abs=1e-6)
    assert np.isnan(reliability([np.nan], [0], [1]).error)


def test_the_picture_leaves_out_trackers_without_scores(tmp_path):
    some, none = reliability([0.3, 0.8, 1.0], [0, 1, 1], [0, 1, 1]), reliability([np.nan], [0], [1])
    widths = []
    for number, scores in enumerate(({"a": some}, {"a": some, "b": some, "none": none}, {"none": none})):
        reliability_plot(scores, tmp_path / f"{number}.png")
        widths.append(cv2.imread(str(tmp_path / f"{number}.png")).shape[1])
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.02)
    assert widths[2] == widths[0]  # an empty picture

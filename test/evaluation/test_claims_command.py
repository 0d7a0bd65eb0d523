import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app


@pytest.fixture
def data(tmp_path):
    """A square of noise over noise that jumps by half its size, said to have look-alikes."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "sequences" / "Square"
    (folder / "img").mkdir(parents=True)
    background, square = rng.integers(0, 90, (240, 320, 3), np.uint8), rng.integers(100, 255, (40, 40, 3), np.uint8)
    rows = []
    for t in range(31):
        image = background.copy()
        x = 100 + 20 * (t % 2)
        image[60:100, x : x + 40] = square
        cv2.imwrite(str(folder / "img" / f"{t + 1:04d}.png"), image)
        rows.append(f"{x + 1},61,40,40")
    (folder / "groundtruth_rect.txt").write_text("\n".join(rows))
    (folder / "attributes.txt").write_text("attributes: distractors\n")
    return tmp_path / "sequences"


def claims(*arguments):
    result = CliRunner().invoke(app, ["eval", "claims", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_distractors_writes_json_and_figure(data, tmp_path):
    report, plot = tmp_path / "report.json", tmp_path / "plot.png"
    output = claims(
        "distractors", "--model", "opencv-kcf", "--data", data, "--runs", 1, "--json", report, "--plot", plot
    )
    assert "recoloured: jumped" in output
    values = json.loads(report.read_text())
    for likeness in ("twin", "recoloured"):
        each = values["generated"][likeness]["opencv-kcf"]
        assert each["held"] + each["jumped"] + each["lost"] == pytest.approx(1)
        assert each["runs"] == 1
    assert values["real_sequences"] == ["Square"]
    assert values["real"]["opencv-kcf"]["runs"] == 1
    assert values["machine"]["cores"] >= 1
    assert cv2.imread(str(plot)).shape[1] > 300


def test_motion_compares_a_model_with_and_without_its_window(data, tmp_path):
    report, plot = tmp_path / "report.json", tmp_path / "plot.png"
    claims("motion", "--model", "siamfc", "--data", data, "--trials", 2, "--json", report, "--plot", plot)
    curves = json.loads(report.read_text())["curves"]
    assert list(curves["made-up scenes"]) == ["siamfc", "siamfc, no window"]
    assert curves["made-up scenes"]["siamfc"]["trials"] == [2] * 7
    # the square stands still or moves by half its size
    assert curves["real frames"]["siamfc"]["displacement"] == [0, 0.5]
    assert cv2.imread(str(plot)).shape[1] > 300


def test_refinement_improves_boxes(data, tmp_path):
    report, plot = tmp_path / "report.json", tmp_path / "plot.png"
    claims("refinement", "--model", "siamfc", "--data", data, "--frames", 2, "--json", report, "--plot", plot)
    values = json.loads(report.read_text())
    before, *after = values["models"]["siamfc"]["after"]
    assert values["models"]["siamfc"]["boxes"] == 8
    assert after[-1] > before
    assert cv2.imread(str(plot)).shape[1] > 300

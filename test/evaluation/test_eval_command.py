import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.visualization.contact_sheet import BAR, GAP, PALETTE


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two OTB sequences in which a textured square moves over noise."""
    root = tmp_path_factory.mktemp("otb")
    noise = np.random.default_rng(0)
    background = noise.integers(0, 60, (120, 160, 3), np.uint8)
    square = noise.integers(100, 255, (32, 32, 3), np.uint8)
    for name in ("One", "Two"):
        (root / name / "img").mkdir(parents=True)
        rows = []
        for t in range(6):
            x, y = 40 + 2 * t, 30 + t
            image = background.copy()
            image[y : y + 32, x : x + 32] = square
            cv2.imwrite(str(root / name / "img" / f"{t + 1:04d}.png"), image)
            rows.append(f"{x + 1},{y + 1},32,32")
        (root / name / "groundtruth_rect.txt").write_text("\n".join(rows))
    return root


def evaluate(*arguments):
    return CliRunner().invoke(app, ["eval", "sot", *map(str, arguments)], catch_exceptions=False)


def test_eval_writes_table_json_and_plot(data, tmp_path):
    report, plot, trust = (tmp_path / name for name in ("report.json", "success.png", "reliability.png"))
    models = ("--model", "opencv-kcf", "--model", "opencv-mil")
    result = evaluate("--data", data, *models, "--json", report, "--plot", plot, "--reliability", trust)
    assert result.exit_code == 0
    assert "opencv-kcf" in result.output
    assert "Two" in result.output
    values = json.loads(report.read_text())
    assert values["model"] == "opencv-kcf"
    assert {"auc", "precision_20", "ao", "sr_50", "fps", "per_sequence"} <= set(values)
    assert list(values["per_sequence"]) == ["One", "Two"]
    assert {"auc", "precision_20", "ao", "sr_50", "fps"} <= set(values["per_sequence"]["One"])
    assert values["auc"] > 0.75  # KCF stays within two pixels of the square
    assert [other["model"] for other in values["compared"]] == ["opencv-mil"]
    assert values["machine"]["cores"] >= 1
    assert values["by_attribute"] == {}  # a square of 1024 px that moves slowly
    assert cv2.imread(str(plot)).shape[0] > 100
    assert cv2.imread(str(trust)).shape[0] > 100


def test_eval_prints_markdown(data):
    result = evaluate("--data", data, "--model", "opencv-kcf", "--format", "markdown")
    lines = result.output.splitlines()
    assert "| model | backend | AUC | P20 | AO | SR50 | ECE | fps | wall | start ms |" in lines
    row = next(line for line in lines if line.startswith("| opencv-kcf |"))
    assert row.split("|")[7].strip() == "-"  # it has no score to judge


def test_eval_takes_sequences_by_name(data, tmp_path):
    report = tmp_path / "report.json"
    assert evaluate("--data", data, "--model", "opencv-kcf", "--sequences", "Two", "--json", report).exit_code == 0
    assert list(json.loads(report.read_text())["per_sequence"]) == ["Two"]


def test_eval_at_a_rate_too_high_drops_frames(data, tmp_path):
    report = tmp_path / "report.json"
    arguments = ("--data", data, "--model", "opencv-mil", "--realtime", "--rate", 2000, "--json", report)
    assert evaluate(*arguments).exit_code == 0
    values = json.loads(report.read_text())
    assert values["dropped"] == 10  # starting takes longer than all frames
    assert values["rate"] == 2000


def test_eval_refuses_early_what_could_not_be_written(data, tmp_path):
    with pytest.raises(InvalidRequestError, match="nothing to evaluate"):
        evaluate("--data", data)
    with pytest.raises(InvalidRequestError, match="there is no folder"):
        evaluate("--data", data, "--model", "opencv-kcf", "--json", tmp_path / "no" / "file.json")
    with pytest.raises(InvalidRequestError, match=r"must end in \.png"):
        evaluate("--data", data, "--model", "opencv-kcf", "--plot", tmp_path / "plot.txt")


def test_eval_frames_draws_boxes_into_frames(data, tmp_path):
    sheet = tmp_path / "sheet.png"
    options = ("--data", data, "--model", "opencv-kcf", "--columns", 3, "--width", 160, "--out", sheet)
    result = CliRunner().invoke(app, ["eval", "frames", *map(str, options)], catch_exceptions=False)
    assert result.exit_code == 0
    picture = cv2.imread(str(sheet))
    assert picture.shape[1] == 3 * 160 + 2 * GAP
    assert (picture[BAR:] == PALETTE[0]).all(2).any()
    with pytest.raises(InvalidRequestError, match=r"must be a \.png or \.jpg"):
        CliRunner().invoke(app, ["eval", "frames", *map(str, options[:-1]), "x.gif"], catch_exceptions=False)

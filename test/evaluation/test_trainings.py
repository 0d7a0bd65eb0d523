import json

import cv2
import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli.main import app
from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.trainings import read_log, summary


@pytest.fixture
def run(tmp_path):
    def make(name, factor):
        (tmp_path / name).mkdir()
        rows = [{"samples": 32 * n, "loss": factor / (1 + n), "lr": 0.1} for n in range(40)]
        rows.insert(20, {"samples": 640, "validation.auc": 0.5})
        (tmp_path / name / "log.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        return tmp_path / name

    return make


def test_logs_are_read_without_lines_of_other_figures(run):
    log = read_log(run("a", 2.0), ["loss"])
    assert list(log) == ["samples", "loss"]
    assert len(log["loss"]) == 40
    assert log["loss"][0] == 2.0
    assert summary(log["loss"]) == pytest.approx(sum(2 / (1 + n) for n in range(36, 40)) / 4)
    assert summary([3.0]) == 3.0


def test_what_is_missing_is_told(run, tmp_path):
    with pytest.raises(DataError, match=r"has all of iou; there are loss, lr, samples, validation\.auc"):
        read_log(run("a", 2.0), ["iou"])
    with pytest.raises(DataError, match="cannot read the log"):
        read_log(tmp_path / "nowhere", ["loss"])


def test_trainings_are_compared(run, tmp_path):
    report, plot = tmp_path / "report.json", tmp_path / "plot.png"
    runs = ["--run", f"plain={run('a', 2.0)}", "--run", f"deformable={run('b', 1.0)}"]
    command = ["eval", "claims", "trainings", *runs, "--figure", "loss", "--json", str(report), "--plot", str(plot)]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    values = json.loads(report.read_text())["runs"]
    assert values["plain"]["loss"] == pytest.approx(2 * values["deformable"]["loss"])
    assert cv2.imread(str(plot)).shape[1] > 300


def test_heads_that_were_trained_together_are_compared(tmp_path):
    rows = [{"samples": n, "rpt.iou": 0.7, "rpt_regular.iou": 0.6} for n in range(3)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = tmp_path / "report.json"
    runs = ["--run", f"deformable={tmp_path}:rpt", "--run", f"regular={tmp_path}:rpt_regular"]
    command = ["eval", "claims", "trainings", *runs, "--figure", "iou", "--json", str(report)]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    values = json.loads(report.read_text())["runs"]
    assert values == {"deformable": {"iou": pytest.approx(0.7)}, "regular": {"iou": pytest.approx(0.6)}}
    with pytest.raises(DataError, match=r"has all of atom\.iou; there are rpt\.iou, rpt_regular\.iou, samples"):
        read_log(tmp_path, ["iou"], "atom")

"""Every verb explains itself, fast, and answers wrong arguments with one clear line."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli import main

OURS = ("demo", "run", "play", "record", "target", "doctor")
HEAVY = {"torch", "rclpy", "cv2", "onnxruntime", "matplotlib", "av", "rosbags"}


def run(*arguments):
    return CliRunner().invoke(main.app, arguments, prog_name="deep-tracking")


@pytest.mark.parametrize("verb", main.VERBS)
def test_help_of_every_verb(verb):
    result = run(verb, "--help")
    assert result.exit_code == 0, result.output
    assert f"Usage: deep-tracking {verb}" in " ".join(result.output.split())


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom deep_tracking_ros.cli import main\n"
        "for arguments in (['--help'], *([verb, '--help'] for verb in main.VERBS)):\n"
        "    result = CliRunner().invoke(main.app, arguments)\n"
        "    assert result.exit_code == 0, result.output\n"
        f"    found = {HEAVY!r} & set(sys.modules)\n"
        "    assert not found, (arguments, found)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_completion_is_offered():
    result = run("--help")
    assert "--install-completion" in result.output
    complete = {"_DEEP_TRACKING_COMPLETE": "complete_bash", "COMP_WORDS": "deep-tracking tar", "COMP_CWORD": "1"}
    done = CliRunner().invoke(main.app, [], prog_name="deep-tracking", env=complete)
    assert "target" in done.output.split()


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("run", "nothing"), "no launch file 'nothing'; there are tracker"),
        (("run", "tracker", "modle:=x"), "unknown arguments modle"),
        (("run", "tracker", "model"), "write NAME:=VALUE"),
        (("play", "no.mcap"), "there is no bag no.mcap"),
        (("target", "set", "1,2,3"), "is not four numbers"),
        (("target", "set", "1,2,3,-4"), "above 0"),
        (("target", "set"), "give either a box"),
        (("target", "set", "1,2,3,4", "--stamp", "soon"), "no time in seconds"),
        (("target", "set", "1,2,3,4", "--on", "no.png"), "target snapshot no.png"),
        (("demo", "--video", "x.mp4"), "together"),
        (("demo", "--many", "--box", "1,2,3,4"), "give it without --box"),
        (("demo", "--detector", "x.onnx"), "--detector is for it"),
        (("demo", "--many", "--detector", "x.onnx"), "there is no model file x.onnx"),
        (("demo", "--many", "--video", "x.mp4"), "there is no video x.mp4"),
    ],
)
def test_wrong_arguments(arguments, answer):
    result = run(*arguments)
    assert result.exit_code == 1
    assert answer in str(result.exception)


def test_record_does_not_overwrite(tmp_path):
    (tmp_path / "bag").mkdir()
    result = run("record", "/x", "--out", str(tmp_path / "bag"))
    assert "exists already" in str(result.exception)


def test_errors_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["deep-tracking", "play", "no.mcap"])
    with pytest.raises(SystemExit) as exit_:
        main.main()
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "error: there is no bag no.mcap\n"

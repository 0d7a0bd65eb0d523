"""What `deep-tracking run` answers before a process is started."""

import pytest
from typer.testing import CliRunner

from deep_tracking_ros.cli import main
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.ros import runner


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("params_file:=no.yaml", "params_file no.yaml does not exist"),
        ("params_file:=.", "params_file . is no file"),
        ("namespace:=9bad", "namespace '9bad' must begin with a letter or _"),
        ("namespace:=/front/9", "namespace '/front/9' must begin with a letter or _, and so must each part after a /"),
        ("namespace:=a-b", "namespace 'a-b' may hold only letters, digits, _ and /"),
        ("name:=9", "name '9' must begin with a letter or _"),
        ("name:=a/b", "name 'a/b' may hold only letters, digits, _"),
    ],
)
def test_names_that_rcl_would_answer_with_a_traceback(argument, answer, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *_: pytest.fail("it was started"))
    result = CliRunner().invoke(main.app, ["run", "tracker", argument])
    assert isinstance(result.exception, InvalidRequestError)
    assert str(result.exception) == answer


def test_names_that_are_well(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(runner, "run", lambda nodes, extra: started.extend(nodes) or 0)
    file = tmp_path / "mine.yaml"
    file.write_text("")
    words = [f"params_file:={file}", "namespace:=/robot_1/front/", "name:=_it2"]
    assert CliRunner().invoke(main.app, ["run", "tracker", *words]).exit_code == 0
    assert (started[0].name, started[0].namespace) == ("_it2", "/robot_1/front/")
    assert CliRunner().invoke(main.app, ["run", "tracker", "namespace:=", "params_file:="]).exit_code == 0

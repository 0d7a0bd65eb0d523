"""The interface files: commented, and with the numbers that the Python side has."""

import re
from pathlib import Path

import pytest

from deep_tracking_ros.errors import ErrorCode
from deep_tracking_ros.types import State

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("msg", "srv", "action") for path in (ROOT / folder).iterdir())


def constants(name: str, prefix: str = "") -> dict[str, int]:
    text = (ROOT / "msg" / f"{name}.msg").read_text()
    return {name: int(value) for name, value in re.findall(rf"^\w+ {prefix}(\w+)=(\d+)", text, re.MULTILINE)}


def test_error_codes_are_those_of_the_message():
    assert constants("ErrorCode") == {code.name: code.value for code in ErrorCode}


@pytest.mark.parametrize("name", ["TrackedBox", "TrackedBox3D"])
def test_states_are_those_of_the_message(name):
    numbers = constants(name, "STATE_")
    assert numbers == {state.name: state.value for state in State if state.name in numbers}
    assert set(numbers) >= {"UNKNOWN", "LOST", "TENTATIVE", "CONFIRMED", "OCCLUDED"}


def test_all_states_are_in_tracked_box():
    assert set(constants("TrackedBox", "STATE_")) == {state.name for state in State}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_field_is_commented(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# "), "say first what the interface is for"
    fields = [line for line in lines if line and not line.startswith(("#", "---")) and not re.match(r"\w+ \w+=", line)]
    assert [line for line in fields if not re.match(r"[\w/\[\]<=]+ +\w+ +# ?\S", line)] == []


@pytest.mark.ros
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_interface_is_built_from_this_file(path):
    module = __import__(f"deep_tracking_ros.{path.suffix[1:]}", fromlist=[path.stem])
    kind = getattr(module, path.stem)
    parts = {".msg": [kind], ".srv": ["Request", "Response"], ".action": ["Goal", "Result", "Feedback"]}[path.suffix]
    for text, part in zip(re.split(r"^---$", path.read_text(), flags=re.MULTILINE), parts, strict=True):
        built = part if not isinstance(part, str) else getattr(kind, part)
        assert list(built.get_fields_and_field_types()) == re.findall(
            r"^[\w/\[\]<=]+ +(\w+) *(?:#|$)", text, re.MULTILINE
        )

"""What the page of lidar says of parameters and arguments is what the code declares."""

import re
from pathlib import Path

import pytest

from deep_tracking_ros.parameters import declared
from deep_tracking_ros.pipelines.fusion import FusionPipeline
from deep_tracking_ros.pipelines.lidar_proposals import LidarProposalsPipeline
from deep_tracking_ros.ros.launches import LAUNCHES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "lidar.md").read_text()


def rows(pipeline):
    for p in declared(pipeline.Parameters):
        unit = f" {p.unit}" if p.unit else ""
        yield p.name, f"| `{p.name}` | {p.default}{unit} | {p.description} |"


@pytest.mark.parametrize("pipeline", [LidarProposalsPipeline, FusionPipeline])
def test_every_parameter_stands_in_the_table_as_declared(pipeline):
    missing = [row for _, row in rows(pipeline) if row not in PAGE]
    assert not missing, "docs/lidar.md lacks these rows:\n" + "\n".join(missing)


def test_no_table_names_a_parameter_that_is_not_there():
    known = {name for pipeline in (LidarProposalsPipeline, FusionPipeline) for name, _ in rows(pipeline)}
    assert set(re.findall(r"^\| `(\w+)`", PAGE, re.M)) == known


def test_commands_name_launch_files_and_arguments_that_are_there():
    text = PAGE.replace("\\\n", " ")
    commands = re.findall(r"(?:deep-tracking run|deep_tracking_ros) (\w+)(?:\.launch\.py)? (.*:=.*)", text)
    assert {name for name, _ in commands} == {"lidar_proposals", "lidar_tracker", "fusion"}
    for name, arguments in commands:
        known = {argument.name for argument in LAUNCHES[name].arguments}
        assert set(re.findall(r"(\w+):=", arguments)) <= known, name

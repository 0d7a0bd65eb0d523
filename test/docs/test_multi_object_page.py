"""What the page of objects in the image says of parameters is what the code declares."""

import re
from pathlib import Path

from test_readme import default

from deep_tracking_ros.parameters import declared
from deep_tracking_ros.pipelines.multi_object import MultiObjectParameters, MultiObjectPipeline

PAGE = (Path(__file__).resolve().parents[2] / "docs/trackers/multi_object.md").read_text()


def test_the_table_has_every_parameter_as_declared_and_no_other():
    rows = [
        f"| `{p.name}` | {default(p.default)}{p.unit and f' {p.unit}'} | {p.description} |"
        for p in declared(MultiObjectParameters)
    ]
    section = PAGE.split("## Parameters")[1].split("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows


def test_counts_that_are_named_are_in_the_status():
    section = PAGE.split("## What cannot be used")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section)) - {p.name for p in declared(MultiObjectParameters)}
    assert named == {"unusable_detections", "without_image"}
    assert named < set(MultiObjectPipeline(MultiObjectParameters()).status())

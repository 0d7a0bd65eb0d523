"""What the README says of parameters, topics and verbs is what the code declares."""

import re
from pathlib import Path

from deep_tracking_ros.cli.main import VERBS
from deep_tracking_ros.parameters import declared
from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline
from deep_tracking_ros.ros.launches import LAUNCHES
from deep_tracking_ros.ros.parameters import AT_ACTIVATION

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PARAMETERS = [p for kind in (SingleObjectPipeline.Parameters, *AT_ACTIVATION) for p in declared(kind)]


def default(value):
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def parameter_rows():
    for parameter in PARAMETERS:
        value = default(parameter.default) + (f" {parameter.unit}" if parameter.unit else "")
        yield f"| `{parameter.name}` | {value} | {parameter.description} |"


def argument_rows():
    for argument in LAUNCHES["tracker"].arguments:
        yield f"| `{argument.name}` | {argument.default} | {argument.description} |"


def test_every_parameter_stands_in_the_table_as_declared():
    missing = [row for row in parameter_rows() if row not in README]
    assert not missing, "README.md lacks these rows:\n" + "\n".join(missing)


def test_every_launch_argument_stands_in_the_table_as_declared():
    missing = [row for row in argument_rows() if row not in README]
    assert not missing, "README.md lacks these rows:\n" + "\n".join(missing)


def test_every_topic_and_service_is_named():
    for name in (*SingleObjectPipeline.commands, *SingleObjectPipeline.outputs, "overlay", "track_object"):
        assert f"`~/{name}`" in README, name


def test_no_table_names_a_parameter_that_is_not_there():
    known = {p.name for p in PARAMETERS}
    section = README.split("### Parameters")[1].split("\n#")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.M)) == known


def test_every_verb_is_explained():
    for verb in VERBS:
        assert f"`{verb}" in README or f"deep-tracking {verb}" in README, verb


def test_links_into_the_repository_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"

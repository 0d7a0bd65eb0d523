import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))  # template_tracker


@pytest.fixture(scope="module", autouse=True)
def _alone(domain):
    """Every file is in a domain of its own."""


@pytest.fixture(scope="module")
def shared(domain, tmp_path_factory):
    """One process for all tests of a file that do not need their own."""
    from rig import running

    with running(tmp_path_factory.mktemp("logs")) as (rig, process):
        rig.ready()
        rig.process = process
        yield rig


@pytest.fixture
def rig(shared):
    """The shared node as it starts: active, nothing followed, every parameter as given at the start."""
    if shared.changed or shared.state() != "active":
        shared.restart(**shared.changed)
        shared.ready()
        shared.changed = {}
    shared.clear_targets()
    shared.received.clear()
    return shared

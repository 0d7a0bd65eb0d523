import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("patient", deadline=None)  # laws hold however busy the machine is
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "slow" in item.keywords and not config.getoption("--all"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --all (make test-all)"))


def reference_folder(name: str) -> Path:
    """A folder of reference data or weights beside the checkout (or at DTR_REFERENCE), or a skip with a clear word."""
    base = Path(os.environ.get("DTR_REFERENCE", ROOT.parent / "shared"))
    if not (base / name).exists():
        pytest.skip(f"reference data {name!r} is not on this machine (looked in DTR_REFERENCE and beside the checkout)")
    return base / name


@pytest.fixture(scope="session")
def reference():
    return reference_folder

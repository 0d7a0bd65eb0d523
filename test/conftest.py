import fcntl
import os
import random
import tempfile
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


# Those that Linux leaves free of ports for other use, beside 0 to 101, in which people and robots are.
DOMAINS = range(215, 233)


@pytest.fixture(scope="module")
def domain():
    """A ROS domain that no other run of tests is in at the same time, on this machine only."""
    with pytest.MonkeyPatch.context() as patch:
        for number in random.sample(DOMAINS, len(DOMAINS)):
            try:
                lock = (Path(tempfile.gettempdir()) / f"deep_tracking_ros_domain_{number}").open("w")
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # taken
            with lock:
                patch.setenv("ROS_DOMAIN_ID", str(number))
                patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
                yield number
            return
        pytest.fail(f"all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are taken by other runs of tests")


def reference_folder(name: str) -> Path:
    """A folder of reference data or weights beside the checkout (or at DTR_REFERENCE), or a skip with a clear word."""
    base = Path(os.environ.get("DTR_REFERENCE", ROOT.parent / "shared"))
    if not (base / name).exists():
        pytest.skip(f"reference data {name!r} is not on this machine (looked in DTR_REFERENCE and beside the checkout)")
    return base / name


@pytest.fixture(scope="session")
def reference():
    return reference_folder

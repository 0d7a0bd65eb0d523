"""When an input came, by what the middleware says about it, or does not."""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from deep_tracking_ros.ros import intake

pytestmark = pytest.mark.ros
NOW, WALL = 1000.0, 1_700_000_000 * 10**9  # s of the monotonic clock, ns of the other


@pytest.fixture(autouse=True)
def clocks(monkeypatch):
    """Both clocks of the machine, standing still."""
    clocks = SimpleNamespace(monotonic=lambda: NOW, time_ns=lambda: WALL)
    monkeypatch.setattr(intake, "time", clocks)
    return clocks


def test_the_time_in_the_middleware_counts():
    assert intake.arrival({"received_timestamp": WALL - 250_000_000}) == NOW - 0.25


@pytest.mark.parametrize("info", [None, {}, {"received_timestamp": 0}])
def test_a_middleware_that_does_not_say_it_is_taken_for_quick(info):
    assert intake.arrival(info) == NOW


def test_a_clock_that_was_set_back_makes_no_negative_wait():
    assert intake.arrival({"received_timestamp": WALL + 3600 * 10**9}) == NOW


def test_a_clock_that_is_set_later_changes_nothing(clocks):
    """What came waits by the monotonic clock, which nobody sets."""
    came = intake.arrival({"received_timestamp": WALL})
    clocks.time_ns = lambda: 0
    assert intake.arrival({"received_timestamp": WALL}) == came == NOW

"""When an input came, by what the middleware says about it, or does not."""

import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not on this machine: . scripts/env.sh")
pytest.importorskip("deep_tracking_ros.msg", reason="the interfaces are not built: make setup")

from deep_tracking_ros.ros.intake import arrival

pytestmark = pytest.mark.ros


def ago(info):
    return time.monotonic() - arrival(info)


def test_the_time_in_the_middleware_counts():
    assert ago({"received_timestamp": time.time_ns() - 250_000_000}) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("info", [None, {}, {"received_timestamp": 0}])
def test_a_middleware_that_does_not_say_it_is_taken_for_quick(info):
    assert ago(info) == pytest.approx(0.0, abs=0.05)


def test_a_clock_that_was_set_back_makes_no_negative_wait():
    assert ago({"received_timestamp": time.time_ns() + 3600 * 10**9}) == pytest.approx(0.0, abs=0.05)


def test_a_clock_that_is_set_later_changes_nothing(monkeypatch):
    came = arrival({"received_timestamp": time.time_ns()})
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert time.monotonic() - came == pytest.approx(0.0, abs=0.05)

"""What all conversions between dataclasses and messages share.

Messages are reached by their fields only, so rclpy's classes and those of rosbags go through alike, without ROS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deep_tracking_ros.types import NANOSECONDS

New = Callable[[str], Any]
"""Gives an empty message of ``package/msg/Name``."""


@dataclass(frozen=True)
class Converter:
    """How one dataclass and its message become each other."""

    type: str  # package/msg/Name
    write: Callable[[Any, New], Any]  # item, maker of messages -> message
    read: Callable[[Any], Any]  # message -> item
    topic: str = ""  # where ROS has such messages by convention; empty = at the name of the port
    quality: str = "results"  # of service that a subscription asks for, one of `qos.PROFILES`


def stamp_of(time: Any) -> int:
    """Nanoseconds of a ``builtin_interfaces/Time`` or ``Duration``."""
    return int(time.sec) * NANOSECONDS + int(time.nanosec)


def set_stamp(time: Any, stamp: int) -> None:
    """Write nanoseconds into a ``builtin_interfaces/Time``."""
    time.sec, time.nanosec = divmod(stamp, NANOSECONDS)

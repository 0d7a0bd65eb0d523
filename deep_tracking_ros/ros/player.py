"""Plays a bag onto topics as it was recorded, with ``/clock``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.ros import bags, player_topics
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.parameters import DeclaredParameters
from deep_tracking_ros.types import NANOSECONDS, nanoseconds, seconds


@dataclass(frozen=True)
class PlayerParameters:
    """Parameters of the node ``bag_player``."""

    bag: str = parameter("", "bag to play: a rosbag2 folder, an .mcap or a .db3 file")
    topics: str = parameter("", "topics to play, separated by commas; empty = all, or see results")
    results: bool = parameter(True, "play what nodes of this package once published too, where topics is empty")
    inputs: str = parameter("", "topics, separated by commas, to play also where they are such results")
    rate: float = parameter(1.0, "speed, 1 = as recorded", minimum=0.01, maximum=100.0)
    loop: bool = parameter(False, "start again at the end; stamps then step back")
    start_offset: float = parameter(0.0, "begin this long after the first message", unit="s", minimum=0.0)
    end_offset: float = parameter(0.0, "stop this long after the first message; 0 = at the end", unit="s", minimum=0.0)
    clock_rate: float = parameter(100.0, "messages on /clock; 0 = none", unit="Hz", minimum=0.0, maximum=1000.0)
    depth: int = parameter(10, "history depth of the publishers", unit="messages", minimum=1, maximum=1000)
    reliable: bool = parameter(True, "reliable or best effort publishers")
    wait_for_subscribers: float = parameter(
        0.0, "wait at most this long until each topic, or wait_topic, has a subscriber; 0 = start at once", unit="s"
    )
    subscribers: int = parameter(1, "how many subscribers to wait for", minimum=1, maximum=1000)
    wait_topic: str = parameter("", "the one topic to wait for, or that + /compressed; empty = all that are played")


class BagPlayer(Node):
    """Publishes the serialised messages unchanged: their stamps are the recorded ones, and nothing is decoded."""

    def __init__(self) -> None:
        super().__init__("bag_player")
        self.parameters: PlayerParameters = DeclaredParameters(self, PlayerParameters, read_only=True).read(
            PlayerParameters
        )
        p = self.parameters
        if not p.bag:
            raise InvalidRequestError("the parameter bag is empty; name the bag to play")
        self.bag = bags.describe(p.bag)
        wanted = [t for t in p.topics.split(",") if t]
        self.left_out: list[str] = []
        if not wanted:
            wanted, self.left_out = player_topics.chosen(self.bag.topics, p.results, p.inputs.split(","))
        if self.left_out and not wanted:
            raise DataError(
                f"{p.bag} holds only results: {', '.join(self.left_out)}; play them with --all, or by name with --topic"
            )
        self.start = self.bag.start + nanoseconds(p.start_offset)
        self.end = self.bag.start + nanoseconds(p.end_offset) if p.end_offset else self.bag.end + 1
        if self.start >= self.end:
            length = seconds(self.bag.end - self.bag.start)
            raise InvalidRequestError(
                f"nothing to play from {p.start_offset:g} to {p.end_offset:g} s of a bag of {length:g} s"
            )
        qos = QoSProfile(
            depth=p.depth, reliability=ReliabilityPolicy.RELIABLE if p.reliable else ReliabilityPolicy.BEST_EFFORT
        )
        types = {t.name: t.type for t in self.bag.topics}
        if missing := [t for t in wanted if t not in types]:
            raise DataError(f"{p.bag} has no topic {', '.join(missing)}; it has {self.bag.listing()}")
        self.bag_publishers = {t: self.create_publisher(message_class(types[t]), t, qos) for t in wanted}
        self.clock_publisher = self.create_publisher(Clock, "/clock", 10) if p.clock_rate else None
        self.tick = 1.0 / p.clock_rate if p.clock_rate else 1.0
        self.executor_ = SingleThreadedExecutor()
        self.executor_.add_node(self)
        self.sent = 0

    def run(self) -> None:
        """Play to the end (or for ever), then wait until reliable subscribers have it all."""
        length = seconds(self.end - self.start)
        self.get_logger().info(f"{self.parameters.bag}: {length:.2f} s, {self.bag.listing()}")
        if self.left_out:
            self.get_logger().info(
                f"left out: {', '.join(self.left_out)} (results of an earlier run; deep-tracking play --all plays them)"
            )
        self._wait_for_subscribers()
        while True:
            self._play_once()
            if not self.parameters.loop:
                break
        for publisher in (*self.bag_publishers.values(), self.clock_publisher):
            if publisher is not None:
                publisher.wait_for_all_acked(Duration(seconds=2))
        self.get_logger().info(f"played {self.sent} messages")

    def _messages(self) -> Iterator[bags.Message]:
        return bags.read_messages(self.parameters.bag, list(self.bag_publishers), self.start, self.end)

    def _play_once(self) -> None:
        messages = self._messages()
        first = list(islice(messages, 1))  # opening the bag takes time that is none of the recording's
        began = reported = time.monotonic()
        for message in chain(first, messages):
            due = began + seconds(message.log_time - self.start) / self.parameters.rate
            self._wait_until(due, began, message.log_time)
            self._publish_clock(message.log_time)  # before the message: its age is then never negative
            self.bag_publishers[message.topic].publish(message.data)
            self.sent += 1
            if time.monotonic() - reported > 5:
                reported = time.monotonic()
                done = seconds(message.log_time - self.start)
                self.get_logger().info(f"at {done:.1f} of {seconds(self.end - self.start):.1f} s")

    def _wait_until(self, due: float, began: float, stamp: int) -> None:
        """Serve the node and ``/clock``, which goes up to ``stamp`` (ns), until ``due`` (monotonic s)."""
        self.executor_.spin_once(timeout_sec=0)
        while (left := due - time.monotonic()) > 0:
            if left > self.tick:
                self.executor_.spin_once(timeout_sec=self.tick)
                elapsed = (time.monotonic() - began) * self.parameters.rate
                self._publish_clock(min(stamp, self.start + round(elapsed * NANOSECONDS)))
            else:
                time.sleep(left)

    def _publish_clock(self, now: int) -> None:
        if self.clock_publisher is not None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now, NANOSECONDS)
            self.clock_publisher.publish(message)

    def _wait_for_subscribers(self) -> None:
        p = self.parameters
        names, enough = list(self.bag_publishers), all
        if p.wait_topic:  # images may be taken raw or compressed: it is for the subscriber to say
            names, enough = [n for n in names if n in (p.wait_topic, f"{p.wait_topic}/compressed")], any
        if not names:
            raise DataError(f"wait_topic {p.wait_topic} is not played; the bag has {self.bag.listing()}")
        deadline = time.monotonic() + p.wait_for_subscribers
        while not enough(self.bag_publishers[n].get_subscription_count() >= p.subscribers for n in names):
            if time.monotonic() > deadline:
                if p.wait_for_subscribers:
                    self.get_logger().warning(f"too few subscribers of {', '.join(names)}; playing all the same")
                return
            self._publish_clock(self.start)
            self.executor_.spin_once(timeout_sec=0.05)

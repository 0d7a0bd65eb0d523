"""Records topics into an mcap bag whose definitions are embedded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.subscription import Subscription

from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.ros import bags
from deep_tracking_ros.ros.client import matching_qos
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.parameters import DeclaredParameters
from deep_tracking_ros.ros.signals import interruptible
from deep_tracking_ros.types import NANOSECONDS


@dataclass(frozen=True)
class RecorderParameters:
    """Parameters of the node ``bag_recorder``."""

    bag: str = parameter("", "bag to write: a folder, or one file where the name ends in .mcap")
    topics: str = parameter("", "topics to record, separated by commas; each is waited for")
    compress: bool = parameter(True, "zstd compression of chunks")
    depth: int = parameter(
        200, "messages that may wait for the disk before some are lost", unit="messages", minimum=1, maximum=10000
    )


class BagRecorder(Node):
    """Writes every message as it comes, by the node's clock; topics may appear later than the recorder."""

    def __init__(self) -> None:
        super().__init__("bag_recorder")
        self.parameters: RecorderParameters = DeclaredParameters(self, RecorderParameters, read_only=True).read(
            RecorderParameters
        )
        p = self.parameters
        try:
            self.waiting = [self.resolve_topic_name(t) for t in p.topics.split(",") if t]
        except rclpy_implementation.RCLError as error:
            raise InvalidRequestError(str(error)) from None
        if not p.bag or not self.waiting:
            raise InvalidRequestError("the parameters bag and topics must be given: where to record what")
        self.writer = bags.BagWriter(p.bag, p.compress)
        self.counts = dict.fromkeys(self.waiting, 0)
        self.untimed = 0
        self._recorded: list[tuple[Subscription, Callable[[bytes], None]]] = []
        self._search = self.create_timer(0.1, self._subscribe, clock=rclpy.clock.Clock())  # also before /clock runs
        self._subscribe()

    def run(self) -> None:
        """Record until interrupted; the bag is then complete, with all that had come by then."""
        self.get_logger().info(f"recording {', '.join(self.waiting)} to {self.parameters.bag}")
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        try:
            with interruptible(executor):
                executor.spin()
        finally:
            self._take_rest()
            executor.shutdown()
            self.writer.close()
            text = ", ".join(f"{topic} {count}" for topic, count in self.counts.items())
            print(f"recorded to {self.parameters.bag}: {text}", flush=True)  # the context may be gone, and its logger
            if self.untimed:
                print(f"left out {self.untimed} messages that came before /clock", flush=True)

    def _subscribe(self) -> None:
        """Subscribe to those topics that somebody publishes by now, with a QoS that all of them satisfy."""
        for topic in list(self.waiting):
            publishers = self.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            self.waiting.remove(topic)
            type_ = publishers[0].topic_type
            try:
                kind = message_class(type_)
                self.writer.add_topic(topic, type_)
            except DataError as error:
                self.get_logger().error(f"{topic} is not recorded: {error}")
                continue
            qos = matching_qos(self, topic, self.parameters.depth)
            write = self._record(topic, type_)
            self._recorded.append((self.create_subscription(kind, topic, write, qos, raw=True), write))
            self.get_logger().info(f"subscribed to {topic} ({type_})")
        if not self.waiting:
            self._search.cancel()

    def _take_rest(self) -> None:
        """Write what waits in the subscriptions and was not served yet."""
        for subscription, write in self._recorded:
            with subscription.handle:
                while (taken := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                    write(taken[0])

    def _record(self, topic: str, type_: str) -> Callable[[bytes], None]:
        return partial(self._write, topic, type_)

    def _write(self, topic: str, type_: str, data: bytes) -> None:
        now = self.get_clock().now().nanoseconds
        if now < NANOSECONDS // 1000 and self.get_parameter("use_sim_time").value:
            self.untimed += 1  # simulated time has not begun: the message has no place in the bag
            return
        self.writer.write(topic, type_, data, now)
        self.counts[topic] += 1

"""What short-lived tools need of ROS: a node for a moment, one image of a topic, one answer of a service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deep_tracking_ros.errors import DataError, InvalidRequestError, NoFrameError

if TYPE_CHECKING:
    from rclpy.node import Node


@contextmanager
def temporary_node(name: str) -> Iterator[Node]:
    """A node that lives as long as the block, in a context of its own.

    Raises `InvalidRequestError` where there is no ROS 2 or the interfaces were not built.
    """
    try:
        import rclpy

        import deep_tracking_ros.msg  # noqa: F401
    except ImportError as error:
        raise InvalidRequestError(
            f"ROS 2 with this package's interfaces is not to be found ({error}); "
            "use .venv/bin/deep-tracking after `make setup`, or source install/setup.bash of your workspace"
        ) from None
    from rclpy.context import Context
    from rclpy.utilities import try_shutdown

    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node(name, context=context, start_parameter_services=False)
        executor = rclpy.executors.SingleThreadedExecutor(context=context)
        executor.add_node(node)
        try:
            yield node
        finally:
            executor.shutdown()
            node.destroy_node()
    finally:
        try_shutdown(context=context)


def spin_until(node: Node, done: Callable[[], Any], seconds: float) -> bool:
    """Serve the node until ``done()`` is true or the time is over; whether it was."""
    deadline = time.monotonic() + seconds
    assert node.executor is not None
    while not done():
        if time.monotonic() > deadline:
            return False
        node.executor.spin_once(timeout_sec=0.02)
    return True


def matching_qos(node: Node, topic: str, depth: int = 10) -> Any:
    """The QoS that a subscription needs so that all publishers of a topic are heard."""
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    offered = [p.qos_profile for p in node.get_publishers_info_by_topic(topic)]
    reliable = bool(offered) and all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
    latched = bool(offered) and all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def published_type(node: Node, topic: str, seconds: float = 3.0) -> str:
    """``package/msg/Name`` of what is published on a topic. Raises `DataError` with the topics of images there are."""
    if not spin_until(node, lambda: node.get_publishers_info_by_topic(topic), seconds):
        images = [n for n, types in node.get_topic_names_and_types() if any("Image" in t for t in types)]
        raise DataError(f"nobody publishes {topic}; topics of images are {', '.join(images) or 'none'}")
    return str(node.get_publishers_info_by_topic(topic)[0].topic_type)


def newest_image(node: Node, topic: str, seconds: float = 3.0) -> Any:
    """The next image on a topic as a `Frame`, raw or compressed. Raises `DataError` or `NoFrameError`."""
    from deep_tracking_ros.ros import bags, images

    parsers = {bags.IMAGE: bags.parse_image, bags.COMPRESSED: bags.parse_compressed_image}
    type_ = published_type(node, topic, seconds)
    if type_ not in parsers:
        raise DataError(f"{topic} is a {type_}, not an image")
    from deep_tracking_ros.ros.interfaces import message_class

    received: list[bytes] = []
    subscription = node.create_subscription(
        message_class(type_), topic, received.append, matching_qos(node, topic, 1), raw=True
    )
    try:
        if not spin_until(node, lambda: received, seconds):
            raise NoFrameError(f"{topic} has a publisher, but no image came within {seconds:g} s")
    finally:
        node.destroy_subscription(subscription)
    return images.frame(parsers[type_](received[-1]))


def call(node: Node, kind: Any, service: str, request: Any, seconds: float = 5.0) -> Any:
    """The answer of a service. Raises `DataError` where nobody offers it or no answer comes."""
    client = node.create_client(kind, service)
    try:
        if not spin_until(node, client.service_is_ready, seconds):
            offered = [n for n, types in node.get_service_names_and_types() if f"{kind.__name__}" in str(types)]
            raise DataError(f"there is no service {service}; of this kind there are {', '.join(offered) or 'none'}")
        future = client.call_async(request)
        if not spin_until(node, future.done, seconds):
            raise DataError(f"the service {service} gave no answer within {seconds:g} s")
        return future.result()
    finally:
        node.destroy_client(client)

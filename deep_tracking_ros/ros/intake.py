"""What comes in: subscriptions that turn messages into stamped items, and a watch over why nothing comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from rclpy.qos import QoSPolicyKind

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.ros import clouds, images
from deep_tracking_ros.ros.bags import (
    CLOUD,
    COMPRESSED,
    IMAGE,
    parse_cloud,
    parse_compressed_image,
    parse_image,
)
from deep_tracking_ros.ros.compat import SubscriptionEventCallbacks
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.mailbox import Item
from deep_tracking_ros.ros.messages import CONVERTERS, Converter
from deep_tracking_ros.ros.qos import PROFILES, describe_incompatibility, image_qos, lowered
from deep_tracking_ros.types import Cloud, Frame

if TYPE_CHECKING:
    from rclpy.node import Node

    from deep_tracking_ros.pipelines.pipeline import Pipeline
    from deep_tracking_ros.ros.measurements import Measurements
    from deep_tracking_ros.ros.parameters import SensorParameters

PATIENCE = 5.0
"""An input that is silent for longer is worth a warning, s."""


class Intake:
    """The subscriptions of all input ports; they exist as long as it is not closed.

    Images are taken as serialised bytes: nothing but their header is looked at here, and an image that is dropped is
    never copied or decoded. Point clouds too are read from their bytes, which spares rclpy's copy, and asked for as
    images are, since drivers of both often publish best effort.
    """

    def __init__(
        self,
        node: Node,
        pipeline: Pipeline,
        parameters: SensorParameters,
        transport: str,
        measurements: Measurements,
        receive: Callable[[Item], None],
        report: Callable[[Exception], None],
        converters: Mapping[type, Converter] = CONVERTERS,
    ) -> None:
        """Images come by a ``transport``, raw or compressed.

        ``receive`` takes every input as it comes, and ``report`` the error of one that cannot be read. Counted are
        those that the pipeline works on, and not what it only remembers for them. ``converters`` say which messages
        inputs other than images and clouds come as. Raises `DataError` where the package of one is missing.
        """
        self._node, self._parameters, self._transport = node, parameters, transport
        self._measurements, self._receive, self._report = measurements, receive, report
        self._converters = converters
        self._logger = node.get_logger()
        self._subscriptions: dict[str, Any] = {}
        self._uncounted = pipeline.optional | pipeline.remembered
        self._heard = {port: inf if port in pipeline.optional else time.monotonic() for port in pipeline.inputs}
        self._refused: dict[str, str] = {}
        for port, kind in pipeline.inputs.items():
            if kind in (Frame, Cloud):
                self._subscribe_sensor(port, kind, parameters.image_reliability)
            else:
                self._subscribe(port, kind)

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def warnings(self) -> list[str]:
        """Why inputs are silent; silence is logged too, at most twice a minute."""
        silence = []
        for port, subscription in self._subscriptions.items():
            silent = time.monotonic() - self._heard[port]
            if silent > PATIENCE:
                count = self._node.count_publishers(subscription.topic_name)
                who = f"it has {count} publishers" if count else "it has no publisher; is the name right?"
                silence.append(f"nothing came on {subscription.topic_name} for {silent:.0f} s: {who}")
        if silence:
            self._logger.warning("; ".join(silence), throttle_duration_sec=30.0)
        return [*self._refused.values(), *silence]

    def _subscribe(self, port: str, kind: type, best_effort: bool = False) -> None:
        converter = self._converters[kind]
        quality = PROFILES[converter.quality]
        self._subscriptions[port] = self._node.create_subscription(
            message_class(converter.type),
            converter.topic or port,
            self._taking(port, converter.read),
            lowered(quality) if best_effort else quality,
            event_callbacks=self._events(port, lambda: self._subscribe(port, kind, best_effort=True)),
        )
        if converter.quality == "latched":
            self._heard[port] = inf  # said once and for all: silence means nothing

    def _subscribe_sensor(self, port: str, kind: type, reliability: str) -> None:
        """Clouds, or images by the transport that was chosen, compressed beside the (remapped) raw topic."""
        topic = self._node.resolve_topic_name(port)
        type_: str
        read: Callable[[Any], Any]
        if kind is Cloud:
            type_, read = CLOUD, lambda data: clouds.read_cloud(parse_cloud(data))
        elif self._transport == "compressed":
            topic, type_ = f"{topic}/compressed", COMPRESSED
            read = lambda data: images.frame(parse_compressed_image(data))  # noqa: E731
        else:
            type_, read = IMAGE, lambda data: images.frame(parse_image(data))
        auto = self._parameters.image_reliability == "auto"
        self._subscriptions[port] = self._node.create_subscription(
            message_class(type_),
            topic,
            self._taking(port, read),
            image_qos(reliability, self._parameters.image_depth),
            event_callbacks=self._events(
                port, (lambda: self._subscribe_sensor(port, kind, "best_effort")) if auto else None
            ),
            raw=True,
        )

    def _events(self, port: str, ask_for_less: Callable[[], None] | None) -> SubscriptionEventCallbacks:
        """What is done where a publisher offers less than a subscription asks for, and where messages were lost."""

        def on_incompatible(event: Any) -> None:
            self._on_incompatible(port, QoSPolicyKind(event.last_policy_kind), ask_for_less)

        def on_lost(event: Any) -> None:
            self._measurements.count("lost_in_transport", event.total_count_change)

        return SubscriptionEventCallbacks(incompatible_qos=on_incompatible, message_lost=on_lost)

    def _taking(self, port: str, read: Callable[[Any], Any]) -> Callable[..., None]:
        """The callback of a subscription, for a message and (not in Humble) what the middleware says about it."""

        def callback(message: Any, info: Mapping[str, int] | None = None) -> None:
            arrived = arrival(info)
            self._heard[port] = max(self._heard[port], time.monotonic())
            self._refused.pop(port, None)  # whoever sends now, fits
            self._measurements.count("received", int(port not in self._uncounted))
            try:
                self._receive(Item(port, read(message), arrived))
            except DataError as error:  # CDR that is cut off
                self._report(error)

        return callback

    def _on_incompatible(self, port: str, policy: QoSPolicyKind, ask_for_less: Callable[[], None] | None) -> None:
        if port not in self._subscriptions:
            return
        topic = self._subscriptions[port].topic_name
        if ask_for_less is not None and policy is QoSPolicyKind.RELIABILITY:
            self._logger.info(f"a publisher of {topic} is best effort: the subscription is best effort from now on")
            self._node.destroy_subscription(self._subscriptions[port])
            ask_for_less()
            return
        self._refused[port] = describe_incompatibility(topic, policy, self._parameters.image_reliability)
        self._logger.warning(self._refused[port])


def arrival(info: Mapping[str, int] | None) -> float:
    """When the middleware had a message whole (monotonic s); now, where it does not say so.

    The middleware tells it by the system's clock, which somebody may set: it is looked at here and never again.
    """
    received = (info or {}).get("received_timestamp")
    return time.monotonic() - (max(0, time.time_ns() - received) / 1e9 if received else 0.0)

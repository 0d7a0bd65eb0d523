"""What goes out: the results of a pipeline as messages, and pictures of them for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from deep_tracking_ros.pipelines.pipeline import Output, Pipeline
from deep_tracking_ros.ros.images import fill_image
from deep_tracking_ros.ros.interfaces import message_class
from deep_tracking_ros.ros.markers import write_markers
from deep_tracking_ros.ros.messages import CONVERTERS, New, new_message, set_stamp, to_message
from deep_tracking_ros.ros.qos import OVERLAY, RESULTS
from deep_tracking_ros.ros.vision_bridge import DETECTIONS, TRACKS
from deep_tracking_ros.types import Frame, TrackedBoxes3D

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from deep_tracking_ros.ros.measurements import Measurements

Writers = dict[str, list[tuple[Any, Callable[[Any, New], Any]]]]
"""Port -> publishers of other messages of the same results, and what writes them."""


class Results:
    """The publishers of all output ports (``~/PORT``) and of the overlay (``~/overlay``, or one for each camera)."""

    def __init__(
        self,
        node: LifecycleNode,
        outputs: Mapping[str, type],
        measurements: Measurements,
        vision_msgs: bool,
        overlay: bool,
    ) -> None:
        """Objects in space are given as markers too (``~/markers``), and with ``vision_msgs`` all as ``~/PORT_vision``.

        Those have no place for another time than that of their header, so they are never moved to the present. Without
        ``overlay`` nothing can be drawn.

        Raises `DataError` where a package of messages that is needed is not installed.
        """
        self._node, self._measurements = node, measurements
        self._publishers = {port: self._publisher(CONVERTERS[kind].type, port) for port, kind in outputs.items()}
        self._moved: Writers = {port: [] for port in outputs}
        self._unmoved: Writers = {port: [] for port in outputs}
        for port, kind in outputs.items():
            if kind is TrackedBoxes3D:
                markers = self._publisher("visualization_msgs/msg/MarkerArray", "markers")
                self._moved[port].append((markers, write_markers))
            if vision_msgs and (bridge := {**DETECTIONS, **TRACKS}.get(kind)):
                self._unmoved[port].append((self._publisher(bridge.type, f"{port}_vision"), bridge.write))
        image = message_class("sensor_msgs/msg/Image")
        topics = {overlay_of(port) for port in outputs} if overlay else set()
        self._overlays = {topic: node.create_lifecycle_publisher(image, f"~/{topic}", OVERLAY) for topic in topics}
        self._drawn = dict.fromkeys(topics, 0.0)  # when the last one was, monotonic s

    def _publisher(self, type_: str, name: str) -> Any:
        return self._node.create_lifecycle_publisher(message_class(type_), f"~/{name}", RESULTS)

    def publish(self, output: Output, pipeline: Pipeline) -> Any:
        """Publish a result, moved to the present where the pipeline predicts; gives the message."""
        now = self._node.get_clock().now().nanoseconds
        began = perf_counter()
        item = pipeline.predict(output, now).item
        message = to_message(item)
        converted = perf_counter()
        self._publishers[output.port].publish(message)
        self._measurements.time(convert=(converted - began) * 1e3, publish=(perf_counter() - converted) * 1e3)
        self._measurements.count("published")
        for writers, of in ((self._moved, item), (self._unmoved, output.item)):
            for publisher, write in writers[output.port]:
                if publisher.get_subscription_count():
                    publisher.publish(write(of, new_message))
        age = self._node.get_clock().now().nanoseconds - output.item.stamp
        self._measurements.time(age_at_publish=age / 1e6)
        return message

    def draw(self, output: Output, frame: Frame, rate: float) -> None:
        """Publish the image with a result drawn on it, where somebody looks and at most ``rate`` times a second."""
        topic = overlay_of(output.port)
        overlay = self._overlays[topic]
        if not overlay.get_subscription_count() or monotonic() - self._drawn[topic] < 1 / rate:
            return
        from deep_tracking_ros.visualization.overlay import draw

        self._drawn[topic] = monotonic()
        began = perf_counter()
        message = fill_image(message_class("sensor_msgs/msg/Image")(), draw(frame.image, output.item))
        set_stamp(message.header.stamp, frame.stamp)
        message.header.frame_id = frame.frame_id
        overlay.publish(message)
        self._measurements.time(overlay=(perf_counter() - began) * 1e3)

    def destroy(self) -> None:
        """End all publishers."""
        writers = (*self._moved.values(), *self._unmoved.values())
        others = [publisher for found in writers for publisher, _ in found]
        for publisher in (*self._publishers.values(), *others, *self._overlays.values()):
            self._node.destroy_lifecycle_publisher(publisher)


def overlay_of(port: str) -> str:
    """Where an output port is drawn: ``front/image/detections`` at ``front/image/overlay``."""
    return "/".join([*port.split("/")[:-1], "overlay"])

"""The doctor's look at inputs that are no images: detections, boxes, clouds, calibration, odometry, transforms."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deep_tracking_ros.errors import DeepTrackingError
from deep_tracking_ros.ros.installation import Finding
from deep_tracking_ros.ros.messages import CONVERTERS
from deep_tracking_ros.ros.vision_bridge import DETECTIONS
from deep_tracking_ros.types import (
    Camera,
    Cloud,
    Detections,
    Detections3D,
    StaticTransforms,
    TrackedBoxes,
    TrackedBoxes3D,
    Transforms,
)

if TYPE_CHECKING:
    from rclpy.node import Node

OLD = 1.0  # s; what is older than this when it arrives is of no use to a live tracker
RATE = 1.0  # Hz; fewer messages than this are as good as none
RESULTS = {CONVERTERS[kind].type for kind in (Detections, TrackedBoxes, Detections3D, TrackedBoxes3D)}
"""Types of what the nodes of this package publish."""
WORK = RESULTS | {CONVERTERS[Cloud].type} | {converter.type for converter in DETECTIONS.values()}
"""Types of inputs from which results follow."""
HINTS = {CONVERTERS[kind].type for kind in (TrackedBoxes, Detections)}
"""Types of inputs that a tracker of single objects can do without."""
KNOWN = WORK | {converter.type for converter in CONVERTERS.values()}
WITHOUT_HEADER = {CONVERTERS[Transforms].type}
WITHOUT_STAMP = {CONVERTERS[Camera].type}
ONCE = CONVERTERS[StaticTransforms].topic


@dataclass
class Heard:
    """What came on a topic while we listened."""

    last: bytes = b""
    count: int = 0
    began: float = 0.0  # monotonic s of the first and of the last message
    ended: float = 0.0
    oldest: float = float("-inf")  # s, greatest and smallest age at arrival
    youngest: float = float("inf")

    @property
    def rate(self) -> float:
        return (self.count - 1) / (self.ended - self.began) if self.count > 1 and self.ended > self.began else 0.0

    def take(self, data: bytes, age: Callable[[bytes], float | None] | None = None) -> None:
        """Note a message; ``age`` (s) tells how old it is, where that is known."""
        self.ended = time.monotonic()
        self.began = self.began or self.ended
        self.count += 1
        self.last = data
        old = None if age is None else age(data)
        if old is not None:
            self.oldest, self.youngest = max(self.oldest, old), min(self.youngest, old)


def inputs_of(node: Node, name: str) -> dict[str, str]:
    """Topic to type of what a node of this package listens to, beside images; empty where it does not (yet)."""
    from rclpy.node import NodeNameNonExistentError

    space, _, base = name.rpartition("/")
    try:
        found = node.get_subscriber_names_and_types_by_node(base, space or "/")
    except NodeNameNonExistentError:  # it has just ended
        return {}
    return {topic: types[0] for topic, types in found if types[0] in KNOWN}


def result_of(node: Node, name: str) -> str:
    """The topic of the results of a node."""
    from rclpy.node import NodeNameNonExistentError

    space, _, base = name.rpartition("/")
    try:
        published = node.get_publisher_names_and_types_by_node(base, space or "/")
    except NodeNameNonExistentError:
        published = []
    own = (topic for topic, types in published if topic.startswith(f"{name}/") and types[0] in RESULTS)
    return next(own, f"{name}/boxes")


def images_but_overlays(node: Node) -> dict[str, str]:
    """Topic to type of the images that are published; not a node's picture of its own results (``~/overlay``)."""
    from deep_tracking_ros.ros.bags import COMPRESSED, IMAGE

    found = {}
    for topic, types in node.get_topic_names_and_types():
        offers = node.get_publishers_info_by_topic(topic)
        overlay = topic.removesuffix("/compressed").endswith("/overlay") and any(
            topic.startswith(f"{offer.node_namespace.rstrip('/')}/{offer.node_name}/") for offer in offers
        )
        if offers and types[0] in (IMAGE, COMPRESSED) and not overlay:
            found[topic] = types[0]
    return found


def connected(node: Node, inputs: Mapping[str, str]) -> bool:
    """Whether somebody publishes on all of these topics, and all publishers are known by name."""
    ends = [node.get_publishers_info_by_topic(topic) for topic in inputs]
    return all(offers and not any("UNKNOWN" in offer.node_name for offer in offers) for offers in ends)


def links(node: Node, name: str, inputs: Mapping[str, str], optional: Collection[str]) -> Iterator[Finding]:
    """Who publishes each input, and whether it passes. Of the types ``optional`` nothing need be published."""
    for topic, type_ in inputs.items():
        offers = node.get_publishers_info_by_topic(topic)
        if not offers and type_ in optional:
            continue
        if not offers:
            same = [n for n, types in node.get_topic_names_and_types() if type_ in types and n != topic]
            same = [n for n in same if not n.startswith(f"{name}/")]  # its own results
            there = ", ".join(sorted(n for n in same if node.get_publishers_info_by_topic(n)))
            advice = "start what publishes it" + (", or start the node with one of these topics" if there else "")
            yield Finding(
                "input", f"nobody publishes {topic}; published topics of {type_} are {there or 'none'}", advice
            )
        for offer in offers:
            yield _link(node, name, topic, type_, offer)


def _link(node: Node, name: str, topic: str, type_: str, offer: Any) -> Finding:
    from rclpy.qos import QoSCompatibility, qos_check_compatible

    who = f"{offer.node_namespace.rstrip('/')}/{offer.node_name}"
    text = f"{topic}: {offer.topic_type} from {who}"
    if offer.topic_type != type_:
        return Finding("input", f"{text}, but {name} wants {type_}", f"name a topic of type {type_}")
    space, _, base = name.rpartition("/")
    for ask in node.get_subscriptions_info_by_topic(topic):
        if (ask.node_name, ask.node_namespace.rstrip("/")) != (base, space):
            continue
        state, reason = qos_check_compatible(offer.qos_profile, ask.qos_profile)
        if state == QoSCompatibility.ERROR:
            words = f"offered {quality(offer.qos_profile)}; asked {quality(ask.qos_profile)}: nothing passes"
            return Finding("input", f"{text}, {words}", f"let {who} offer what is asked: {reason}")
    return Finding("input", text)


def quality(qos: Any) -> str:
    """Reliability and durability in words."""
    return f"{qos.reliability.name.lower()}, {qos.durability.name.lower()}"


def traffic(topic: str, type_: str, heard: Heard) -> Iterator[Finding]:
    """What came on an input that is published."""
    if not heard.count:
        silent = "the publisher is there but silent: look at it"
        yield Finding("input", f"nothing came on {topic}", "" if topic == ONCE else silent)
        return
    steady = type_ in WORK
    slow = f"that is slower than {RATE:g} Hz: look at what publishes it, or the network" if steady else ""
    text = f"{topic}: {heard.rate:.1f} messages per second{_frame(type_, heard.last)}"
    yield Finding("input", text, slow if heard.rate < RATE else "")
    yield from age(heard, topic)


def age(heard: Heard, topic: str = "") -> Iterator[Finding]:
    """How old messages were when they arrived, where that is known."""
    if heard.youngest == float("inf"):
        return
    text = f"{heard.youngest * 1e3:.0f} to {heard.oldest * 1e3:.0f} ms old when they arrive"
    advice = ""
    if heard.youngest > OLD:  # all of them: one may be late by itself
        advice = (
            "the stamps are old: set the clock of the machine they come from (chrony), or play the bag with its clock"
        )
    if heard.oldest < -0.1:
        advice = "the stamps lie in the future: set the clocks of both machines (chrony)"
    yield Finding("age", f"{topic}: {text}" if topic else text, advice)


def _frame(type_: str, data: bytes) -> str:
    """The frame id of a message in words; empty where it has none."""
    from deep_tracking_ros.ros import interfaces

    if type_ in WITHOUT_HEADER:
        return ""
    try:
        return f", frame {interfaces.deserialize(data, type_).header.frame_id!r}"
    except DeepTrackingError:  # a type that is not known here
        return ""

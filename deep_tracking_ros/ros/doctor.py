"""Why does no output come? Looks at a live graph, and says what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from deep_tracking_ros.errors import DeepTrackingError
from deep_tracking_ros.pipelines.registry import find_pipeline
from deep_tracking_ros.ros import doctor_inputs
from deep_tracking_ros.ros.doctor_inputs import HINTS, RATE, WITHOUT_HEADER, WITHOUT_STAMP, WORK, Heard, quality
from deep_tracking_ros.ros.installation import Finding
from deep_tracking_ros.ros.launches import CAMERA
from deep_tracking_ros.ros.nodes import NODES
from deep_tracking_ros.types import Frame, seconds

if TYPE_CHECKING:
    from rclpy.node import Node

DISCOVERY = 3.0  # s; to wait at most for camera and tracker to show up


def graph(node: Node, topic: str, tracker: str, listen: float = 3.0) -> Iterator[Finding]:
    """The way from sensor to boxes, link by link: publishers, QoS, images and other inputs, clock, node, results.

    Without ``tracker`` all nodes that are there are looked at, without ``topic`` the images that each listens to.
    ``listen`` (s) is how long.
    """
    from deep_tracking_ros.ros.client import spin_until

    topic, tracker = _absolute(topic), _absolute(tracker)

    def discovered() -> bool:
        """Everything that a graph has which is well; one part after the other comes to be known."""
        names = [t for t in _trackers(node, tracker) if _exists(node, t)]
        return bool(names) and all(_connected(node, t, topic) for t in names)

    spin_until(node, discovered, DISCOVERY)
    present = [t for t in _trackers(node, tracker) if _exists(node, t)]
    for name in present:
        yield Finding("tracker", f"{name} is there")
        yield from _link(node, _images_of(node, name, topic), name, listen)
    if not present:
        nodes = [f"{space.rstrip('/')}/{name}" for name, space in node.get_node_names_and_namespaces()]
        others = ", ".join(sorted(n for n in nodes if n != node.get_fully_qualified_name())) or "none"
        what = f"there is no node {tracker}" if tracker else "there is no tracker"
        advice = "start it (deep-tracking run tracker), or name it with --node; same ROS_DOMAIN_ID on both sides?"
        yield Finding("tracker", f"{what}; nodes are {others}", advice)
        yield from _link(node, topic or CAMERA, "", listen)


def _link(node: Node, topic: str, tracker: str, listen: float) -> Iterator[Finding]:
    """From images (raw or compressed, empty = none) and other inputs to the results of a node (empty = none)."""
    chosen = ""
    if topic:
        published = [t for t in _stream(topic) if node.get_publishers_info_by_topic(t)]
        asked = [t for t in _stream(topic) if tracker and t in _listens(node, tracker)]
        chosen = next((t for t in published if t in asked), next(iter(published), topic))
        yield from _topic(node, chosen)
        if asked and published and chosen not in asked:
            transport = "compressed" if chosen.endswith("/compressed") else "raw"
            text = f"{tracker} listens to {asked[0]}, but only {chosen} is published"
            yield Finding("transport", text, f"start it with image_transport:={transport}")
        elif tracker:
            yield from _subscription(node, chosen, tracker)
    others = doctor_inputs.inputs_of(node, tracker) if tracker else {}
    if not (topic or others):
        yield Finding("subscription", f"{tracker} listens to nothing", "activate it (ros2 lifecycle set)")
    yield from doctor_inputs.links(node, tracker, others, HINTS if tracker in _offering_targets(node) else ())
    yield from _traffic(node, chosen, others, tracker, listen)
    if tracker:
        yield from _state(node, tracker)


def _absolute(name: str) -> str:
    return "/" + name.strip("/") if name else ""


def _stream(topic: str) -> tuple[str, str]:
    """The topics of one stream of images: raw and compressed."""
    base = topic.removesuffix("/compressed")
    return base, f"{base}/compressed"


def _exists(node: Node, name: str) -> bool:
    return any(f"{space.rstrip('/')}/{base}" == name for base, space in node.get_node_names_and_namespaces())


def _trackers(node: Node, given: str) -> list[str]:
    """The node that is meant; else those that offer ``SetTarget``, or have a default name (unconfigured yet)."""
    if given:
        return [given]
    every = node.get_node_names_and_namespaces()
    named = {f"{space.rstrip('/')}/{base}" for base, space in every if base in NODES and NODES[base].pipeline}
    return sorted(_offering_targets(node) | named)


def _offering_targets(node: Node) -> set[str]:
    """Trackers of single objects, whatever their names are."""
    service = "deep_tracking_ros/srv/SetTarget"
    return {n.rpartition("/")[0] for n, types in node.get_service_names_and_types() if service in types}


def _listens(node: Node, tracker: str) -> list[str]:
    """Topics of images that a node subscribes to."""
    from rclpy.node import NodeNameNonExistentError

    from deep_tracking_ros.ros.bags import COMPRESSED, IMAGE

    space, _, name = tracker.rpartition("/")
    try:
        found = node.get_subscriber_names_and_types_by_node(name, space or "/")
    except NodeNameNonExistentError:  # it has just ended
        return []
    return [topic for topic, types in found if types[0] in (IMAGE, COMPRESSED)]


def _images_of(node: Node, tracker: str, given: str) -> str:
    """The topic of images that is meant; else what the node listens to; empty where it takes no images."""
    listens = _listens(node, tracker)
    description = NODES.get(tracker.rpartition("/")[2])
    if not listens and description is not None and description.pipeline:
        if next(iter(find_pipeline(description.pipeline).inputs.values())) is not Frame:
            return ""
    elif not listens and doctor_inputs.inputs_of(node, tracker):
        return ""
    return given or next(iter(listens), CAMERA)


def _connected(node: Node, tracker: str, given: str) -> bool:
    """Whether somebody publishes what the node listens to, and all of them are known by name."""
    topic = _images_of(node, tracker, given)
    if not topic:
        others = doctor_inputs.inputs_of(node, tracker)
        return bool(others) and doctor_inputs.connected(node, others)
    ends = [
        (node.get_publishers_info_by_topic(t), node.get_subscriptions_info_by_topic(t))
        for t in _stream(topic)
        if t in _listens(node, tracker)
    ]
    return any(offers and asks and not any("UNKNOWN" in e.node_name for e in (*offers, *asks)) for offers, asks in ends)


def _topic(node: Node, topic: str) -> Iterator[Finding]:
    from deep_tracking_ros.ros.bags import COMPRESSED, IMAGE

    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        published = [f"{name} ({type_})" for name, type_ in doctor_inputs.images_but_overlays(node).items()]
        there = ", ".join(published) or "none"
        advice = "no camera publishes; start its driver"
        if published:
            advice = "start the tracker with image:= one of these topics (without /compressed)"
        yield Finding("topic", f"nobody publishes {topic}; published topics of images are {there}", advice)
        return
    types = sorted({p.topic_type for p in publishers})
    who = ", ".join(sorted({f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in publishers}))
    good = [t for t in types if t in (IMAGE, COMPRESSED)]
    wrong = "" if good and len(types) == 1 else f"name a topic of type {IMAGE} or {COMPRESSED}"
    yield Finding("topic", f"{topic}: {', '.join(types)} from {who}", wrong)


def _subscription(node: Node, topic: str, tracker: str) -> Iterator[Finding]:
    """Does the tracker listen to this topic, and does what it asks fit to what is offered?"""
    from rclpy.qos import DurabilityPolicy, QoSCompatibility, ReliabilityPolicy, qos_check_compatible

    space, _, name = tracker.rpartition("/")
    mine = [
        s
        for s in node.get_subscriptions_info_by_topic(topic)
        if s.node_name == name and s.node_namespace.rstrip("/") == space
    ]
    if not mine:
        text = (
            f"{tracker} does not listen to {topic}; it listens to {', '.join(_listens(node, tracker)) or 'no images'}"
        )
        image = f"image:={_stream(topic)[0]}" + (" image_transport:=compressed" if topic == _stream(topic)[1] else "")
        yield Finding("subscription", text, f"activate it (ros2 lifecycle set), or start it with {image}")
        return
    for offer in node.get_publishers_info_by_topic(topic):
        ask, give = mine[0].qos_profile, offer.qos_profile
        state, reason = qos_check_compatible(give, ask)
        text = f"offered {quality(give)}; asked {quality(ask)}"
        if state != QoSCompatibility.ERROR and mine[0].topic_type == offer.topic_type:
            yield Finding("QoS", text)
            continue
        advice = []
        if mine[0].topic_type != offer.topic_type:
            text += f"; the tracker wants {mine[0].topic_type}, this is {offer.topic_type}"
            advice.append("raw images must be on a topic NAME, compressed ones on NAME/compressed: remap the camera's")
        if ask.reliability == ReliabilityPolicy.RELIABLE != give.reliability:
            advice.append("set the tracker's parameter image_reliability to best_effort")
        if ask.durability == DurabilityPolicy.TRANSIENT_LOCAL != give.durability:
            advice.append("ask for volatile durability")
        yield Finding("QoS", f"{text}: nothing passes", "; ".join(advice) or f"change one side: {reason}")


def _traffic(node: Node, topic: str, others: dict[str, str], tracker: str, listen: float) -> Iterator[Finding]:
    """Listen for a while: images, other inputs, clock, results and diagnostics."""
    from deep_tracking_ros.ros import bags, interfaces
    from deep_tracking_ros.ros.client import matching_qos, published_type, spin_until
    from deep_tracking_ros.ros.interfaces import message_class

    clock = {"now": 0}  # ns, of /clock
    images, boxes, clocks, diagnostics = Heard(), Heard(), Heard(), Heard()
    inputs = {name: Heard() for name in others}
    result = doctor_inputs.result_of(node, tracker) if tracker else ""
    reports: dict[str, Any] = {}

    def on_clock(data: bytes) -> None:
        clocks.take(data)
        time_ = interfaces.deserialize(data, "rosgraph_msgs/msg/Clock").clock
        clock["now"] = time_.sec * 10**9 + time_.nanosec

    def age(data: bytes) -> float | None:
        now = clock["now"] if node.count_publishers("/clock") else time.time_ns()
        return seconds(now - bags.parse_stamp(data)) if now else None

    def on_diagnostics(data: bytes) -> None:
        diagnostics.take(data)
        for status in interfaces.deserialize(data, "diagnostic_msgs/msg/DiagnosticArray").status:
            reports[status.name] = status

    def hear(heard: Heard, stamped: bool) -> Callable[[bytes], None]:
        return lambda data: heard.take(data, age if stamped else None)

    waiting: dict[str, Callable[[bytes], None]] = {
        "/clock": on_clock,
        "/diagnostics": on_diagnostics,
        **({result: hear(boxes, False)} if result else {}),
        **{name: hear(inputs[name], type_ not in WITHOUT_HEADER | WITHOUT_STAMP) for name, type_ in others.items()},
        **({topic: hear(images, True)} if topic else {}),
    }
    types: dict[str, str] = {}

    def subscribe() -> None:
        """To what is published by now; some of it may become known only while we listen."""
        for name in [n for n in waiting if node.get_publishers_info_by_topic(n)]:
            callback = waiting.pop(name)
            types[name] = published_type(node, name)
            with suppress(DeepTrackingError):  # a type that is not built here
                kind = message_class(types[name])
                node.create_subscription(kind, name, callback, matching_qos(node, name), raw=True)

    spin_until(node, subscribe, listen)
    # on a busy machine the first comes late
    spin_until(node, lambda: images.count > 1 or not topic or topic in waiting, listen)
    clocked, type_ = "/clock" in types, types.get(topic, "")

    if clocked:
        fine = clocks.count > 0
        text = f"/clock at {clocks.rate:.0f} Hz, time {seconds(clock['now']):.3f} s"
        yield Finding(
            "clock", text, "" if fine else "/clock has a publisher but stands still: start the bag or simulation"
        )
    if tracker:
        simulated = bool(_parameter(node, tracker, "use_sim_time"))
        if simulated and not clocked:
            yield Finding(
                "clock", f"{tracker} has use_sim_time, but nobody publishes /clock",
                "start the tracker with use_sim_time:=false, or play the bag with its clock",
            )  # fmt: skip
        if clocked and not simulated:
            yield Finding(
                "clock", f"/clock is published, but {tracker} follows the wall clock",
                "start the tracker with use_sim_time:=true",
            )  # fmt: skip
    if type_ in (bags.IMAGE, bags.COMPRESSED):
        yield from _images(topic, type_, images)
    for name in [name for name in others if types.get(name) == others[name]]:
        yield from doctor_inputs.traffic(name, others[name], inputs[name])
    if tracker:
        hints = HINTS if topic else set()
        fed = images.count or any(h.count for n, h in inputs.items() if others[n] in WORK - hints)
        text = f"{result} at {boxes.rate:.1f} Hz" if boxes.count else f"nothing on {result}"
        look = (
            "see the node's state, QoS and diagnostics here"
            if fed
            else "nothing comes in; mend the node's inputs first"
        )
        yield Finding("results", text, "" if boxes.count else look)
        yield from _diagnostics(reports, tracker)


def _images(topic: str, type_: str, heard: Heard) -> Iterator[Finding]:
    from deep_tracking_ros.ros import bags, images

    if not heard.count:
        yield Finding("images", f"no image came on {topic}", "the publisher is there but silent: look at the camera")
        return
    slow = f"the tracker needs at least {RATE:g} Hz: look at the camera or the network" if heard.rate < RATE else ""
    yield Finding("rate", f"{heard.rate:.1f} images per second", slow)
    yield from doctor_inputs.age(heard)
    try:
        message = (bags.parse_image if type_ == bags.IMAGE else bags.parse_compressed_image)(heard.last)
        if type_ == bags.IMAGE:
            text = f"{message.width}x{message.height} {message.encoding}, step {message.step}"
        else:
            text = f"{message.format!r}, {len(message.data)} bytes"
        frame = images.frame(message)
        text += f", frame {message.header.frame_id!r}"
        if not frame.image.size:
            raise ValueError("it is empty")
        yield Finding("image", text)
    except (DeepTrackingError, ValueError) as error:
        yield Finding(
            "image", str(error), "the driver must send images whose size, step, encoding and data fit together"
        )


def _parameter(node: Node, tracker: str, name: str) -> Any:
    from rcl_interfaces.srv import GetParameters
    from rclpy.parameter import parameter_value_to_python

    from deep_tracking_ros.ros.client import call

    try:
        answer = call(node, GetParameters, f"{tracker}/get_parameters", GetParameters.Request(names=[name]), 2.0)
        return parameter_value_to_python(answer.values[0])
    except (DeepTrackingError, IndexError):
        return None


def _state(node: Node, tracker: str) -> Iterator[Finding]:
    from lifecycle_msgs.srv import GetState

    from deep_tracking_ros.ros.client import call

    try:
        state = call(node, GetState, f"{tracker}/get_state", GetState.Request(), 2.0).current_state.label
    except DeepTrackingError as error:
        yield Finding("state", str(error), "the node hangs or is no tracker of this package: look at its log")
        return
    advice = (
        "" if state == "active" else "start it with autostart:=true, or `ros2 lifecycle set` configure and activate"
    )
    yield Finding("state", f"{tracker} is {state}", advice)


def _diagnostics(reports: dict[str, Any], tracker: str) -> Iterator[Finding]:
    mine = [s for name, s in reports.items() if name == tracker.strip("/")]
    if not mine:
        yield Finding("diagnostics", f"nothing about {tracker} on /diagnostics")
    for status in mine:
        level = int(status.level)
        values = ", ".join(f"{v.key} {v.value}" for v in status.values)
        advice = f"{tracker} reports: {status.message}" if level else ""
        yield Finding("diagnostics", f"{status.message} ({values})", advice)

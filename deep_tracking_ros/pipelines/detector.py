"""Find objects in the images of one or several cameras: by a network that the user names, or by their motion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from deep_tracking_ros.detection.appearance import Appearance, make_appearance
from deep_tracking_ros.detection.detector import Detector, Filter
from deep_tracking_ros.detection.found import Found, as_detections
from deep_tracking_ros.detection.motion import LABEL, MotionProposals
from deep_tracking_ros.detection.registry import make_detector
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.inference.engine import Engine
from deep_tracking_ros.parameters import parameter
from deep_tracking_ros.pipelines import timing
from deep_tracking_ros.pipelines.pipeline import Output, Pipeline
from deep_tracking_ros.pipelines.turns import Turns
from deep_tracking_ros.types import Detections, FloatArray, Frame

MOTION = "motion"
"""In the place of a model: what moves against the camera."""


@dataclass(frozen=True)
class DetectorParameters:
    """Parameters of `DetectorPipeline`."""

    model: str = parameter(
        MOTION,
        "Path of an ONNX file of the YOLO or NanoDet families; motion = no network, boxes of what moves against the "
        "camera.",
    )
    card: str = parameter(
        "",
        "Path of the YAML card that says what the file does not; empty = the one of its name beside it, if any.",
    )
    score: float = parameter(
        0.1,
        "Least score. Trackers use weak detections too; raise it to look at detections alone.",
        minimum=0,
        maximum=1,
    )
    overlap: float = parameter(
        0.45, "Greatest intersection over union of two boxes of a class; the better one stays.", minimum=0, maximum=1
    )
    classes: str = parameter("", "Classes to be given, such as person,car; empty = all.")
    most: int = parameter(300, "Most detections of an image; the best are given.", minimum=1, maximum=1000)
    appearance_model: str = parameter(
        "", "Path of an ONNX file that gives crops an embedding, by which trackers know objects again; empty = none."
    )
    backend: str = parameter(
        "auto",
        "What runs the networks; auto takes tensorrt if it works here, else onnxruntime.",
        choices=("auto", "tensorrt", "onnxruntime"),
    )
    precision: str = parameter(
        "fp32", "Number type of the networks; the smaller ones need a GPU.", choices=("fp32", "fp16", "bf16")
    )
    threads: int = parameter(
        0, "CPU threads of the networks; 0 = as many as the backend likes.", minimum=0, maximum=1024
    )
    cameras: str = parameter(
        "",
        "Topics of the images of several cameras, such as front/image,rear/image: their newest images go through the "
        "network together, and each has its results at ~/TOPIC/detections. Empty = one camera, image and ~/detections.",
    )
    reorder_tolerance: float = timing.reorder_tolerance("An image")
    max_gap: float = timing.max_gap("images")


@dataclass(eq=False)
class _Camera:
    """What belongs to one stream of images."""

    output: str  # port
    turns: Turns[Frame]
    motion: MotionProposals = field(default_factory=MotionProposals)


class DetectorPipeline(Pipeline):
    """Images in, detections out: one `Detections` per image, also where nothing was found.

    With ``cameras`` each topic is a port of its own, and so is each result. Images that wait at the same time go
    through the network in one call (`step_together`); beyond that cameras share nothing.

    Duplicates and late images are counted and give nothing. A time jump matters to motion alone, which begins anew.
    """

    name = "detector"
    Parameters = DetectorParameters
    inputs: ClassVar[Mapping[str, type]] = {"image": Frame}
    outputs: ClassVar[Mapping[str, type]] = {"detections": Detections}
    commands: ClassVar[Mapping[str, type]] = {}

    def __init__(
        self,
        parameters: DetectorParameters,
        detector: Detector | None = None,
        appearance: Appearance | None = None,
    ) -> None:
        """``detector`` None = by motion. Raises `InvalidRequestError` for topics that are no names or named twice."""
        self.parameters: DetectorParameters = parameters
        self.detector, self.appearance = detector, appearance
        topics = ports_of(parameters.cameras)
        limits = (0.0, parameters.reorder_tolerance, parameters.max_gap)
        self._cameras = {port: _Camera(output, Turns(*limits)) for port, output in topics.items()}
        self.inputs = dict.fromkeys(topics, Frame)  # type: ignore[misc]  # those of this one
        self.outputs = dict.fromkeys(topics.values(), Detections)  # type: ignore[misc]
        self.together = len(topics) > 1
        self._frames = self._found = 0

    @classmethod
    def make(cls, parameters: Any, log: Callable[[str], None] | None = None) -> DetectorPipeline:
        """See `Pipeline.make`."""
        p: DetectorParameters = parameters
        common = (p.backend, p.precision, p.threads)
        wanted = Filter(p.score, p.overlap, tuple(names(p.classes)), p.most)
        ports_of(p.cameras)  # what is wrong with it is told before a network is loaded
        if p.model == MOTION:
            if wanted.classes not in ((), (LABEL,)):
                raise InvalidRequestError(f"classes is {p.classes!r}, but motion knows no class but {LABEL}")
            detector = None
        else:
            detector = make_detector(p.model, p.card, *common, wanted=wanted, log=log)
        try:
            appearance = make_appearance(p.appearance_model, *common, log=log) if p.appearance_model else None
            return cls(p, detector, appearance)
        except Exception:
            if detector is not None:
                detector.close()
            raise

    def step(self, port: str, item: Any) -> Iterable[Output]:
        """Take an image."""
        return self.step_together([(port, item)])[0]

    def step_together(self, inputs: Sequence[tuple[str, Any]]) -> list[tuple[Output, ...]]:
        """Take images of different cameras: one call of each network for all of them."""
        images = [frame.image for _, frame in inputs]  # one that cannot be decoded raises before anything changes
        results: list[tuple[Output, ...]] = [()] * len(inputs)
        due = []
        for row, (port, frame) in enumerate(inputs):
            for turn in self._cameras[port].turns.take(frame):
                if turn.jump:
                    self._cameras[port].motion.reset()
                due.append(row)
        if not due:
            return results
        found = self._find([(inputs[row][0], inputs[row][1], images[row]) for row in due])
        looks: list[FloatArray | None] = [None] * len(due)
        if self.appearance is not None:
            looks[:] = self.appearance.embed([images[row] for row in due], [f.boxes for f in found])
        label = self.detector.label if self.detector is not None else lambda kind: LABEL
        for row, of_image, look in zip(due, found, looks, strict=True):
            port, frame = inputs[row]
            item = as_detections(of_image, label, frame.stamp, frame.frame_id, look)
            results[row] = (Output(self._cameras[port].output, item),)
            self._frames += 1
            self._found += len(of_image)
        return results

    def reset(self, reason: str) -> None:
        """As after a time jump of all cameras."""
        for camera in self._cameras.values():
            camera.turns.reset()
            camera.motion.reset()

    @property
    def engines(self) -> tuple[Engine, ...]:
        """See `Pipeline.engines`."""
        return tuple(part.engine for part in (self.detector, self.appearance) if part is not None)

    def status(self) -> Mapping[str, str | int | float]:
        """Counts; may be called from another thread."""
        each = [camera.turns.status() for camera in self._cameras.values()]
        counts = {name: sum(int(status[name]) for status in each) for name in ("duplicates", "late", "jumps")}
        running = {}
        if self.detector is not None:
            engine = self.detector.engine
            running = {"layout": self.detector.reading.family.name, "backend": engine.backend,
                       "precision": engine.precision, "backend_reason": engine.reason}  # fmt: skip
        per_image = round(self._found / max(self._frames, 1), 2)
        return {"model": self.parameters.model, **running, "cameras": len(self._cameras), "frames": self._frames,
                "detections_per_image": per_image, **counts}  # fmt: skip

    def close(self) -> None:
        """Free the networks."""
        for part in (self.detector, self.appearance):
            if part is not None:
                part.close()

    def _find(self, frames: Sequence[tuple[str, Frame, Any]]) -> list[Found]:
        if self.detector is not None:
            return self.detector.detect([image for _, _, image in frames])
        p = self.parameters
        return [
            self._cameras[port].motion.step(image, frame.stamp, p.score, p.overlap, p.most)
            for port, frame, image in frames
        ]


def names(text: str) -> list[str]:
    """The parts of a list with commas, without spaces around them."""
    return [part.strip() for part in text.split(",") if part.strip()]


def ports_of(cameras: str) -> dict[str, str]:
    """Input port to output port of each camera. Raises `InvalidRequestError` for topics that cannot be."""
    topics = names(cameras)
    if not topics:
        return {"image": "detections"}
    ports = {topic: f"{topic.strip('/')}/detections" for topic in topics}
    if len(ports) < len(topics) or len(set(ports.values())) < len(topics):
        raise InvalidRequestError(f"cameras is {cameras!r}; it names a topic twice")
    for topic in topics:
        if not all(part.replace("_", "a").isalnum() and not part[0].isdigit() for part in topic.strip("/").split("/")):
            raise InvalidRequestError(
                f"cameras is {cameras!r}; {topic!r} is no topic: names of letters, digits and _ with / between them"
            )
    return ports

"""A detector and the tracker of its detections in one, for recordings: live they are two nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from deep_tracking_ros.inference.engine import Engine
from deep_tracking_ros.pipelines.detector import DetectorPipeline
from deep_tracking_ros.pipelines.multi_object import MultiObjectParameters, MultiObjectPipeline
from deep_tracking_ros.pipelines.pipeline import Memory, Output, Pipeline, Reply
from deep_tracking_ros.types import Frame, TrackedBoxes


class DetectAndTrackPipeline(Pipeline):
    """Images in, boxes with ids out: what the nodes `detector` and `multi_object_tracker` give one after the other."""

    name = MultiObjectPipeline.name
    Parameters = MultiObjectParameters
    inputs: ClassVar[Mapping[str, type]] = {"image": Frame}
    outputs: ClassVar[Mapping[str, type]] = MultiObjectPipeline.outputs
    commands: ClassVar[Mapping[str, type]] = {}

    def __init__(self, detector: DetectorPipeline, tracker: MultiObjectPipeline) -> None:
        """Both must be new; they are closed with this one. The detector has one camera."""
        self.detector, self.tracker = detector, tracker
        self.parameters = tracker.parameters
        self._model = Path(detector.parameters.model).name

    @classmethod
    def make(cls, parameters: Any, log: Callable[[str], None] | None = None) -> DetectAndTrackPipeline:
        """``parameters``: those of the detector and those of the tracker; see `Pipeline.make`."""
        of_detector, of_tracker = parameters
        tracker = MultiObjectPipeline.make(of_tracker, log)  # whose parameters are quickly checked
        return cls(DetectorPipeline.make(of_detector, log), tracker)

    def remember(self, port: str, item: Any) -> None:
        """Keep an image for the camera's motion, where the tracker wants it."""
        self.tracker.remember(port, item)

    def step(self, port: str, item: Any) -> Iterator[Output]:
        """Take an image."""
        height, width = item.image.shape[:2]
        for found in self.detector.step(port, item):
            for output in self.tracker.step("detections", found.item):
                boxes: TrackedBoxes = output.item
                yield Output(output.port, replace(boxes, width=width, height=height, model=self._model))

    def command(self, request: Any) -> Reply:
        """There are no commands."""
        return self.tracker.command(request)

    def reset(self, reason: str) -> None:
        """See `Pipeline.reset`."""
        self.detector.reset(reason)
        self.tracker.reset(reason)

    def predict(self, output: Output, stamp: int) -> Output:
        """See `MultiObjectPipeline.predict`."""
        return self.tracker.predict(output, stamp)

    def memory(self) -> Memory:
        """See `Pipeline.memory`."""
        return self.tracker.memory()

    def resume(self, memory: Memory) -> None:
        """See `Pipeline.resume`."""
        self.tracker.resume(memory)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Those of the detector."""
        return self.detector.engines

    def status(self) -> Mapping[str, str | int | float]:
        """That of the tracker, with what the detector runs on."""
        detector = self.detector.status()
        running = {name: detector[name] for name in ("model", "layout", "backend", "precision") if name in detector}
        return {**self.tracker.status(), **running}

    def warnings(self) -> tuple[str, ...]:
        """Those of both."""
        return (*self.detector.warnings(), *self.tracker.warnings())

    def close(self) -> None:
        """Free the networks."""
        self.detector.close()
        self.tracker.close()

"""Every object that a detector finds in real pictures gets an id and keeps it: no operator, and no ROS either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from deep_tracking_ros.pipelines.detect_and_track import DetectAndTrackPipeline
from deep_tracking_ros.pipelines.detector import MOTION, DetectorParameters
from deep_tracking_ros.pipelines.multi_object import MultiObjectParameters
from deep_tracking_ros.pipelines.replay import replay
from deep_tracking_ros.pipelines.sources import read_video
from deep_tracking_ros.ros.demo import PICTURE, enlarged, sample_clips
from deep_tracking_ros.types import Frame, State, TrackedBoxes, nanoseconds
from deep_tracking_ros.visualization.overlay import draw
from deep_tracking_ros.visualization.video import VideoWriter

CUTS = (30, 76, 137, 187, 242)
"""Frames of the sample clip bikes.mp4 at which another shot begins; the first shot, a roof from above, is left out."""
PAUSE = 10.0
"""Between two shots, s: for the tracker a time jump, after which nothing is joined to what was before."""


@dataclass
class Followed:
    """What came out."""

    frames: int = 0
    ids: set[int] = field(default_factory=set)
    states: Counter[State] = field(default_factory=Counter)


def sample_shots() -> Iterator[Frame]:
    """The shots of a sample clip, with a pause in the stamps at each cut. Raises `DataError` as `sample_clips` does."""
    for number, frame in enumerate(read_video(sample_clips()[0].path)):
        if shot := int(np.searchsorted(CUTS, number, side="right")):
            yield Frame(frame.image, frame.stamp + shot * nanoseconds(PAUSE), frame.frame_id)


def make_chain(detector: str, log: Callable[[str], None]) -> DetectAndTrackPipeline:
    """A detector (path of an ONNX file, or motion) with a tracker behind it, for scores as small networks give them.

    Raises what `DetectorPipeline.make` raises.
    """
    high, start = (0.5, 0.6) if detector == MOTION else (0.35, 0.4)
    tracker = MultiObjectParameters(high_score=high, start_score=start, memory=0.5, overlap=0.1)
    return DetectAndTrackPipeline.make((DetectorParameters(model=detector), tracker), log)


def follow(frames: Iterable[Frame], machine: DetectAndTrackPipeline, video: Path, tick: Callable[[], None]) -> Followed:
    """Take a pipeline through frames, and draw into a video what is seen; lost objects are left out."""
    import cv2

    seen = Followed()
    with VideoWriter(video, fps=25) as writer:
        for step in replay(machine, frames):
            for output in step.outputs:
                item: TrackedBoxes = output.item
                shown = replace(item, boxes=tuple(box for box in item.boxes if box.state is not State.LOST))
                seen.frames += 1
                seen.ids |= {box.id for box in shown.boxes if box.state is State.CONFIRMED}
                seen.states.update(box.state for box in item.boxes)
                scale = PICTURE[0] / item.width
                size = (PICTURE[0], round(item.height * scale))
                larger = np.asarray(cv2.resize(step.frame.image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
                writer.write(draw(larger, enlarged(shown, scale)), step.frame.stamp)
            tick()
    return seen

"""Find road users in the sweeps of a lidar without a trained detector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from deep_tracking_ros.detection.lidar import LidarDetector, LidarSettings
from deep_tracking_ros.detection.parts.clusters import BACKENDS
from deep_tracking_ros.detection.parts.ground import GroundSettings
from deep_tracking_ros.detection.parts.shapes import SHAPES
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.geometry.poses import poses_of
from deep_tracking_ros.parameters import parameter, part
from deep_tracking_ros.pipelines import timing
from deep_tracking_ros.pipelines.pipeline import Output, Pipeline
from deep_tracking_ros.pipelines.turns import Turns
from deep_tracking_ros.types import Cloud, Detection3D, Detections3D


@dataclass(frozen=True)
class LidarProposalsParameters:
    """Parameters of `LidarProposalsPipeline`."""

    classes: str = parameter("", "Classes to be given, such as car,pedestrian; empty = all.")
    least_score: float = parameter(0.2, "Proposals of less probability than this are not given.", minimum=0, maximum=1)
    nearest: float = parameter(
        2.0, "Points nearer to the sensor than this are of its own vehicle.", unit="m", minimum=0.01, maximum=100
    )
    furthest: float = parameter(
        80.0, "Points further from the sensor than this are not looked at.", unit="m", minimum=1, maximum=500
    )
    clearance: float = parameter(
        0.2, "Points of objects are this far above the ground.", unit="m", minimum=0.01, maximum=2
    )
    ceiling: float = parameter(
        4.5, "Points higher above the ground than this are not of objects.", unit="m", minimum=0.5, maximum=20
    )
    steepest: float = parameter(0.25, "The ground rises by no more than this.", unit="m/m", minimum=0, maximum=1)
    reach: float = parameter(
        0.4, "Points this near to each other are of one object.", unit="m", minimum=0.05, maximum=5
    )
    reach_growth: float = parameter(
        0.008, "How much that grows with the distance from the sensor.", unit="m/m", minimum=0, maximum=0.1
    )
    fewest: int = parameter(6, "Points that make a proposal.", unit="points", minimum=1, maximum=1000)
    clustering: str = parameter(
        "scipy", "Library that groups points; open3d needs the extra lidar and finds the same.", choices=(*BACKENDS,)
    )
    reorder_tolerance: float = timing.reorder_tolerance("A sweep")
    max_gap: float = timing.max_gap("sweeps")


class LidarProposalsPipeline(Pipeline):
    """Sweeps in, detections in space out: one `Detections3D` per `Cloud`, also where nothing was found.

    The cloud is in a frame with z up whose origin is at the sensor. Duplicates and late sweeps are counted and give
    nothing; nothing is kept from one sweep to the next, so a time jump changes nothing but its count.
    """

    name = "lidar_proposals"
    Parameters = LidarProposalsParameters
    inputs: ClassVar[Mapping[str, type]] = {"points": Cloud}
    outputs: ClassVar[Mapping[str, type]] = {"detections": Detections3D}
    commands: ClassVar[Mapping[str, type]] = {}

    def __init__(self, parameters: LidarProposalsParameters) -> None:
        """Raises `InvalidRequestError` where parameters contradict each other, or Open3D is asked for and missing."""
        for low, high in (("nearest", "furthest"), ("clearance", "ceiling")):
            if getattr(parameters, low) >= getattr(parameters, high):
                raise InvalidRequestError(
                    f"{low} is {getattr(parameters, low):g} m, it must be below {high}, {getattr(parameters, high):g} m"
                )
        known = [shape.label for shape in SHAPES]
        self._classes = {name.strip() for name in parameters.classes.split(",") if name.strip()} or set(known)
        if unknown := sorted(self._classes - set(known)):
            raise InvalidRequestError(f"classes names {', '.join(unknown)}; known are {', '.join(known)}")
        self.parameters: LidarProposalsParameters = parameters
        self.detector = LidarDetector(part(LidarSettings, parameters, ground=part(GroundSettings, parameters)))
        self.turns: Turns[Cloud] = Turns(0.0, parameters.reorder_tolerance, parameters.max_gap)
        self._frames = self._points = 0
        self._found: Counter[str] = Counter()

    def step(self, port: str, item: Any) -> Iterable[Output]:
        """Take a sweep."""
        return tuple(Output("detections", self._detections(turn.item)) for turn in self.turns.take(item))

    def reset(self, reason: str) -> None:
        """Whatever stamp comes next is taken."""
        self.turns.reset()

    def status(self) -> Mapping[str, str | int | float]:
        """Counts; may be called from another thread. Points and detections are those of the newest sweep."""
        return {
            "frames": self._frames,
            **self.turns.status(),
            "clustering": self.parameters.clustering,
            "points": self._points,
            **{f"{shape.label}s": self._found[shape.label] for shape in SHAPES if shape.label in self._classes},
        }

    def _detections(self, cloud: Cloud) -> Detections3D:
        found = self.detector(cloud.points)
        poses = poses_of(found.boxes)
        detections = tuple(
            Detection3D(poses[row], found.boxes[row, 3:6], float(found.scores[row]), label)
            for row, label in enumerate(found.labels)
            if label in self._classes
        )
        self._frames += 1
        self._points = len(cloud.points)
        self._found = Counter(detection.label for detection in detections)
        return Detections3D(cloud.stamp, cloud.frame_id, detections)

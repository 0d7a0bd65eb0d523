"""The demo of lidar proposals: sweeps of a file, a bag or a simulated street, objects with ids, a video from above."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deep_tracking_ros.detection.parts.ground import height_above_ground
from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.lidar_scene import street
from deep_tracking_ros.evaluation.sweeps import read_sweeps
from deep_tracking_ros.geometry.poses import inverse
from deep_tracking_ros.pipelines.lidar_proposals import LidarProposalsParameters, LidarProposalsPipeline
from deep_tracking_ros.pipelines.multi_object_3d import MultiObject3DParameters, MultiObject3DPipeline
from deep_tracking_ros.types import NANOSECONDS, Cloud, Matrix, Odometry, State, TrackedBoxes3D
from deep_tracking_ros.visualization.bird_view import draw_from_above
from deep_tracking_ros.visualization.video import VideoWriter

SIMULATED = 120
"""Sweeps of the simulated street."""
LEAST_SECONDS = 6.0
"""A shorter recording is shown slower, so that one can look at it."""
TRAIL = 30
"""Places of an object that are drawn behind it."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A sweep to be shown, with what is known of it besides."""

    cloud: Cloud
    pose: Matrix | None = None  # (4, 4) of the sensor in a fixed frame
    truth: Matrix | None = None  # (N, 7) boxes of objects, in the frame of the sensor


@dataclass(eq=False)
class Outcome:
    """What came of all sweeps."""

    sweeps: int = 0
    points: int = 0
    detections: int = 0
    ids: set[int] = field(default_factory=set)  # of confirmed objects
    find: list[float] = field(default_factory=list)  # ms of processor time per sweep
    follow: list[float] = field(default_factory=list)


def sweeps_of(path: Path | None) -> tuple[list[Shown], str]:
    """The sweeps of a file, folder or bag, or of the simulated street; and what they are, in words.

    Raises `DataError` for what holds none.
    """
    if path is None:
        scene = street(1)
        made = (scene.sweep(number) for number in range(SIMULATED))
        return [Shown(s.cloud, s.pose, s.boxes[s.hits >= 5]) for s in made], "simulated street, 64 beams"
    if path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").is_file():
        from deep_tracking_ros.ros import bags

        return [Shown(cloud) for cloud in bags.read_items(path, Cloud)], path.name
    return [Shown(cloud, pose) for cloud, pose in read_sweeps(path)], path.name


def run(shown: list[Shown], title: str, video: Path, progress: Callable[[float], None] = lambda part: None) -> Outcome:
    """Find, follow and draw. Raises `DataError` where there is no sweep."""
    if not shown:
        raise DataError(f"{title} has no sweeps to show")
    moving = all(one.pose is not None for one in shown)
    finder = LidarProposalsPipeline(LidarProposalsParameters())
    tracker = MultiObject3DPipeline(MultiObject3DParameters(ego_motion="odometry" if moving else "none"))
    outcome = Outcome()
    trails: dict[int, list[Matrix]] = defaultdict(list)
    span = (shown[-1].cloud.stamp - shown[0].cloud.stamp) / NANOSECONDS
    slower = max(1.0, LEAST_SECONDS / (span + 0.1))
    with VideoWriter(video, fps=len(shown) / max(span + 0.1, 0.1) / slower) as writer:
        for number, one in enumerate(shown):
            found = _followed(one, finder, tracker, outcome)
            pose = np.eye(4) if one.pose is None else one.pose
            for box in found.boxes:
                trails[box.id].append((pose @ box.pose)[:3, 3])
                if box.state is State.CONFIRMED:
                    outcome.ids.add(box.id)
            back = inverse(pose)
            lines = {
                box.id: (np.array(trails[box.id][-TRAIL:]) @ back[:3, :3].T + back[:3, 3])[:, :2]
                for box in found.boxes
                if box.state is State.CONFIRMED
            }
            seconds = (one.cloud.stamp - shown[0].cloud.stamp) / NANOSECONDS
            text = [title, f"{seconds:.1f} s, {len(one.cloud.points):,} points"]
            if one.truth is not None:
                text.append("thin: true boxes")
            height = height_above_ground(one.cloud.points.astype(np.float64))
            image = draw_from_above(one.cloud.points, height, found.boxes, trails=lines, truth=one.truth, text=text)
            writer.write(image, round((one.cloud.stamp - shown[0].cloud.stamp) * slower))
            progress((number + 1) / len(shown))
    return outcome


def _followed(
    one: Shown, finder: LidarProposalsPipeline, tracker: MultiObject3DPipeline, outcome: Outcome
) -> TrackedBoxes3D:
    """The objects of one sweep."""
    began = time.process_time()
    detections = [output.item for output in finder.step("points", one.cloud)]
    between = time.process_time()
    results = list(_tracked(one, detections, tracker))
    outcome.find.append(1e3 * (between - began))
    outcome.follow.append(1e3 * (time.process_time() - between))
    outcome.sweeps += 1
    outcome.points += len(one.cloud.points)
    outcome.detections += sum(len(item.detections) for item in detections)
    if not results:
        raise DataError(f"the sweep at {one.cloud.stamp} ns has the stamp of an earlier one, or an older one")
    return results[-1]


def _tracked(one: Shown, detections: list[object], tracker: MultiObject3DPipeline) -> Iterator[TrackedBoxes3D]:
    if one.pose is not None:
        odometry = Odometry(one.cloud.stamp, "odom", one.cloud.frame_id, one.pose)
        tracker.remember("odometry", odometry)
    for item in detections:
        for output in tracker.step("detections", item):
            yield output.item

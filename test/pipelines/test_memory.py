"""What a pipeline holds does not grow with the frames that it has seen."""

import gc
import tracemalloc

import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidImageError, StampNotBufferedError
from deep_tracking_ros.models.card import ModelCard
from deep_tracking_ros.parameters import make_parameters
from deep_tracking_ros.pipelines.requests import ClearTargets, RemoveTarget, SetTarget
from deep_tracking_ros.pipelines.single_object import SingleObjectPipeline
from deep_tracking_ros.single_object.tracker import Estimate, SingleObjectTracker, Target
from deep_tracking_ros.types import Frame

STEP = 40_000_000  # ns
LAP = 1000  # frames, after which everything repeats
BOX = np.array([10, 10, 30, 30], np.float32)


class StillTracker(SingleObjectTracker):
    """Finds every target where it was, so that 10,000 frames take seconds; the score makes all states occur."""

    def __init__(self):
        self.card = ModelCard(
            name="still", task="single_object", architecture="still", thresholds={"tracked": 0.8, "lost": 0.4}
        )
        self.engines = ()
        self.calls = 0

    def start(self, image, boxes):
        return [Target(np.float32(box)) for box in boxes]

    def track(self, image, targets):
        self.calls += 1
        return [Estimate(target.box, self.calls % 10 / 10) for target in targets]


def undecodable():
    raise InvalidImageError("the image is cut off")


def lap(pipeline, stamp):
    """Frames with all that may happen to them, the same in each lap; gives the stamp of the last."""
    for i in range(LAP):
        if i == 300:
            stamp -= 5 * 10**9  # a jump back, made good by the one forward
        elif i == 600:
            stamp += 5 * 10**9
        stamp += STEP
        size = (60, 80) if i < 500 else (48, 64)
        frame = Frame(lambda size=size: np.zeros((*size, 3), np.uint8), stamp, "camera", nbytes=size[0] * size[1] * 3)
        pipeline.remember("image", frame)
        if i % 50 == 20:
            bad = Frame(undecodable, stamp, nbytes=10)
            with pytest.raises(InvalidImageError):
                pipeline.step("image", bad)
        pipeline.step("image", frame)
        if i % 9 == 8:
            pipeline.step("image", Frame(frame.image, stamp - i % 2))  # a duplicate, a late one
        if i % 10 == 4:
            past = pipeline.buffer.frames()[0].stamp if i % 20 == 4 else 0
            pipeline.command(SetTarget(BOX, stamp=past, label=f"target {i}"))
        if i % 20 == 19:
            pipeline.command(RemoveTarget(min(pipeline.targets.ids)))
            with pytest.raises(StampNotBufferedError):
                pipeline.command(SetTarget(BOX, stamp=1))
        if i % 40 == 39:
            pipeline.command(ClearTargets())
    return stamp


def test_ten_thousand_frames_leave_no_more_than_one_thousand():
    values = {"frame_buffer": 2.0, "max_targets": 20, "catch_up_frames": 5}
    pipeline = SingleObjectPipeline(make_parameters(SingleObjectPipeline.Parameters, values), StillTracker())
    stamp, held = 10**12, []
    tracemalloc.start()
    try:
        for _ in range(10):
            stamp = lap(pipeline, stamp)
            gc.collect()
            frames = sum(isinstance(thing, Frame) for thing in gc.get_objects())
            held.append((tracemalloc.get_traced_memory()[0], frames, len(pipeline.buffer.frames())))
    finally:
        tracemalloc.stop()
    status = pipeline.status()
    assert status["frames"] == 10 * LAP
    assert status["jumps"] == 20
    memory, frames, buffered = zip(*held, strict=True)
    assert buffered == (51,) * 10  # 2 s, full
    assert set(frames) == {51}
    frame_bytes = 48 * 64 * 3
    assert max(memory[1:]) - memory[1] < frame_bytes, memory  # not one frame more than after the second lap

"""Detections for the tracker of objects in the image."""

import numpy as np

from deep_tracking_ros.multi_object.tracker import Boxes, MultiObjectTracker

DT = 40_000_000  # ns


def found(boxes, scores=0.9, kinds=0, embeddings=None):
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    fill = np.ones(len(boxes))
    return Boxes(boxes, scores * fill, (kinds * fill).astype(np.intp), embeddings)


NOTHING = found([])


def at(x, y, w=40.0, h=80.0):
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def world(seed, count, frames):
    """(frames, count, 4) boxes that move straight, each in a lane of its own."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(30, 60, (count, 2))
    start = np.stack([rng.uniform(0, 500, count), 100.0 * np.arange(count)], 1)
    velocity = np.stack([rng.uniform(-200, 200, count), rng.uniform(-20, 20, count)], 1)  # px/s
    centres = start + velocity * (np.arange(frames) * 0.04)[:, None, None]
    return np.concatenate([centres - size / 2, centres + size / 2], 2)


def run(steps, tracker=None, start=DT):
    tracker = tracker or MultiObjectTracker()
    return [tracker.step(start + k * DT, step) for k, step in enumerate(steps)]


def crowd(seed, frames=12):
    """Boxes with a real detector's faults: crossings, noise, misses, false ones, low scores, copies, two classes."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 15))
    start, speed = rng.uniform(0, 300, (count, 2)), rng.uniform(-300, 300, (count, 2))
    for k in range(frames):
        centres = np.concatenate([start + speed * k * 0.04 + rng.normal(0, 2, (count, 2)), rng.uniform(0, 300, (3, 2))])
        kept = np.concatenate([(rng.random(len(centres)) < 0.8).nonzero()[0], rng.integers(0, len(centres), 2)])
        boxes = np.array([at(x, y) for x, y in centres[kept]])
        scores = np.round(rng.uniform(0.05, 1, len(kept)), 1)  # some are equal
        yield boxes, scores, kept % 2


def messy(seed, order=lambda rng, n: np.arange(n)):
    rng = np.random.default_rng(seed)
    for boxes, scores, kinds in crowd(seed):
        index = order(rng, len(boxes))
        yield found(boxes[index], scores[index], kinds[index])


def assert_same(one, other):
    for name in ("ids", "boxes", "velocities", "covariance", "scores", "kinds", "states", "ages", "unseen"):
        assert (getattr(one, name) == getattr(other, name)).all(), name

"""The pairs of a training: drawn from the sources that a task names, with what chance makes of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np

from deep_tracking_ros.training.clips import ClipSet, load_clips, split
from deep_tracking_ros.training.pairs import PairSampler, PairSettings
from deep_tracking_ros.training.pictures import load_pictures
from deep_tracking_ros.training.samples import loosened, mirrored
from deep_tracking_ros.training.views import Pair


class Sources(Protocol):
    """What a task says of its data."""

    @property
    def images(self) -> tuple[str, ...]:
        """Folders of photographs with marked objects."""

    @property
    def videos(self) -> tuple[str, ...]:
        """Folders of clips with boxes."""

    @property
    def holdout(self) -> tuple[str, ...]:
        """Videos that are not learnt from, see `split`."""

    @property
    def pairs(self) -> PairSettings: ...

    @property
    def seed(self) -> int: ...

    @property
    def loosening(self) -> float:
        """Boxes are drawn larger or smaller by up to this, alike in both pictures."""


def pairs_of(task: Sources, worker: int, first: int) -> Callable[[], tuple[Pair, np.random.Generator]]:
    """Load the data of a task; the result gives pair number ``first`` of this worker, the next one, and so on.

    With each comes the generator of all that is still to be chosen about it.
    """
    sampler = PairSampler(load_pictures(task.images), _clips(task, 0), task.pairs, task.seed + 1000 * worker)
    sampler.index = first
    cv2.setNumThreads(1)

    def draw() -> tuple[Pair, np.random.Generator]:
        rng = np.random.default_rng([task.seed, worker, sampler.index, 1])
        pair = loosened(sampler.sample(), rng, task.loosening)
        return (mirrored(pair) if rng.random() < 0.5 else pair), rng

    return draw


def held_out(task: Sources) -> ClipSet:
    """The clips of a task that are not learnt from."""
    return _clips(task, 1)


def _clips(task: Sources, part: int) -> ClipSet:
    return ClipSet(split(load_clips(task.videos), task.holdout)[part]) if task.videos else ClipSet()

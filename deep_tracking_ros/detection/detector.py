"""A detection network on images of any size: prepare, run in batches, decode, drop overlapping boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.detection.family import Candidates, Family, Preparation, Shape, Size
from deep_tracking_ros.detection.found import Found
from deep_tracking_ros.detection.parts.letterbox import Placement, letterbox
from deep_tracking_ros.detection.parts.suppression import suppress
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.inference.engine import Engine, Network

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Filter:
    """Which detections are given."""

    score: float = 0.25  # least
    overlap: float = 0.45  # greatest intersection over union of two boxes of a class
    classes: tuple[str, ...] = ()  # labels; none = all
    most: int = 300  # in one image; the best are given


@dataclass(frozen=True)
class Reading:
    """How a network file is to be used."""

    output: str  # name of the one that is read
    family: Family
    preparation: Preparation
    labels: tuple[str, ...]  # of the classes; () = unknown number without names


class Detector:
    """Finds objects in images; it knows nothing of time, so any number of cameras may share it."""

    def __init__(
        self,
        network: Network,
        make: Callable[[Network], Engine],
        read_as: Callable[[Sequence[tuple[str, Shape]]], Reading],
        size: Size,
        wanted: Filter,
    ) -> None:
        """Start the network and run it once: the shapes of its outputs tell how they are read.

        Args:
            network: of one image input.
            make: gives its engine.
            read_as: gives the reading from names and shapes (batch first) of the outputs.
            size: rows and columns of the image that goes in, px.
            wanted: which detections are given.

        Raises:
            EngineError: the network cannot be run.
            ModelError: its outputs cannot be read.
            InvalidRequestError: ``wanted`` names a class that the network does not have.
        """
        self.engine = make(network)
        self.size, self.wanted = size, wanted
        self._input = network.inputs[0]
        outputs = self.engine(**{self._input.name: self._empty(1)})
        shapes = [(name, tuple(int(n) for n in np.shape(array))) for name, array in outputs.items()]
        self.reading = read_as(shapes)
        self._kinds = numbers_of(wanted.classes, self.reading.labels)

    def detect(self, images: Sequence[Image]) -> list[Found]:
        """Find objects in images (H, W, 3) uint8 BGR, which may differ in size.

        All go through the network in one call, or in as few as its file allows. Raises `EngineError` where that fails.
        """
        count = self._input.shape[0]
        room = count if count != -1 else (self._input.maximum or (len(images),))[0]
        found: list[Found] = []
        for first in range(0, len(images), room):
            found += self._detect(images[first : first + room])
        return found

    def label(self, kind: int) -> str:
        """Name of a class."""
        labels = self.reading.labels
        return labels[kind] if kind < len(labels) else f"class {kind}"

    def close(self) -> None:
        """Free the network."""
        self.engine.close()

    def _detect(self, images: Sequence[Image]) -> list[Found]:
        preparation = self.reading.preparation
        prepared = [letterbox(image, self.size, preparation.fit, preparation.pad) for image in images]
        batch = self._empty(len(images))
        fill_input(batch, [image for image, _ in prepared], preparation)
        output = self.engine(**{self._input.name: batch})[self.reading.output]
        family = self.reading.family
        with np.errstate(invalid="ignore", over="ignore"):  # a network may say anything
            candidates = family.decode(np.asarray(output, np.float32), self.size, self.wanted.score)
        return [self._chosen(candidates, k, place) for k, (_, place) in enumerate(prepared)]

    def _empty(self, count: int) -> NDArray[np.generic]:
        """An input for so many images, or for as many as the file wants at once."""
        fixed, channels = self._input.shape[:2]
        return np.zeros((count if fixed == -1 else fixed, channels, *self.size), self._input.dtype)

    def _chosen(self, candidates: Candidates, row: int, place: Placement) -> Found:
        """The detections of one image of the batch, in its pixels."""
        mine = candidates.image == row
        if self._kinds is not None:
            mine &= np.isin(candidates.kinds, self._kinds)
        mine &= np.isfinite(candidates.boxes).all(1) & np.isfinite(candidates.scores) & (candidates.kinds >= 0)
        boxes = place.to_image(candidates.boxes[mine])
        found = Found(boxes, candidates.scores[mine], candidates.kinds[mine])
        found = found[np.all(boxes[:, 2:] > boxes[:, :2], 1)]
        if self.reading.family.suppressed:
            best = np.argsort(-found.scores, kind="stable")
        else:
            best = suppress(found.boxes, found.scores, found.kinds, self.wanted.overlap)
        return found[best[: self.wanted.most]]


def numbers_of(classes: Sequence[str], labels: Sequence[str]) -> NDArray[np.intp] | None:
    """Numbers of classes by name, None for all. Raises `InvalidRequestError` with the known names."""
    if not classes:
        return None
    if unknown := sorted(set(classes) - set(labels)):
        known = ", ".join(labels) or "none; give `labels` in its card"
        raise InvalidRequestError(f"the detector has no classes {', '.join(unknown)}; known are: {known}")
    return np.array([k for k, label in enumerate(labels) if label in classes], np.intp)


def fill_input(batch: NDArray[np.generic], images: Sequence[Image], preparation: Preparation) -> None:
    """Write images (H, W, 3) BGR into the first rows of a network's input (B, 3, H, W)."""
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (preparation.mean, preparation.std))
    for row, image in zip(batch, images, strict=False):
        channels = image[..., :: -1 if preparation.colour == "rgb" else 1].transpose(2, 0, 1)
        if batch.dtype == np.uint8:
            row[...] = channels
        else:
            np.divide(channels - mean, std, out=row, casting="same_kind")

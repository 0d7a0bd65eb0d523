"""How detected objects look: vectors that are near for one object and far for two, by a re-identification network.

Any ONNX file that takes crops (batch, 3, height, width) and gives a vector for each, such as OSNet (K. Zhou et al.,
"Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.detection.card import card_of
from deep_tracking_ros.detection.detector import Image, fill_input
from deep_tracking_ros.detection.family import Preparation
from deep_tracking_ros.detection.parts.onnx_file import OnnxFile, read_onnx, shape_text
from deep_tracking_ros.errors import ModelError
from deep_tracking_ros.inference.engine import Engine, Network
from deep_tracking_ros.inference.factory import make_engine
from deep_tracking_ros.types import FloatArray

BATCH = (1, 16, 128)
"""Crops in one call of a network that takes any number: fewest, usual, most."""
IMAGENET = Preparation("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), fit="stretch")
"""What such networks are trained with, where a card does not say otherwise."""
SMALLEST = 4.0
"""Boxes with a shorter side on the image, px, show nothing that could be known again."""


class Appearance:
    """Gives boxes their embeddings; it knows nothing of time, so any number of cameras may share it."""

    def __init__(self, file: OnnxFile, preparation: Preparation, make: Callable[[Network], Engine]) -> None:
        """Raises `ModelError` where the network does not give one vector per crop, `EngineError` where it fails."""
        rows, columns = file.input.shape[2:]
        if -1 in (rows, columns):
            raise ModelError(f"{file.path} takes crops of any size ({file.described()}); export it for one size")
        network = file.network(f"appearance/{file.path.stem}", (rows, columns), BATCH)
        self.preparation, self.size = preparation, (rows, columns)
        self._input, self._output = network.inputs[0], network.outputs[0].name
        self.engine = make(network)
        shape = np.shape(self._run([np.zeros((rows, columns, 3), np.uint8)]))
        if len(shape) != 2:
            self.engine.close()
            raise ModelError(
                f"{file.path} gives {self._output} {shape_text(shape)} for one crop; one vector per crop, batch x n, "
                "is needed: is this a network for appearance?"
            )
        self.length = int(shape[1])

    def embed(self, images: Sequence[Image], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """The embeddings of the boxes of some images, all crops in one call of the network (or as few as it allows).

        Args:
            images: (H, W, 3) uint8 BGR.
            boxes: of each image (N, 4) xyxy, px.

        Returns:
            Of each image (N, D) of unit length; rows of zeros for boxes that hardly touch the image.
        """
        results = [np.zeros((len(of_image), self.length), np.float32) for of_image in boxes]
        crops, places = [], []
        for number, (image, of_image) in enumerate(zip(images, boxes, strict=True)):
            for row, box in enumerate(of_image):
                if (window := _window(image, box)) is not None:
                    crop = cv2.resize(window, self.size[::-1], interpolation=cv2.INTER_LINEAR)
                    crops.append(np.asarray(crop, np.uint8))
                    places.append((number, row))
        fixed = self._input.shape[0]
        room = fixed if fixed != -1 else BATCH[2]
        for first in range(0, len(crops), room):
            looks = unit_length(self._run(crops[first : first + room]))
            for (number, row), look in zip(places[first : first + room], looks, strict=True):
                results[number][row] = look
        return results

    def close(self) -> None:
        """Free the network."""
        self.engine.close()

    def _run(self, crops: Sequence[Image]) -> FloatArray:
        count = len(crops) if self._input.shape[0] == -1 else self._input.shape[0]
        batch = np.zeros((count, *self._input.shape[1:]), self._input.dtype)
        fill_input(batch, crops, self.preparation)
        return np.asarray(self.engine(**{self._input.name: batch})[self._output], np.float32)[: len(crops)]


def make_appearance(
    model: str,
    backend: str = "auto",
    precision: str = "fp32",
    threads: int = 0,
    log: Callable[[str], None] | None = None,
) -> Appearance:
    """The appearance network of an ONNX file; a card beside it may say colour order, mean and std.

    Raises `ModelError` where the file is no such network, `EngineError` where no backend runs it.
    """
    file = read_onnx(model)
    preparation = card_of(file.path).preparation(IMAGENET)
    return Appearance(
        file, preparation, lambda network: make_engine(network, backend, precision, threads=threads, log=log)
    )


def unit_length(vectors: FloatArray) -> FloatArray:
    """(N, D) rows divided by their lengths; zeros where a row has none or is not finite."""
    finite = np.where(np.isfinite(vectors).all(1, keepdims=True), vectors, 0)
    length = np.linalg.norm(finite, axis=1, keepdims=True)
    return np.asarray(np.divide(finite, length, out=np.zeros_like(finite), where=length > 0), np.float32)


def _window(image: Image, box: NDArray[np.float32]) -> Image | None:
    """The whole pixels of a box that lie on the image."""
    rows, columns = image.shape[:2]
    x0, y0, x1, y1 = np.clip(box + 0.5, 0, [columns, rows, columns, rows])  # edges
    if not (x1 - x0 >= SMALLEST and y1 - y0 >= SMALLEST):
        return None
    return image[round(float(y0)) : round(float(y1)), round(float(x0)) : round(float(x1))]

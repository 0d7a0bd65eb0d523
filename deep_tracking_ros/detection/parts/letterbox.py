"""An image in the size that a network takes, and its boxes back in the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.types import FloatArray

Image = NDArray[np.uint8]
Size = tuple[int, int]  # rows and columns, px


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the network's: ``network edge = image edge * scale + offset``."""

    scale: tuple[float, float]  # x, y
    offset: tuple[float, float]  # x, y, px of the network's image
    size: Size  # of the image

    def to_image(self, boxes: FloatArray) -> FloatArray:
        """Boxes (K, 4) from edges in the network's image to the house's image px, cut to the image."""
        scale, offset = np.tile(self.scale, 2), np.tile(self.offset, 2)
        rows, columns = self.size
        edges = np.clip((boxes - offset) / scale, 0, np.array([columns, rows, columns, rows]))
        return np.asarray(edges - 0.5, np.float32)  # pixel centres at integers


def _keeping_aspect(image: Size, network: Size) -> Size:
    ratio = min(network[0] / image[0], network[1] / image[1])
    return max(1, round(image[0] * ratio)), max(1, round(image[1] * ratio))


FITS: dict[str, Callable[[Size, Size], tuple[Size, tuple[int, int]]]] = {
    "corner": lambda image, network: (_keeping_aspect(image, network), (0, 0)),
    "centre": lambda image, network: (_keeping_aspect(image, network), (1, 1)),
    "stretch": lambda image, network: (network, (0, 0)),
}
"""How an image comes into the size of the network: its new size, and whether the border is on both sides (y, x).

``corner``: as large as it fits, at the top left; ``centre``: as large as it fits, in the middle; ``stretch``: made
wider or higher until it fills the network's image.
"""


def letterbox(image: Image, size: Size, fit: str, pad: int) -> tuple[Image, Placement]:
    """An image (H, W, 3) in the network's size, with grey ``pad`` where nothing of it is, and where it lies.

    Images are resized bilinearly, as the networks were trained, also where they become much smaller.
    """
    own = (int(image.shape[0]), int(image.shape[1]))
    (rows, columns), (both_y, both_x) = FITS[fit](own, size)
    top, left = both_y * ((size[0] - rows) // 2), both_x * ((size[1] - columns) // 2)
    resized = image if own == (rows, columns) else cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    if (rows, columns) != size:
        bottom, right = size[0] - rows - top, size[1] - columns - left
        resized = cv2.copyMakeBorder(
            resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(float(pad),) * 3
        )  # fmt: skip
    placement = Placement((columns / own[1], rows / own[0]), (float(left), float(top)), own)
    return np.asarray(resized, np.uint8), placement

from functools import cache

import cv2
import numpy as np
import pytest
import untrained

from deep_tracking_ros.models.store import find_model
from deep_tracking_ros.single_object.registry import make_tracker


@pytest.fixture(scope="session")
def model():
    return find_model("siamfc")


@pytest.fixture(scope="session")
def tracker(model):
    return make_tracker(model, backend="onnxruntime", threads=1)


def texture(seed, width, height, cell):
    """Smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // cell + 2, width // cell + 2, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="session")
def scene():
    """A textured square of 48 px on another texture: picture(x, y) with its centre at x, y, and the true box."""
    background, square = texture(1, 320, 240, 24), texture(2, 48, 48, 8)

    def picture(x, y, scale=1.0, stretch=1.0):
        scales = np.array([scale * stretch, scale])
        offsets = np.array([x, y]) - 47 / 2 * scales
        matrix = np.array([[scales[0], 0, offsets[0]], [0, scales[1], offsets[1]]])
        image = background.copy()
        cv2.warpAffine(square, matrix, (320, 240), dst=image, borderMode=cv2.BORDER_TRANSPARENT)
        half = 24 * scales
        return image, np.array([x - half[0], y - half[1], x + half[0], y + half[1]], np.float32)

    return picture


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """Gives the untrained model of an architecture."""
    folder = tmp_path_factory.mktemp("untrained")
    return cache(lambda name: untrained.make(name, folder))

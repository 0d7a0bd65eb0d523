import cv2
import numpy as np
import pytest

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

    def picture(x, y, scale=1.0):
        side = 48 * scale
        matrix = np.array([[scale, 0, x - (side - scale) / 2], [0, scale, y - (side - scale) / 2]])
        image = background.copy()
        cv2.warpAffine(square, matrix, (320, 240), dst=image, borderMode=cv2.BORDER_TRANSPARENT)
        return image, np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)

    return picture

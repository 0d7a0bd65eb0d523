"""Boxes of what moves against the camera, without any model of how objects look.

Dense optical flow from this image to the one before (DIS; T. Kroeger et al., ECCV 2016), of which a homography, fitted
by RANSAC to textured places, is what the camera did: exact for a camera that turns, and for the ground and all that is
far. What is left is motion of objects, or of near things that the camera passes. Of it each pixel gathers evidence over
time, carried along by the flow, so that the noise of one image finds no box, but an object in motion soon is one.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.detection.found import Found, nothing
from deep_tracking_ros.detection.parts.suppression import suppress
from deep_tracking_ros.types import FloatArray, nanoseconds, seconds

Image = NDArray[np.uint8]
LABEL = "moving"
WIDTH = 320
"""Images are made so narrow first, px; all other lengths here are px of that."""
GRID = 6
"""Distance of the places from which the camera's motion is taken, px."""
TEXTURE = 4.0
"""Least standard deviation of grey around such a place."""
LEAST_PLACES = 24
"""With fewer the camera counts as still."""
SLOWEST = 0.3
"""Least motion against the camera from one image to the next, px: below is the noise of the flow."""
SPREADS = 3.0
"""So many standard deviations of the background's motion an object must move: parallax and shaking make it large."""
DIFFERENCE, REACH = 6.0, 9
"""An object changes grey values by so much within so many px: flow alone runs over into smooth surroundings."""
BLEEDING = 11
"""Flow fades out within half of so many px beside an object; half of its motion is the border."""
INTERVAL = 0.04
"""The image that this one is compared with is older by so much or more, s: fast cameras see slow objects too."""
MEMORY = 0.1
"""Time constant of the evidence, s."""
EVIDENCE = 0.45
"""From here on a pixel belongs to an object."""
OPENED, CLOSED = 3, 9
"""Specks up to this size are dropped and gaps up to this size are closed, px."""
MOST = 0.6
"""Where a larger share of the image seems to move, the scene is another one, or the camera's motion was not found."""
SMALLEST = 40
"""Least area of an object, px."""


class MotionProposals:
    """Finds what moves in the images of one camera."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # type: ignore[attr-defined]
        self._opening = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (OPENED, OPENED))
        self._closing = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (CLOSED, CLOSED))
        self._past: deque[tuple[int, Image]] = deque()  # stamps and grey images, the oldest first
        self._evidence: FloatArray = np.zeros((0, 0), np.float32)

    def reset(self) -> None:
        """Forget the images before, as after a time jump."""
        self._past.clear()

    def step(self, image: Image, stamp: int, least: float, overlap: float, most: int) -> Found:
        """Go on to the next image.

        Args:
            image: (H, W, 3) uint8 BGR.
            stamp: ns, after that of the image before.
            least: score that a box must have: the mean evidence of its pixels, 0 to 1.
            overlap: greatest intersection over union of two boxes.
            most: boxes, the best.

        Returns:
            Boxes in px of the image; none for the first image and after a change of size.
        """
        height, width = image.shape[:2]
        scale = min(1.0, WIDTH / width)
        size = (max(16, round(width * scale)), max(16, round(height * scale)))
        small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_AREA)
        grey = np.asarray(small, np.uint8)
        if not self._past or self._past[-1][1].shape != grey.shape:
            return self._begin(stamp, grey)
        while len(self._past) > 1 and stamp - self._past[1][0] >= nanoseconds(INTERVAL):
            self._past.popleft()
        (then, previous), dt = self._past[0], seconds(stamp - self._past[-1][0])
        self._past.append((stamp, grey))
        flow = np.asarray(self._flow.calc(grey, previous, None), np.float32)
        carried = _taken(self._evidence, _grid(grey) + np.float32(dt / seconds(stamp - then)) * flow)
        moving = _moving(grey, previous, flow, carried)
        if moving.mean() > MOST:
            return self._begin(stamp, grey)
        share = 1 - np.exp(-dt / MEMORY)
        self._evidence = np.asarray(carried + share * (moving - carried), np.float32)
        return self._boxes(np.array([width, height]) / size, least, overlap, most)

    def _begin(self, stamp: int, grey: Image) -> Found:
        self._past.clear()
        self._past.append((stamp, grey))
        self._evidence = np.zeros(grey.shape, np.float32)
        return nothing()

    def _boxes(self, ratio: NDArray[np.float64], least: float, overlap: float, most: int) -> Found:
        opened = cv2.morphologyEx((self._evidence > EVIDENCE).astype(np.uint8), cv2.MORPH_OPEN, self._opening)
        closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, self._closing)
        count, regions, stats, _ = cv2.connectedComponentsWithStats(closed)
        sums = np.bincount(regions.ravel(), self._evidence.ravel(), count)
        left, top, w, h, area = stats[1:].T
        scores = (sums[1:] / np.maximum(area, 1)).astype(np.float32)
        edges = np.stack([left, top, left + w, top + h], 1) * np.tile(ratio, 2)
        good = (area >= SMALLEST) & (scores >= least)
        boxes, scores = (edges[good] - 0.5).astype(np.float32), scores[good]
        kinds = np.zeros(len(boxes), np.intp)
        found = Found(boxes, scores, kinds)
        return found[suppress(boxes, scores, kinds, overlap)[:most]]


def _moving(grey: Image, previous: Image, flow: FloatArray, carried: FloatArray) -> FloatArray:
    """(h, w) 0 to 1: whether each pixel moved against the camera since the image before."""
    rows, columns = grey.shape
    deviation = _deviation(grey)
    y, x = np.mgrid[GRID // 2 : rows : GRID, GRID // 2 : columns : GRID].reshape(2, -1)
    textured = deviation[y, x] > TEXTURE
    still = textured & (carried[y, x] < EVIDENCE)
    use = still if still.sum() >= max(LEAST_PLACES, textured.sum() // 4) else textured
    here = np.stack([x[use], y[use]], 1).astype(np.float32)
    camera = np.eye(3)
    if len(here) >= LEAST_PLACES:
        cv2.setRNGSeed(0)  # the same images give the same motion
        fitted, _ = cv2.findHomography(here, here + flow[y[use], x[use]], cv2.RANSAC, 1.0, maxIters=500)
        camera = np.eye(3) if fitted is None else np.asarray(fitted, np.float64)
    places = _grid(grey)
    expected = cv2.perspectiveTransform(places.reshape(1, -1, 2), camera).reshape(rows, columns, 2)
    residual = _length(places + flow - expected)
    spread = 1.4826 * float(np.median(residual[y[use], x[use]])) if use.any() else 0.0
    limit = max(SLOWEST, SPREADS * spread)
    changed = cv2.GaussianBlur(cv2.absdiff(grey, _taken(previous, expected, cv2.BORDER_REPLICATE)), (3, 3), 0)
    near = cv2.dilate(changed, np.ones((REACH, REACH), np.uint8)) >= DIFFERENCE
    edge = residual > cv2.dilate(residual, np.ones((BLEEDING, BLEEDING), np.uint8)) / 2
    return np.asarray(np.clip(residual / limit - 1, 0, 1) * near * edge, np.float32)


def _taken(values: NDArray[Any], places: NDArray[Any], border: int = cv2.BORDER_CONSTANT) -> NDArray[Any]:
    """(h, w) of the values at places (h, w, 2) x and y; 0 outside, or those of the edge."""
    taken = cv2.remap(values, places.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=border)  # type: ignore[call-overload]
    return np.asarray(taken)


def _grid(grey: Image) -> FloatArray:
    """(h, w, 2) x and y of all pixels."""
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    return np.stack([x, y], -1)


def _length(vectors: FloatArray) -> FloatArray:
    return np.asarray(cv2.magnitude(vectors[..., 0], vectors[..., 1]), np.float32)


def _deviation(grey: Image) -> FloatArray:
    """Standard deviation of grey in a window of 7 px around each pixel."""
    values = grey.astype(np.float32)
    mean, square = cv2.blur(values, (7, 7)), cv2.blur(values * values, (7, 7))
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)), np.float32)

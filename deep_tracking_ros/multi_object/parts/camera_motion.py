"""How the camera moved between two images: a similarity fitted to corners that are followed by optical flow.

Shi and Tomasi's corners, Lucas and Kanade's flow and RANSAC, as OpenCV's video stabiliser and BoT-SORT have them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.types import FloatArray

Image = NDArray[np.uint8]
WIDTH = 480
"""Images are made so narrow first, px."""
CORNERS, LEAST_CORNERS = 400, 12


class CameraMotion:
    """Follows the background of one stream of images; what moves on its own should be masked by ``objects``."""

    def __init__(self) -> None:
        self._previous: Image | None = None
        self._corners: FloatArray | None = None  # (K, 1, 2), px of the small image

    def step(self, image: Image, objects: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Go on to the next image.

        Args:
            image: (H, W, 3) uint8 BGR.
            objects: (N, 4) xyxy px, boxes in this image on which no corner is taken.

        Returns:
            (2, 3) similarity from pixels of the image before to pixels of this one; None for the first image, after
            a change of size, or where too few corners agree.
        """
        import cv2

        height, width = image.shape[:2]
        scale = min(1.0, WIDTH / width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small_image = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_AREA)
        grey = np.asarray(small_image, np.uint8)
        matrix = self._fit(grey)
        mask = np.full(grey.shape, 255, np.uint8)
        ratio = np.array(size) / (width, height)
        limits = np.clip(np.nan_to_num(objects), -1e6, 1e6).reshape(-1, 2, 2) * ratio
        for (x0, y0), (x1, y1) in np.clip(limits, 0, size).astype(int).tolist():
            mask[y0 : y1 + 1, x0 : x1 + 1] = 0
        corners = cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, 6, mask=mask)
        self._corners = None if corners is None else np.asarray(corners, np.float32)
        self._previous = grey
        if matrix is None:
            return None
        # pixel centres at integers: p = ratio * (P + 0.5) - 0.5
        small = np.array([[ratio[0], 0, (ratio[0] - 1) / 2], [0, ratio[1], (ratio[1] - 1) / 2], [0, 0, 1]])
        full = np.linalg.inv(small) @ np.vstack([matrix, [0, 0, 1]]) @ small
        return np.asarray(full[:2])

    def reset(self) -> None:
        """Forget the last image, as after a time jump or where one was missed."""
        self._previous = self._corners = None

    def _fit(self, grey: Image) -> NDArray[np.float64] | None:
        import cv2

        if self._previous is None or self._previous.shape != grey.shape:
            return None
        if self._corners is None or len(self._corners) < LEAST_CORNERS:
            return None
        now, status, _ = cv2.calcOpticalFlowPyrLK(self._previous, grey, self._corners, None)  # type: ignore[call-overload]
        good = status[:, 0] == 1
        if good.sum() < LEAST_CORNERS:
            return None
        cv2.setRNGSeed(0)  # the same images give the same motion
        matrix, inliers = cv2.estimateAffinePartial2D(self._corners[good], now[good], ransacReprojThreshold=1.5)
        if matrix is None or inliers.sum() < LEAST_CORNERS:
            return None
        return np.asarray(matrix, np.float64)

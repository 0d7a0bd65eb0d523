"""Trackers of OpenCV, run by the same loop as ours.

OpenCV wants rectangles of whole pixels: the true box is rounded and cut to the image. Where a tracker reports that it
failed, its last box stands. CSRT, KCF and MIL need nothing but ``opencv-contrib-python``; TrackerNano and TrackerVit
need the ONNX files of NanoTrack V2 and ViTTrack.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deep_tracking_ros.errors import DataError, InvalidRequestError
from deep_tracking_ros.evaluation.sot import Competitor, Image, Step
from deep_tracking_ros.geometry import boxes as geometry
from deep_tracking_ros.types import FloatArray

PREFIX = "opencv-"
WEIGHTS = {
    "nano": {"backbone": "*nanotrack*backbone*.onnx", "neckhead": "*nanotrack*head*.onnx"},
    "vit": {"net": "*vit*.onnx"},
}
"""ONNX files of the peers that need some, by the name of the OpenCV parameter."""


def peers(weights: Path | None = None) -> list[str]:
    """Names of the OpenCV trackers that can run: those without weights, and those whose weights are in the folder."""
    names = [PREFIX + name for name in ("csrt", "kcf", "mil")]
    return names + [PREFIX + name for name in WEIGHTS if weights is not None and _find_weights(name, weights)]


def make_peer(name: str, weights: Path | None = None) -> Competitor:
    """An OpenCV tracker as a competitor.

    Args:
        name: ``opencv-csrt``, ``opencv-kcf``, ``opencv-mil``, ``opencv-nano`` or ``opencv-vit``.
        weights: folder in or below which the ONNX files of the last two lie.

    Raises:
        InvalidRequestError: another name, or an OpenCV without the tracker.
        DataError: weights are not there.
    """
    import cv2

    short = name.removeprefix(PREFIX)
    if short in WEIGHTS:
        files = _find_weights(short, weights) if weights is not None else None
        if files is None:
            wanted = " and ".join(WEIGHTS[short].values())
            raise DataError(f"{name} needs {wanted} in the folder given as --peer-weights, which is {weights}")
        kind = {"nano": "TrackerNano", "vit": "TrackerVit"}[short]
        params = getattr(cv2, f"{kind}_Params")()
        for key, path in files.items():
            setattr(params, key, str(path))
        create = partial(_create_quietly, getattr(cv2, f"{kind}_create"), params)
    elif short in ("csrt", "kcf", "mil"):
        if not hasattr(cv2, f"Tracker{short.upper()}_create"):
            raise InvalidRequestError(f"this OpenCV ({cv2.__version__}) has no {name}; install opencv-contrib-python")
        create = getattr(cv2, f"Tracker{short.upper()}_create")
    else:
        raise InvalidRequestError(f"there is no peer {name!r}; there are {', '.join(peers())}, opencv-nano, opencv-vit")

    def start(image: Image, box: FloatArray) -> Step:
        cv2.setRNGSeed(0)
        tracker = create()
        tracker.init(image, box_to_rectangle(box, image.shape[1], image.shape[0]))
        last = np.asarray(box, np.float32)

        def step(image: Image) -> tuple[ArrayLike, float]:
            nonlocal last
            try:
                found, rectangle = tracker.update(image)
            except cv2.error:  # raised instead of a report by some, where the box has left the image
                found = False
            if found:
                last = rectangle_to_box(rectangle)
            return last, float("nan")

        return step

    return Competitor(name, "opencv", "fp32", start)


def box_to_rectangle(box: ArrayLike, width: int, height: int) -> tuple[int, int, int, int]:
    """A box (4,) xyxy px as OpenCV's left, top, width, height in whole pixels, inside of the image."""
    x0, y0, x1, y1 = (float(value) for value in np.asarray(box))
    left, top, w, h = round(x0 + 0.5), round(y0 + 0.5), round(x1 - x0), round(y1 - y0)
    right, bottom = min(left + max(w, 1), width), min(top + max(h, 1), height)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return left, top, max(right - left, 1), max(bottom - top, 1)


def rectangle_to_box(rectangle: ArrayLike) -> FloatArray:
    """OpenCV's left, top, width, height, which cover the pixels ``left`` to ``left + width - 1``, as (4,) xyxy px."""
    return geometry.xywh_to_xyxy(rectangle) - np.float32(0.5)


def _create_quietly(create: Callable[[Any], Any], params: Any) -> Any:
    """OpenCV 5 warns with every network that its new engine knows no targets, which none was asked for."""
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        return create(params)
    finally:
        cv2.utils.logging.setLogLevel(level)


def _find_weights(name: str, folder: Path) -> dict[str, Path] | None:
    """ONNX files of a peer by parameter, if all are there; version 2 of NanoTrack, the one that OpenCV runs."""
    if not folder.is_dir():
        raise DataError(f"the folder of peer weights {folder} does not exist")
    found = {}
    for key, pattern in WEIGHTS[name].items():
        files = [path for path in sorted(folder.rglob(pattern)) if "v3" not in str(path.relative_to(folder)).lower()]
        if not files:
            return None
        found[key] = files[0]
    return found

"""Masks of a tracker against true ones: region similarity J and contour accuracy F.

F. Perazzi, J. Pont-Tuset, B. McWilliams, L. Van Gool, M. Gross, A. Sorkine-Hornung, "A Benchmark Dataset and Evaluation
Methodology for Video Object Segmentation" (DAVIS), CVPR 2016, section 4.

Beside the tracker's own mask, two that its box alone gives are measured: the box filled, and what GrabCut (Rother,
Kolmogorov and Blake, SIGGRAPH 2004) makes of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.evaluation.datasets import Sequence
from deep_tracking_ros.evaluation.peers import box_to_rectangle
from deep_tracking_ros.single_object.tracker import SingleObjectTracker
from deep_tracking_ros.types import Mask

Binary = NDArray[np.bool_]  # (H, W)
# with a mask GrabCut needs no rectangle; OpenCV's stubs do not know that it may then be None
NO_RECTANGLE: Any = None

TOLERANCE = 0.008
"""Distance up to which pixels of two contours match, as a share of the image's diagonal."""
SURROUNDINGS = 0.5
"""What GrabCut sees around the box, as a share of its width and height on each side."""
ROUNDS = 5
"""Rounds of GrabCut, as in OpenCV's example."""


def region_similarity(mask: Binary, truth: Binary) -> float:
    """J: intersection over union of two (H, W) masks; 1 where both are empty."""
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 1.0


def contour_accuracy(mask: Binary, truth: Binary, tolerance: float = TOLERANCE) -> float:
    """F: harmonic mean of the shares of each contour's pixels that lie close to the other contour.

    As in the paper, the bipartite matching of contour pixels is approximated by distance: a pixel matches where the
    other contour has one within the tolerance, rounded up to whole pixels.

    Args:
        mask, truth: (H, W).
        tolerance: share of the image's diagonal.

    Returns:
        0 to 1; 1 where neither has a contour, 0 where only one has.
    """
    reach = math.ceil(tolerance * math.hypot(*mask.shape))
    found, true = contour(mask), contour(truth)
    if not found.any() or not true.any():
        return float(found.any() == true.any())
    precision = float((_distance_to(true)[found] <= reach).mean())
    recall = float((_distance_to(found)[true] <= reach).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: Binary) -> Binary:
    """(H, W) the pixels of a mask that have a pixel outside of it beside or above them; the image's edge is none."""
    plus = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.astype(np.uint8), plus, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mask & (inner == 0))


def _distance_to(contour_: Binary) -> NDArray[np.float32]:
    """(H, W) distance of each pixel to the nearest one of a contour that has some, px."""
    distance = cv2.distanceTransform((~contour_).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)


def fill(box: ArrayLike, height: int, width: int) -> Binary:
    """(height, width) the pixels whose centres lie in a box (4,) xyxy px."""
    x0, y0, x1, y1 = np.asarray(box, np.float64)
    columns, rows = np.arange(width), np.arange(height)
    return np.asarray(((rows >= y0) & (rows <= y1))[:, None] & ((columns >= x0) & (columns <= x1)))


def grabcut(image: NDArray[np.uint8], box: ArrayLike) -> Binary:
    """(H, W) what GrabCut takes for the object in a box, outside of which all is background.

    It sees the box and `SURROUNDINGS`, which is faster than the whole image and tells it of the background that counts.
    Where nothing is left, or no background is around the box, the box is filled.

    Args:
        image: (H, W, 3) uint8 BGR.
        box: (4,) xyxy px.
    """
    height, width = image.shape[:2]
    filled = fill(box, height, width)
    left, top, w, h = box_to_rectangle(box, width, height)
    x0, x1 = max(left - round(SURROUNDINGS * w), 0), min(left + w + round(SURROUNDINGS * w), width)
    y0, y1 = max(top - round(SURROUNDINGS * h), 0), min(top + h + round(SURROUNDINGS * h), height)
    part = np.full((y1 - y0, x1 - x0), cv2.GC_BGD, np.uint8)
    part[top - y0 : top - y0 + h, left - x0 : left - x0 + w] = cv2.GC_PR_FGD
    if not (part == cv2.GC_BGD).any():
        return filled
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # it starts from k-means
    try:
        cv2.grabCut(image[y0:y1, x0:x1], part, NO_RECTANGLE, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # fewer pixels than its mixtures have parts
        return filled
    mask = np.zeros((height, width), np.bool_)
    mask[y0:y1, x0:x1] = (part == cv2.GC_PR_FGD) | (part == cv2.GC_FGD)
    return mask if mask.any() else filled


def whole(mask: Mask, height: int, width: int) -> Binary:
    """(height, width) a cropped mask in its image."""
    out = np.zeros((height, width), np.bool_)
    rows, columns = mask.data.shape
    x0, y0 = max(mask.x, 0), max(mask.y, 0)
    x1, y1 = min(mask.x + columns, width), min(mask.y + rows, height)
    if x1 > x0 and y1 > y0:
        out[y0:y1, x0:x1] = mask.data[y0 - mask.y : y1 - mask.y, x0 - mask.x : x1 - mask.x] > 127
    return out


@dataclass(frozen=True, eq=False)
class MaskRun:
    """One way to get masks in one sequence; the first frame, whose box is given, is not counted."""

    region: NDArray[np.float64]  # (n,) J of each annotated frame
    contours: NDArray[np.float64]  # (n,) F
    seconds: NDArray[np.float64]  # (m,) processor time of frames, the tracker's step included
    given: int  # frames in which there was a mask at all


WAYS = OWN, FILLED, GRABCUT = "own mask", "filled box", "GrabCut"


def run(
    tracker: SingleObjectTracker, sequence: Sequence, every: int = 1, progress: Callable[[], None] = lambda: None
) -> dict[str, MaskRun]:
    """Follow the target of a sequence from its first true box and measure the masks that come out.

    Args:
        every: masks are measured, and GrabCut is run, in each n-th frame only; it takes longer than most trackers.
        progress: called after each frame.

    Returns:
        By the way the masks are made: `OWN`, empty where the tracker gives none, `FILLED` and `GRABCUT` from its box.

    Raises:
        DataError: a sequence without masks.
    """
    if sequence.masks is None:
        raise DataError(f"sequence {sequence.name!r} has no masks; give data in the layout of DAVIS")
    first = int(np.flatnonzero(np.isfinite(sequence.boxes).all(1))[0])
    (target,) = tracker.start(sequence.image(first), sequence.boxes[first][None])
    measures: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    given = 0
    for index in range(first + 1, len(sequence)):
        image, truth = sequence.image(index), sequence.mask(index)
        height, width = image.shape[:2]
        begin = time.process_time()
        (estimate,) = tracker.track(image, [target])
        step = time.process_time() - begin
        seconds[OWN].append(step)
        seconds[FILLED].append(step)
        given += estimate.mask is not None
        progress()
        if truth is None or (index - first) % every:
            continue
        begin = time.process_time()
        cut = grabcut(image, estimate.box)
        seconds[GRABCUT].append(step + time.process_time() - begin)
        own = np.zeros((height, width), np.bool_) if estimate.mask is None else whole(estimate.mask, height, width)
        for way, mask in zip(WAYS, (own, fill(estimate.box, height, width), cut), strict=True):
            measures[way].append((region_similarity(mask, truth), contour_accuracy(mask, truth)))
    counts = {OWN: given, FILLED: len(sequence) - first - 1, GRABCUT: len(sequence) - first - 1}
    tables = {way: np.array(measures[way], np.float64).reshape(-1, 2) for way in WAYS}
    return {way: MaskRun(tables[way][:, 0], tables[way][:, 1], np.array(seconds[way]), counts[way]) for way in WAYS}


@dataclass(frozen=True)
class MaskMeasures:
    """Means over the frames of each sequence, then over sequences; 0 to 1."""

    region: float  # J
    contours: float  # F
    fps: float  # frames per second of processor time

    def as_json(self) -> dict[str, Any]:
        return {"J": round(self.region, 6), "F": round(self.contours, 6), "fps": round(self.fps, 3)}


def summarise(runs: SequenceOf[MaskRun]) -> MaskMeasures:
    """Means over sequences, as in DAVIS."""
    seconds = np.concatenate([one.seconds for one in runs])
    return MaskMeasures(
        float(np.mean([one.region.mean() for one in runs])),
        float(np.mean([one.contours.mean() for one in runs])),
        len(seconds) / float(seconds.sum()),
    )


@dataclass(frozen=True, eq=False)
class MaskResult:
    """Masks of one tracker on a set of sequences."""

    model: str
    ways: dict[str, MaskMeasures]
    per_sequence: dict[str, dict[str, MaskMeasures]]

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "ways": {way: one.as_json() for way, one in self.ways.items()},
            "per_sequence": {
                name: {way: one.as_json() for way, one in ways.items()} for name, ways in self.per_sequence.items()
            },
        }


def evaluate(
    tracker: SingleObjectTracker,
    sequences: SequenceOf[Sequence],
    every: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> MaskResult:
    """Run a tracker over sequences with masks, see `run`.

    Ways in which there was no mask in any frame (`OWN` of a tracker that gives boxes only) are left out.
    """
    first = sequences[0]
    warm = int(np.flatnonzero(np.isfinite(first.boxes).all(1))[0])
    image = first.image(warm)
    tracker.track(image, tracker.start(image, first.boxes[warm][None]))
    runs = {sequence.name: run(tracker, sequence, every, progress) for sequence in sequences}
    ways = [way for way in WAYS if any(one[way].given for one in runs.values())]
    return MaskResult(
        tracker.card.name,
        {way: summarise([one[way] for one in runs.values()]) for way in ways},
        {name: {way: summarise([one[way]]) for way in ways} for name, one in runs.items()},
    )

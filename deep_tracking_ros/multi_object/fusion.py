"""Late fusion: objects followed in space and objects followed in an image that are the same.

In the spirit of EagerMOT (Kim, Osep, Leal-Taixé, ICRA 2021) and DeepFusionMOT (Wang et al., RA-L 2022): what is known
in space is projected into the image and associated by overlap. Each side keeps its own tracks and ids. The existence
of an object in space is weighed with what the camera says of it, as independent evidence: log-odds are summed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.multi_object.parts.assignment import assign_pairs
from deep_tracking_ros.multi_object.parts.overlap import overlaps

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]

# corners in units of half the sizes, and the edges between them
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 2])
NEAR = 0.1
"""What is nearer to the camera than this is cut off, m: behind it nothing has a place in the image."""


@dataclass(frozen=True)
class FusionSettings:
    """How much the camera's word counts."""

    overlap: float = 0.3  # least IoU of an outline and a box in the image that are the same object
    camera_recall: float = 0.9  # probability that the camera follows an object that it can see
    camera_precision: float = 0.9  # probability that what it follows is an object
    least_height: float = 25.0  # px; lower outlines are too small for the camera to be asked
    visible: float = 0.5  # and so are those of which less than this share is on the image and not hidden


@dataclass(frozen=True, eq=False)
class Fused:
    """What becomes of N objects in space."""

    image_row: Indices  # (N,) row of the box in the image that is the same object; -1 = none
    odds: Array  # (N,) log-odds that the object exists


def outlines(poses: Array, sizes: Array, camera: Array, matrix: Array) -> tuple[Array, Array]:
    """Boxes in space as an ideal pinhole camera sees them.

    Args:
        poses: (N, 4, 4) of the centres in some frame; x along the length, z up.
        sizes: (N, 3) length, width, height, m.
        camera: (4, 4) of that frame in the camera's optical frame (x right, y down, z forward).
        matrix: (3, 3) K, px.

    Returns:
        (N, 4) xyxy of the smallest box around each, px, which may reach beyond the image; nan where all of it is behind
        the camera. (N,) distance of the centre along the optical axis, m.
    """
    n = len(poses)
    local = _CORNERS * sizes[:, None] / 2
    frame = camera @ poses
    points = np.einsum("nij,nkj->nki", frame[:, :3, :3], local) + frame[:, None, :3, 3]
    # what crosses the plane right before the camera is cut off there: corners behind it would come out mirrored
    one, other = points[:, _EDGES[:, 0]], points[:, _EDGES[:, 1]]
    step = other[..., 2] - one[..., 2]
    share = np.divide(NEAR - one[..., 2], step, out=np.full(step.shape, -1.0), where=step != 0)
    cut = one + np.clip(share, 0, 1)[..., None] * (other - one)
    every = np.concatenate([points, cut], 1)
    valid = np.concatenate([points[..., 2] >= NEAR, (share > 0) & (share < 1)], 1)
    pixels = every @ matrix.T
    pixels = pixels[..., :2] / np.maximum(pixels[..., 2:], NEAR / 2)
    low = np.where(valid[..., None], pixels, np.inf).min(1)
    high = np.where(valid[..., None], pixels, -np.inf).max(1)
    boxes = np.concatenate([low, high], 1)
    boxes[np.isinf(boxes).any(1)] = np.nan
    return boxes.reshape(n, 4), frame[:, 2, 3]


def fuse(
    seen: Array,
    depth: Array,
    odds: Array,
    boxes: Array,
    scores: Array,
    size: tuple[int, int],
    settings: FusionSettings | None = None,
    kinds: tuple[Indices, Indices] | None = None,
) -> Fused:
    """Which objects in space are which in the image, and how sure each of them is with both together.

    An object that is linked gains by what the camera's word is worth: its score, but no more than ``camera_precision``,
    since scores of networks are too sure of themselves. One that the camera should see and does not follow loses by
    its ``camera_recall``. Of others the camera knows nothing.

    Args:
        seen: (N, 4) outlines of the objects, px; nan = not before the camera.
        depth: (N,) m along the optical axis: nearer ones hide those behind them.
        odds: (N,) log-odds that each exists, by the sensor in space alone.
        boxes: (M, 4) of the objects followed in the image, px.
        scores: (M,) probability of each, -1 = unknown.
        size: width and height of the image, px.
        kinds: (N,) and (M,), what each may be: those of different numbers are not the same object; -1 = anything.
            None = all may be anything.
    """
    s = settings or FusionSettings()
    n, m = len(seen), len(boxes)
    row = np.full(n, -1, np.intp)
    limits = np.array([*size, *size]) - 0.5
    on_image = np.clip(seen, -0.5, limits)
    sides = on_image[:, 2:] - on_image[:, :2]
    usable = np.flatnonzero((sides > 0).all(1))  # false for nan
    if len(usable) and m:
        i, j, overlap = overlaps(on_image[usable], np.clip(boxes, -0.5, limits), s.overlap)
        if kinds is not None:
            mine, theirs = kinds[0][usable[i]], kinds[1][j]
            same = (mine == theirs) | (mine < 0) | (theirs < 0)
            i, j, overlap = i[same], j[same], overlap[same]
        pairs = assign_pairs(i, j, 1 - overlap, (len(usable), m), 1.0)
        row[usable[pairs[:, 0]]] = pairs[:, 1]
    asked = _visible(seen, on_image, depth, s) & (row < 0)
    total = np.array(odds, np.float64)
    linked: Flags = row >= 0
    word = np.where(scores < 0, s.camera_precision, np.minimum(scores, s.camera_precision))
    total[linked] += np.maximum(_log_odds(word[row[linked]]), 0)
    total[asked] += np.log(max(1 - s.camera_recall, 1e-9))
    return Fused(row, total)


def _visible(seen: Array, on_image: Array, depth: Array, s: FusionSettings) -> Flags:
    """(N,) outlines that are large enough, enough on the image, and not hidden by a nearer one."""
    area = np.prod(seen[:, 2:] - seen[:, :2], axis=1)
    sides = on_image[:, 2:] - on_image[:, :2]
    shown = np.maximum(sides, 0).prod(1)
    large: Flags = (sides[:, 1] >= s.least_height) & (shown >= s.visible * area) & (depth > 0)
    both = np.minimum(on_image[:, None, 2:], on_image[:, 2:]) - np.maximum(on_image[:, None, :2], on_image[:, :2])
    covered = np.maximum(both, 0).prod(-1) * (depth[None, :] < depth[:, None])
    hidden: Flags = np.nan_to_num(covered).max(1, initial=0) > (1 - s.visible) * shown
    return np.asarray(large & ~hidden)


def _log_odds(probability: Array) -> Array:
    p = np.clip(probability, 1e-3, 1 - 1e-3)
    return np.asarray(np.log(p / (1 - p)))

"""Boxes of road users in a lidar's sweep without a trained detector: ground away, group, fit, complete.

The pieces and their papers are in ``parts``: `ground` (Patchwork), `clusters` (DBSCAN), `rectangles` (L-shape fitting)
and `shapes` (sizes of classes). What comes out is a proposal: whatever has the size of a car is taken for one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep_tracking_ros.detection.parts.clusters import BACKENDS, cluster, near_pairs, open3d
from deep_tracking_ros.detection.parts.ground import GroundSettings, height_above_ground
from deep_tracking_ros.detection.parts.rectangles import fit_rectangles
from deep_tracking_ros.detection.parts.shapes import SHAPES, complete
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.geometry.boxes3d import intersection_area

Array = NDArray[np.float64]

UPRIGHT = 0.4
"""Heights count so much when points are grouped: beams lie wider apart than columns, and objects do not pile up."""
NEIGHBOURS = 3
"""Cells within reach, itself among them, that make a cell the core of a group."""

GAP = 1.8
"""Groups this near to each other may be one object, of which a part is hidden or lies flat in the beams, m."""
TOGETHER = 0.95
"""How much such a pair is worth beside a group of the same merit."""
LARGEST = 16.0
"""Groups whose diagonal is longer than this are no objects, m."""
INSIDE = 0.3
"""Two boxes that share more than this of the smaller one are not two objects."""
BEAM = 0.015
"""What is met up to here below the highest beam may go on above it, rad."""


@dataclass(frozen=True)
class LidarSettings:
    """How a sweep becomes proposals."""

    nearest: float = 2.0  # m, points nearer to the sensor are of its vehicle
    furthest: float = 80.0  # m, and what is further away is not looked at
    clearance: float = 0.2  # m above the ground from which a point may be of an object
    ceiling: float = 4.5  # m above the ground up to which
    cell: float = 0.2  # m, points in one cell are one when they are grouped
    reach: float = 0.4  # m, and cells this near to each other are one group
    reach_growth: float = 0.008  # m more reach per m of distance
    fewest: int = 6  # points of a proposal
    least_score: float = 0.2  # probability that it is of its class
    clustering: str = "scipy"  # or open3d
    ground: GroundSettings = field(default_factory=GroundSettings)


@dataclass(frozen=True, eq=False)
class Proposals:
    """N boxes, best first."""

    boxes: Array  # (N, 7) in the frame of the points, see `boxes3d`; half a turn of the yaw is open
    scores: Array  # (N,) probability of the label
    labels: tuple[str, ...]


class LidarDetector:
    """Proposals of one sweep after the other; keeps nothing from one to the next."""

    def __init__(self, settings: LidarSettings | None = None) -> None:
        """Raises `InvalidRequestError` for an unknown clustering, or one that is not installed."""
        self.settings = settings or LidarSettings()
        if self.settings.clustering not in BACKENDS:
            raise InvalidRequestError(
                f"clustering is {self.settings.clustering!r}, it must be one of {', '.join(BACKENDS)}"
            )
        if self.settings.clustering == "open3d":
            open3d()

    def __call__(self, points: ArrayLike) -> Proposals:
        """Proposals in points (N, 3) about the sensor at 0, z up, m; those that are not finite are left out."""
        s = self.settings
        p = np.asarray(points, np.float64).reshape(-1, 3)
        with np.errstate(over="ignore", invalid="ignore"):
            distance = np.hypot(p[:, 0], p[:, 1])
        p = p[(distance >= s.nearest) & (distance <= s.furthest) & np.isfinite(p[:, 2])]
        height = height_above_ground(p, s.ground)
        # the highest beam, apart from a few stray echoes
        steepest = float(np.quantile(p[:, 2] / np.hypot(p[:, 0], p[:, 1]), 0.999)) if len(p) else 0.0
        above = (height > s.clearance) & (height < s.ceiling)
        p, height = p[above], height[above]
        group = self._groups(p)
        kept = group >= 0
        kept[kept] = self._possible(p[kept], group[kept])
        p, height = p[kept], height[kept]
        if len(p) == 0:
            return Proposals(np.zeros((0, 7)), np.zeros(0), ())
        group = np.unique(group[kept], return_inverse=True)[1]
        return self._proposals(p, height, group, steepest)

    def _groups(self, points: Array) -> NDArray[np.intp]:
        """(N,) group of each point, -1 = none; grouped are the cells of a grid that have points."""
        s = self.settings
        if len(points) == 0:
            return np.zeros(0, np.intp)
        place = np.floor(points / s.cell).astype(np.int64) + 2**20
        key = (place[:, 0] << 42) | (place[:, 1] << 21) | place[:, 2]
        cells, cell_of = np.unique(key, return_inverse=True)
        n = np.bincount(cell_of)
        centre = np.stack([np.bincount(cell_of, points[:, k]) / n for k in range(3)], 1)
        centre[:, 2] *= UPRIGHT
        label = cluster(centre, s.reach, s.reach_growth, min(NEIGHBOURS, len(cells)), BACKENDS[s.clustering])
        return label[cell_of]

    def _possible(self, points: Array, group: NDArray[np.intp]) -> NDArray[np.bool_]:
        """(N,) whether the group of each point has enough of them and is not larger than any object."""
        order = np.argsort(group, kind="stable")
        first = np.flatnonzero(np.diff(group[order], prepend=-1))
        flat = points[order, :2]
        extent = np.maximum.reduceat(flat, first) - np.minimum.reduceat(flat, first) if len(first) else flat
        good = (np.bincount(group)[group[order[first]]] >= self.settings.fewest) & (np.hypot(*extent.T) <= LARGEST)
        return np.asarray(good[np.searchsorted(group[order[first]], group)])

    def _proposals(self, points: Array, height: Array, group: NDArray[np.intp], steepest: float) -> Proposals:
        """Boxes of groups, and of pairs of groups that together make a better object than each alone."""
        pairs = near_pairs(points[:, :2], group, GAP)
        points, height, group = _with_pairs(points, height, group, pairs)
        first = np.flatnonzero(np.diff(group, prepend=-1))
        lowest, highest = np.minimum.reduceat(height, first), np.maximum.reduceat(height, first)
        ground = np.add.reduceat(points[:, 2] - height, first) / np.diff(first, append=len(group))
        elevation = points[:, 2] / np.hypot(points[:, 0], points[:, 1])
        cut = np.maximum.reduceat(elevation, first) > steepest - BEAM
        seen = fit_rectangles(points[:, :2], group)
        found = complete(seen, ground, lowest - self.settings.clearance, highest, cut)
        n = len(first) - len(pairs)
        parts = np.concatenate([np.repeat(np.arange(n), 2).reshape(-1, 2), pairs])
        # what looks like a person on either side of the gap is more likely two people than a part of something large
        person = np.where([SHAPES[k].label == "pedestrian" for k in found.kinds[:n]], found.scores[:n], 0)
        merit = found.scores.copy()
        merit[n:] *= TOGETHER * (1 - person[pairs].min(1))
        rows = np.flatnonzero(merit >= self.settings.least_score)
        rows = rows[np.argsort(-merit[rows], kind="stable")]
        rows = rows[_apart(found.boxes[rows], parts[rows])]
        return Proposals(found.boxes[rows], merit[rows], tuple(SHAPES[k].label for k in found.kinds[rows]))


def _with_pairs(
    points: Array, height: Array, group: NDArray[np.intp], pairs: NDArray[np.intp]
) -> tuple[Array, Array, NDArray[np.intp]]:
    """The points of each group, in order of the groups, and those of each pair as one more group."""
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(group.max() + 2))
    rows = [order, *(order[first[k] : first[k + 1]] for pair in pairs for k in pair)]
    count = np.diff(first)
    number = np.repeat(np.arange(len(pairs)) + len(count), count[pairs].sum(1)) if len(pairs) else group[:0]
    chosen = np.concatenate(rows)
    return points[chosen], height[chosen], np.concatenate([group[order], number])


def _apart(boxes: Array, parts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows of boxes, best first, that share no group with a better one and do not stand in its place.

    Args:
        boxes: (N, 7).
        parts: (N, 2) the groups that each is made of, the same one twice where it is one.
    """
    reach = np.hypot(boxes[:, 3], boxes[:, 4]) / 2
    apart = np.hypot(*(boxes[:, None, :2] - boxes[:, :2]).transpose(2, 0, 1))
    better, worse = np.nonzero(np.triu(apart < reach[:, None] + reach, 1))
    area = boxes[:, 3] * boxes[:, 4]
    shared = intersection_area(boxes[better], boxes[worse]) > INSIDE * np.minimum(area[better], area[worse])
    taken = np.triu((parts[:, None, :, None] == parts[None, :, None, :]).any((2, 3)), 1)
    taken[better[shared], worse[shared]] = True
    alive = np.ones(len(boxes), bool)
    for row in np.flatnonzero(taken.any(1)):
        if alive[row]:
            alive[taken[row]] = False
    return np.flatnonzero(alive)

"""How high points lie above the ground: planes fitted to the cells of a polar grid, from near to far.

After Patchwork (Lim et al., RA-L 2021): rings that grow with the distance, a plane through the lowest points of each
cell, and tests that a plane is ground: it is upright, and it goes on where the ground nearer to the sensor ends. A cell
that has no ground of its own, as on the roof of a lorry, continues that of its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RINGS = np.array([0.0, 3, 5, 7.5, 10.5, 14, 18, 22.5, 28, 34, 41, 50, 60, 72, 86, 102, 120])
"""Distances from the sensor at which rings begin, m; what is beyond the last counts to the last ring."""
SECTORS = 32
ROUNDS = 3
"""So often a plane is fitted to the points near the plane before."""
STRAY = 0.02, 10
"""The lowest points of a cell are not trusted, since mirrors send echoes from below: this share, and no more than."""
FEWEST = 6
"""Points that make a plane."""


@dataclass(frozen=True)
class GroundSettings:
    """What counts as ground."""

    thickness: float = 0.15  # m, points this near to a plane are of it
    steepest: float = 0.25  # m of height per m of way
    step: float = 0.15  # m by which the ground of a cell may be off from where its neighbour's leads
    bend: float = 0.1  # and by which the grade may change from there


def height_above_ground(points: Array, settings: GroundSettings | None = None) -> Array:
    """(N,) height of each point (N, 3) above the ground under it, m; the frame's z axis points up.

    Where no ground is seen at all, heights count from the lowest points.
    """
    s = settings or GroundSettings()
    if len(points) == 0:
        return np.zeros(0)
    distance = np.hypot(points[:, 0], points[:, 1])
    ring = np.minimum(np.searchsorted(RINGS, distance, side="right") - 1, len(RINGS) - 1)
    angle = np.arctan2(points[:, 1], points[:, 0])
    sector = ((angle + np.pi) * (SECTORS / (2 * np.pi))).astype(np.intp) % SECTORS
    cell = ring * SECTORS + sector
    planes, known = _fit(points, cell, s)
    planes = _spread(planes.reshape(len(RINGS), SECTORS, 3), known.reshape(len(RINGS), SECTORS), points, s)
    x, y, z = points.T
    height = z - _height(planes.reshape(-1, 3)[cell], x, y)
    # where the grade changes within a cell, a part of it lies in the plane of the next ring or of the one before
    for beside in (np.concatenate([planes[:1], planes[:-1]]), np.concatenate([planes[1:], planes[-1:]])):
        other = z - _height(beside.reshape(-1, 3)[cell], x, y)
        height = np.where(np.abs(other) < np.abs(height), other, height)
    return np.asarray(height)


def _height(planes: Array, x: Array, y: Array) -> Array:
    """Height of planes (..., 3) of a x + b y + c at places."""
    return np.asarray(planes[..., 0] * x + planes[..., 1] * y + planes[..., 2])


def _fit(points: Array, cell: NDArray[np.intp], s: GroundSettings) -> tuple[Array, NDArray[np.bool_]]:
    """(C, 3) plane of each cell, and whether enough points lie in it and it is not too steep."""
    cells = len(RINGS) * SECTORS
    order = np.lexsort((points[:, 2], cell))
    count = np.bincount(cell, minlength=cells)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    low = first + np.minimum(count * STRAY[0], STRAY[1]).astype(np.intp)
    base = points[order[np.minimum(low, len(points) - 1)], 2]
    near = np.abs(points[:, 2] - base[cell]) < 2 * s.thickness
    planes, enough = np.zeros((cells, 3)), np.zeros(cells, bool)
    for _ in range(ROUNDS):
        planes, enough = _least_squares(points[near], cell[near], cells)
        near = np.abs(points[:, 2] - _height(planes[cell], points[:, 0], points[:, 1])) < s.thickness
        near &= enough[cell]
    return planes, enough & (np.hypot(planes[:, 0], planes[:, 1]) <= s.steepest)


def _least_squares(points: Array, cell: NDArray[np.intp], cells: int) -> tuple[Array, NDArray[np.bool_]]:
    """The plane of least squares in height through the points of each cell; level where they lie on one line."""
    count = np.bincount(cell, minlength=cells)
    enough = count >= FEWEST
    mean = np.stack([np.bincount(cell, points[:, k], cells) for k in range(3)], 1) / np.maximum(count, 1)[:, None]
    x, y, z = (points - mean[cell]).T
    xx, xy, yy, xz, yz = (np.bincount(cell, v, cells) for v in (x * x, x * y, y * y, x * z, y * z))
    # a little stiffness keeps planes through a single ring of echoes from tilting about it
    stiff = 0.05 * count + 1e-9
    xx, yy = xx + stiff, yy + stiff
    determinant = xx * yy - xy * xy
    a, b = (yy * xz - xy * yz) / determinant, (xx * yz - xy * xz) / determinant
    return np.stack([a, b, mean[:, 2] - a * mean[:, 0] - b * mean[:, 1]], 1), enough


def _spread(planes: Array, known: NDArray[np.bool_], points: Array, s: GroundSettings) -> Array:
    """Planes of all cells (R, S, 3): from the sensor outwards, each is its own where that goes on from before."""
    middle = np.asarray((np.arange(SECTORS) + 0.5) * (2 * np.pi / SECTORS) - np.pi, np.float64)
    edges = np.append(RINGS, RINGS[-1] + 20)
    result = np.zeros_like(planes)
    before = np.tile(_start(planes, known, points, middle), (SECTORS, 1))
    for ring in range(len(RINGS)):
        radius = (edges[ring] + edges[ring + 1]) / 2
        x, y = radius * np.cos(middle), radius * np.sin(middle)
        own = _height(planes[ring], x, y)
        # a level continuation is as likely as a straight one
        inner = max(edges[ring], 1.0)
        level = _height(before, inner * np.cos(middle), inner * np.sin(middle))
        limit = s.step + s.bend * (radius - edges[ring])
        off = np.minimum(np.abs(own - _height(before, x, y)), np.abs(own - level))
        good = known[ring] & (off <= limit)
        result[ring] = np.where(good[:, None], planes[ring], before)
        # without a plane of its own a cell takes that of a neighbour in its ring, else the one before
        for shift in (1, -1):
            beside = np.roll(good, shift)
            result[ring] = np.where((~good & beside)[:, None], np.roll(result[ring], shift, 0), result[ring])
        before = result[ring]
    return result


def _start(planes: Array, known: NDArray[np.bool_], points: Array, middle: Array) -> Array:
    """(3,) plane to begin with: that of the cell near the sensor which most others there agree with."""
    candidates: list[Array] = []
    places: list[Array] = []
    for ring in range(len(RINGS) - 1):
        radius = (RINGS[ring] + RINGS[ring + 1]) / 2
        rows = known[ring]
        around = np.stack([radius * np.cos(middle), radius * np.sin(middle)], 1)[rows]
        candidates.append(planes[ring][rows])
        places.append(np.column_stack([around, _height(planes[ring][rows], *around.T)]))
        if sum(map(len, places)) >= 2 * SECTORS:
            break
    table, place = np.concatenate(candidates), np.concatenate(places)
    if len(place) == 0:
        return np.array([0.0, 0.0, np.percentile(points[:, 2], 5)])
    off = np.abs(_height(table[:, None], place[:, 0], place[:, 1]) - place[:, 2])
    votes = (off < 0.15).sum(1)
    best = np.flatnonzero(votes == votes.max())
    return np.asarray(table[best[np.argmin(table[best, 2])]])

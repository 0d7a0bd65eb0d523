"""Points that belong together: DBSCAN with a reach that grows with the distance from the sensor.

Ester et al., KDD 1996. The gaps between beams grow with the distance, so one reach for all would tear far objects apart
or join near ones. The plane is cut into rings, each is clustered with its own reach and a margin, and what shares a
point across a border is one cluster.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from deep_tracking_ros.errors import InvalidRequestError

Array = NDArray[np.float64]
Labels = NDArray[np.intp]
Dbscan = Callable[[Array, float, int], Labels]

RINGS = np.array([0.0, 10, 20, 30, 40, 50, 65, 80, 100, np.inf])
"""Borders of the rings in which the reach is the same, m from the sensor."""


def cluster(points: Array, near: float, growth: float, fewest: int, dbscan: Dbscan) -> Labels:
    """(N,) number of the cluster of each point (N, 3), from 0; -1 = alone.

    Args:
        points: m, about the sensor.
        near, growth: points of a cluster are within near + growth * distance from the sensor of each other, m.
        fewest: so many points within reach, itself among them, make a point the core of a cluster.
        dbscan: one of `BACKENDS`.
    """
    distance = np.hypot(points[:, 0], points[:, 1])
    numbers, members, total = [], [], 0
    for inner, outer in pairwise(RINGS):
        reach = near + growth * inner
        rows = np.flatnonzero((distance >= inner - reach) & (distance < outer + reach))
        if len(rows) == 0:
            continue
        labels = dbscan(points[rows], reach, fewest)
        rows, labels = rows[labels >= 0], labels[labels >= 0]
        members.append(rows)
        numbers.append(labels + total)
        total += int(labels.max(initial=-1)) + 1
    result = np.full(len(points), -1, np.intp)
    if total == 0:
        return result
    member, number = np.concatenate(members), np.concatenate(numbers)
    # points and the clusters that they are in are the nodes of a graph; what hangs together is one cluster
    n = len(points)
    graph = coo_matrix((np.ones(len(member), np.int8), (member, n + number)), shape=(n + total, n + total))
    whole = connected_components(graph, directed=False)[1]
    result[member] = np.unique(whole[member], return_inverse=True)[1]
    return result


def near_pairs(points: Array, group: Labels, gap: float) -> Labels:
    """(M, 2) groups that come within ``gap`` of each other seen from above, the lower number first.

    Args:
        points: (N, 2) m.
        group: (N,) of each point.
        gap: m; of each group one point in each square of a fifth of it is looked at.
    """
    place = np.floor(points / (gap / 5)).astype(np.int64) & 0xFFFFF
    cells, one = np.unique((group << 40) | (place[:, 0] << 20) | place[:, 1], return_index=True)
    owner = cells >> 40
    near = cKDTree(points[one]).query_pairs(gap, output_type="ndarray")
    low, high = np.sort(owner[near], 1).T
    pairs = np.unique((low << 32 | high)[low != high])
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], 1).astype(np.intp)


def dbscan_scipy(points: Array, reach: float, fewest: int) -> Labels:
    """DBSCAN over a k-d tree; a point between two clusters goes to that of the lower number."""
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    n = len(points)
    core = np.bincount(pairs.ravel(), minlength=n) + 1 >= fewest
    one, other = core[pairs[:, 0]], core[pairs[:, 1]]
    inner = one & other
    graph = coo_matrix((np.ones(int(inner.sum()), np.int8), tuple(pairs[inner].T)), shape=(n, n))
    component = connected_components(graph, directed=False)[1]
    labels = np.full(n, n, np.intp)
    labels[core] = np.unique(component[core], return_inverse=True)[1]
    border = one ^ other
    inside = np.where(one, pairs[:, 0], pairs[:, 1])[border]
    np.minimum.at(labels, pairs[border].sum(1) - inside, labels[inside])
    return np.where(labels == n, -1, labels)


def dbscan_open3d(points: Array, reach: float, fewest: int) -> Labels:
    """DBSCAN of Open3D. Raises `InvalidRequestError` where Open3D is missing."""
    o3d = open3d()
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    return np.asarray(cloud.cluster_dbscan(reach, fewest), np.intp)


BACKENDS: dict[str, Dbscan] = {"scipy": dbscan_scipy, "open3d": dbscan_open3d}
"""Who clusters; both find the same cores."""


@cache
def open3d() -> Any:
    """The module. Raises `InvalidRequestError` with what to install where it cannot be imported."""
    try:
        return importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise InvalidRequestError(
            f"Open3D cannot be imported ({error}): pip install 'deep_tracking_ros[lidar]', and on Debian apt-get "
            "install libusb-1.0-0 libgl1 libgomp1; or leave the clustering to scipy"
        ) from error

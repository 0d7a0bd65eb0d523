"""Sweeps of a lidar from files: packed in one .npz, or one .bin each as KITTI and Argoverse 2 have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deep_tracking_ros.errors import DataError
from deep_tracking_ros.geometry.boxes3d import Array
from deep_tracking_ros.types import Cloud, nanoseconds

PERIOD_NS = 100_000_000
"""Between sweeps of which no time is known: most lidars turn at 10 Hz."""
STAMPED = 10**15
"""File names that are numbers above this are stamps in ns, smaller ones count sweeps."""


def read_sweeps(path: Path) -> list[tuple[Cloud, Array | None]]:
    """Clouds in order of time, each with the (4, 4) pose of the sensor in a fixed frame where that is known.

    ``path`` is an .npz with ``xyz_0``, ``xyz_1``, ... (n, 3), and where they are there ``intensity_0``, ..., ``scale``
    (m per unit), ``stamps`` (s) and ``poses`` or ``poses_icp`` (n, 4, 4); or a folder of .bin files, or one such file:
    x, y, z, intensity as float32 (KITTI), or as float16 in files named .f16.bin.

    Raises `DataError` for anything else.
    """
    try:
        if path.suffix == ".npz":
            return list(_packed(path))
        files = sorted(path.glob("*.bin")) if path.is_dir() else [path] if path.suffix == ".bin" else []
        if not files:
            raise DataError(f"{path} is no .npz file, .bin file or folder of .bin files")
        return [(_of_file(file, number), None) for number, file in enumerate(files)]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"cannot read sweeps from {path}: {error}") from error


def _packed(path: Path) -> Iterator[tuple[Cloud, Array | None]]:
    with np.load(path) as data:
        names = sorted((k for k in data.files if re.fullmatch(r"xyz_\d+", k)), key=lambda k: int(k[4:]))
        if not names:
            raise DataError(f"{path} has no xyz_0, it has {', '.join(data.files)}")
        scale = float(data["scale"]) if "scale" in data.files else 1.0
        stamps = data["stamps"] if "stamps" in data.files else np.arange(len(names)) * PERIOD_NS / 1e9
        poses = next((data[k] for k in ("poses", "poses_icp") if k in data.files), None)
        for row, name in enumerate(names):
            strength = f"intensity_{name[4:]}"
            cloud = Cloud(
                nanoseconds(float(stamps[row])),
                "lidar",
                (data[name] * np.float32(scale)).astype(np.float32),
                data[strength].astype(np.float32) if strength in data.files else None,
            )
            yield cloud, None if poses is None else np.asarray(poses[row], np.float64)


def _of_file(file: Path, number: int) -> Cloud:
    half = file.name.endswith(".f16.bin")
    table = np.fromfile(file, np.float16 if half else np.float32).reshape(-1, 4).astype(np.float32)
    name = file.name.split(".")[0]
    stamped = name.isdecimal() and int(name) > STAMPED
    return Cloud(int(name) if stamped else number * PERIOD_NS, "lidar", table[:, :3], table[:, 3])

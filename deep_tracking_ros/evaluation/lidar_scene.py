"""A street seen by a spinning lidar: rays cast against boxes, with the exact box of every object known.

Objects are unions of cuboids that touch all six sides of their box, the ground is flat and may rise from some line on,
ranges have noise and some echoes are lost. A sweep is taken at one time: it is not skewed by the motion of the sensor.
Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deep_tracking_ros.geometry.boxes3d import Array, corners, transform, wrap
from deep_tracking_ros.types import Cloud, nanoseconds

PARTS: dict[str, Array] = {
    # shares of length, width (from the middle) and height (from the ground): x0, x1, y0, y1, z0, z1
    "car": np.array([[-0.5, 0.5, -0.5, 0.5, 0.15, 0.55], [-0.4, 0.22, -0.43, 0.43, 0.55, 1.0]]),
    "truck": np.array([[0.28, 0.5, -0.48, 0.48, 0.1, 0.8], [-0.5, 0.26, -0.5, 0.5, 0.3, 1.0]]),
    "pedestrian": np.array(
        [[-0.5, 0.1, 0.05, 0.4, 0, 0.5], [-0.1, 0.5, -0.4, -0.05, 0, 0.5], [-0.3, 0.3, -0.5, 0.5, 0.5, 0.86],
         [-0.2, 0.2, -0.2, 0.2, 0.86, 1.0]]
    ),
    "cyclist": np.array(
        [[-0.5, 0.5, -0.08, 0.08, 0, 0.42], [-0.15, 0.1, -0.35, 0.35, 0.4, 0.6], [-0.15, 0.2, -0.5, 0.5, 0.6, 0.86],
         [0.05, 0.2, -0.2, 0.2, 0.86, 1.0]]
    ),
    "building": np.array([[-0.5, 0.5, -0.5, 0.5, 0, 1.0]]),
    "pole": np.array([[-0.5, 0.5, -0.5, 0.5, 0, 1.0]]),
    "tree": np.array([[-0.05, 0.05, -0.05, 0.05, 0, 0.45], [-0.4, 0.4, -0.5, 0.5, 0.4, 0.9],
                      [-0.5, 0.5, -0.35, 0.35, 0.5, 1.0]]),
    "bush": np.array([[-0.5, 0.2, -0.3, 0.5, 0, 0.8], [-0.2, 0.5, -0.5, 0.2, 0, 1.0]]),
}  # fmt: skip
OBJECTS = ("car", "truck", "pedestrian", "cyclist")
"""Kinds that count as objects; the others are clutter."""


@dataclass(frozen=True, eq=False)
class Lidar:
    """A spinning lidar with its beams level with the ground under it."""

    elevations: Array = field(default_factory=lambda: np.linspace(2.0, -24.8, 64))  # of the beams, degrees
    step: float = 0.2  # degrees between two columns
    height: float = 1.8  # m above the ground
    furthest: float = 100.0  # m
    noise: float = 0.02  # m, standard deviation of a range
    lost: float = 0.05  # share of echoes


@dataclass(frozen=True, eq=False)
class Thing:
    """Something that stands on the ground, and where it is at time 0; it keeps its speed and rate of turn."""

    kind: str
    size: tuple[float, float, float]  # length, width, height, m
    x: float  # m
    y: float  # m
    yaw: float = 0.0  # rad
    speed: float = 0.0  # m/s along the heading
    turn: float = 0.0  # rad/s


@dataclass(frozen=True, eq=False)
class Ground:
    """Level up to a line, rising (or falling) behind it."""

    grade: float = 0.0  # m up per m of way
    start: float = 0.0  # m, x of the line

    def height(self, x: Array) -> Array:
        """Height at x, m."""
        return np.asarray(self.grade * np.maximum(x - self.start, 0))


@dataclass(frozen=True, eq=False)
class Sweep:
    """What the lidar saw, and what was there, objects only; all in the frame of the sensor."""

    cloud: Cloud
    boxes: Array  # (N, 7) see `boxes3d`
    velocity: Array  # (N, 2) over ground, m/s
    labels: tuple[str, ...]
    ids: NDArray[np.intp]  # (N,)
    hits: NDArray[np.intp]  # (N,) echoes from each object
    ground: NDArray[np.bool_]  # (P,) whether a point is of the ground
    pose: Array  # (4, 4) of the sensor in the street


@dataclass(frozen=True, eq=False)
class Scene:
    """Things on the ground, and a sensor that drives along x at a constant speed."""

    things: Sequence[Thing]
    ground: Ground = field(default_factory=Ground)
    lidar: Lidar = field(default_factory=Lidar)
    speed: float = 0.0  # m/s of the sensor
    rate: float = 10.0  # sweeps a second
    seed: int = 0

    def sweep(self, number: int) -> Sweep:
        """The sweep of this number, from 0; the same each time that it is asked for."""
        time = number / self.rate
        random = np.random.default_rng([self.seed, number])
        pose = np.eye(4)
        pose[0, 3] = self.speed * time
        pose[2, 3] = self.lidar.height + self.ground.height(pose[0, 3])
        there = transform(
            np.array([self._box(thing, time) for thing in self.things]).reshape(-1, 7), np.linalg.inv(pose)
        )
        azimuth = np.radians(np.arange(-180, 180, self.lidar.step))
        elevation = np.radians(self.lidar.elevations)
        rays = np.stack(
            [
                np.outer(np.cos(azimuth), np.cos(elevation)),
                np.outer(np.sin(azimuth), np.cos(elevation)),
                np.broadcast_to(np.sin(elevation), (len(azimuth), len(elevation))),
            ],
            -1,
        ).astype(np.float32)
        away = self._to_ground(rays, pose)
        owner = np.full(away.shape, -1)
        for index, (thing, box) in enumerate(zip(self.things, there, strict=True)):
            for part in _parts(thing.kind, box):
                _cast(part, rays, azimuth, away, owner, index)
        echo = (away < self.lidar.furthest) & (random.random(away.shape) >= self.lidar.lost)
        away = away + random.normal(0, self.lidar.noise, away.shape).astype(np.float32)
        owner = owner[echo]
        points = rays[echo] * away[echo][:, None]
        objects = [i for i, thing in enumerate(self.things) if thing.kind in OBJECTS]
        heading = there[objects, 6]
        speeds = np.array([self.things[i].speed for i in objects])
        return Sweep(
            cloud=Cloud(nanoseconds(time), "lidar", points.astype(np.float32)),
            boxes=there[objects],
            velocity=np.stack([np.cos(heading), np.sin(heading)], 1) * speeds[:, None],
            labels=tuple(self.things[i].kind for i in objects),
            ids=np.array(objects, np.intp),
            hits=np.bincount(owner + 1, minlength=len(self.things) + 1)[1:][objects],
            ground=owner < 0,
            pose=pose,
        )

    def _box(self, thing: Thing, time: float) -> Array:
        """(7,) box in the street; on an arc where the thing turns."""
        yaw = thing.yaw + thing.turn * time
        middle = thing.yaw + thing.turn * time / 2
        way = thing.speed * time * np.sinc(thing.turn * time / (2 * np.pi))
        x, y = thing.x + way * np.cos(middle), thing.y + way * np.sin(middle)
        foot = float(self.ground.height(np.asarray(x)))
        return np.array([x, y, foot + thing.size[2] / 2, *thing.size, wrap(yaw)])

    def _to_ground(self, rays: NDArray[np.float32], pose: Array) -> NDArray[np.float32]:
        """Distance along each ray to the ground, m; inf = none."""
        g, start = self.ground.grade, self.ground.start - pose[0, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.where(rays[..., 2] < 0, -pose[2, 3] / rays[..., 2], np.inf)
            slope = (-pose[2, 3] - g * start) / (rays[..., 2] - g * rays[..., 0])
            level = np.where(level * rays[..., 0] <= start, level, np.inf)
            slope = np.where((slope > 0) & (slope * rays[..., 0] > start), slope, np.inf)
        return np.fmin(level, slope).astype(np.float32)


def _parts(kind: str, box: Array) -> Array:
    """(M, 7) the cuboids of a thing."""
    low, high = PARTS[kind][:, ::2], PARTS[kind][:, 1::2]
    size = (high - low) * box[3:6]
    middle = (high + low) / 2 * box[3:6]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    x = box[0] + cos * middle[:, 0] - sin * middle[:, 1]
    y = box[1] + sin * middle[:, 0] + cos * middle[:, 1]
    z = box[2] - box[5] / 2 + middle[:, 2]
    return np.column_stack([x, y, z, size, np.full(len(size), box[6])])


def _cast(
    box: Array,
    rays: NDArray[np.float32],
    azimuth: Array,
    away: NDArray[np.float32],
    owner: NDArray[np.intp],
    number: int,
) -> None:
    """Let the rays that meet a cuboid end there, where it is nearer than what they met before."""
    seen = wrap(np.arctan2(*corners(box).T[::-1]) - np.arctan2(box[1], box[0]))
    columns = np.flatnonzero(np.abs(wrap(azimuth - np.arctan2(box[1], box[0]) - (seen.min() + seen.max()) / 2))
                             <= (seen.max() - seen.min()) / 2 + 1e-6)  # fmt: skip
    cos, sin = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
    direction, origin = rays[columns] @ turn, (-box[:3]).astype(np.float32) @ turn
    half = (box[3:6] / 2).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (-half - origin) / direction, (half - origin) / direction
    enters, leaves = np.fmin(one, two).max(-1), np.fmax(one, two).min(-1)
    hit = (enters <= leaves) & (enters > 0) & (enters < away[columns])
    rows, beams = np.nonzero(hit)
    away[columns[rows], beams], owner[columns[rows], beams] = enters[hit], number


def street(seed: int = 0, ground: Ground | None = None, lidar: Lidar | None = None) -> Scene:
    """A street of 300 m: parked and moving cars, trucks, people, cyclists, and buildings, trees, poles and bushes."""
    random = np.random.default_rng(seed)
    things: list[Thing] = []

    def vary(size: tuple[float, float, float], share: float = 0.06) -> tuple[float, float, float]:
        length, width, height = np.array(size) * random.normal(1, share, 3).clip(0.85, 1.15)
        return float(length), float(width), float(height)

    for side in (-1, 1):
        x = -40.0
        while x < 260:
            x += random.uniform(6.5, 16)
            turned = random.normal(0, 0.03) + (np.pi if random.random() < 0.5 else 0)
            if random.random() < 0.75:
                things.append(Thing("car", vary((4.5, 1.8, 1.55)), x, 6.3 * side + random.normal(0, 0.15), turned))
        for x in np.arange(-40, 260, 24.0):
            size = (float(random.uniform(10, 22)), 10.0, float(random.uniform(6, 15)))
            things.append(Thing("building", size, x + 12, side * (17.5 + random.uniform(0, 2))))
        for x in np.arange(-40, 260, 15.0):
            kind = random.choice(["tree", "pole", "bush"], p=[0.4, 0.35, 0.25])
            size = {"tree": (3.5, 3.5, 6.5), "pole": (0.15, 0.15, 5.0), "bush": (1.8, 1.6, 1.2)}[kind]
            things.append(
                Thing(str(kind), vary(size), x + random.uniform(-4, 4), side * (8.6 if kind != "bush" else 11))
            )
        for x in random.uniform(-20, 200, 12):
            way = random.choice([0, np.pi]) + random.normal(0, 0.1)
            y = side * random.uniform(9.4, 11.2)
            things.append(Thing("pedestrian", vary((0.55, 0.6, 1.75)), x, y, way, random.uniform(0.8, 1.7)))
    for x in np.arange(30, 260, 28.0):
        x += random.uniform(-5, 5)
        things.append(Thing("car", vary((4.5, 1.8, 1.55)), x, 1.9, np.pi, random.uniform(7, 12)))
    for x in (-22.0, 24.0, 70.0):
        things.append(Thing("car", vary((4.5, 1.8, 1.55)), x, -1.9, 0.0, random.uniform(5, 8)))
    things.append(Thing("truck", vary((8.5, 2.5, 3.3)), 110.0, 1.9, np.pi, 8.0))
    things.append(Thing("truck", vary((8.5, 2.5, 3.3)), 46.0, -1.9, 0.0, 6.5))
    for x in (18.0, 60.0):
        things.append(Thing("cyclist", vary((1.75, 0.6, 1.75)), x, -4.0, 0.0, random.uniform(3.5, 5)))
        things.append(Thing("cyclist", vary((1.75, 0.6, 1.75)), x + 30, 4.0, np.pi, random.uniform(3.5, 5)))
    for x, side in ((26.0, 1), (44.0, -1)):
        things.append(Thing("pedestrian", vary((0.55, 0.6, 1.75)), x, 8.0 * side, -side * np.pi / 2, 1.3))
    return Scene(things, ground or Ground(), lidar or Lidar(), speed=6.0, seed=seed)

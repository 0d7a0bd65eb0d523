"""The simulated street is what it says it is, since everything measured on it rests on that."""

import numpy as np
import pytest

from deep_tracking_ros.evaluation.lidar_scene import OBJECTS, PARTS, Ground, Lidar, Scene, Thing, street
from deep_tracking_ros.geometry.boxes3d import transform

CLEAN = Lidar(noise=0.0, lost=0.0)


def local(points, box):
    """Points in the axes of a box, in units of half its sizes."""
    cos, sin = np.cos(box[6]), np.sin(box[6])
    d = points - box[:3]
    return np.stack([cos * d[:, 0] + sin * d[:, 1], cos * d[:, 1] - sin * d[:, 0], d[:, 2]], 1) / (box[3:6] / 2)


@pytest.mark.parametrize("kind", OBJECTS)
def test_parts_touch_all_sides_of_their_box(kind):
    low, high = PARTS[kind][:, ::2].min(0), PARTS[kind][:, 1::2].max(0)
    # wheels and the like are left out: vehicles may end a little above the ground
    np.testing.assert_allclose([*low[:2], *high], [-0.5, -0.5, 0.5, 0.5, 1.0])
    assert 0 <= low[2] <= 0.15


def test_every_echo_lies_on_the_ground_or_on_a_thing():
    scene = Scene([Thing("car", (4.5, 1.8, 1.5), 12, 3, 0.4), Thing("pedestrian", (0.6, 0.6, 1.7), 6, -4)], lidar=CLEAN)
    sweep = scene.sweep(0)
    points = sweep.cloud.points.astype(float)
    assert np.abs(points[sweep.ground, 2] + CLEAN.height).max() < 1e-3
    inside = [np.abs(local(points[~sweep.ground], box)).max(1) < 1.001 for box in sweep.boxes]
    assert np.logical_or(*inside).all()
    assert [int(mask.sum()) for mask in inside] == sweep.hits.tolist()
    assert (sweep.hits > 100).all()
    # nearer sides only: no echo from a side that faces away
    car = local(points[~sweep.ground][inside[0]], sweep.boxes[0])
    assert car[:, 0].max() < 0.99


def test_what_stands_before_hides_what_is_behind():
    wall, car = Thing("building", (1.0, 8.0, 5.0), 10, 0), Thing("car", (4.5, 1.8, 1.5), 20, 0)
    assert Scene([car]).sweep(0).hits[0] > 50
    assert Scene([wall, car]).sweep(0).hits[0] == 0


def test_ground_rises_behind_its_line():
    ground = Ground(grade=0.1, start=10)
    sweep = Scene([Thing("car", (4.5, 1.8, 1.5), 30, 0)], ground, CLEAN).sweep(0)
    x, _, z = sweep.cloud.points[sweep.ground].astype(float).T
    np.testing.assert_allclose(z + CLEAN.height, 0.1 * np.maximum(x - 10, 0), atol=1e-3)
    assert (x > 25).any()
    assert sweep.boxes[0, 2] == pytest.approx(2.0 + 0.75 - CLEAN.height)


def test_things_move_on_arcs_and_the_sensor_straight_on():
    thing = Thing("car", (4.5, 1.8, 1.5), 20, 5, yaw=0.3, speed=8, turn=0.5)
    scene = Scene([thing], speed=5)
    one, other = scene.sweep(10), scene.sweep(11)
    places = [transform(sweep.boxes, sweep.pose)[0] for sweep in (one, other)]
    assert other.pose[0, 3] - one.pose[0, 3] == pytest.approx(0.5)
    assert np.hypot(*(places[1] - places[0])[:2]) == pytest.approx(0.8, abs=1e-3)
    assert places[1][6] - places[0][6] == pytest.approx(0.05)
    np.testing.assert_allclose((places[1] - places[0])[:2] / 0.1, one.velocity[0], atol=0.3)
    # a full turn leads back to the start
    assert scene._box(thing, 4 * np.pi)[:2] == pytest.approx([20, 5], abs=1e-9)


def test_noise_and_losses_are_as_told():
    quiet, loud = (Scene([], lidar=lidar).sweep(3) for lidar in (CLEAN, Lidar()))
    share = len(loud.cloud.points) / len(quiet.cloud.points)
    assert share == pytest.approx(0.95, abs=0.01)
    points = loud.cloud.points.astype(float)
    # the range along a beam is known from its elevation
    distance = np.linalg.norm(points, axis=1)
    elevation = np.radians(Lidar().elevations)
    beam = elevation[np.abs(np.arcsin(points[:, 2] / distance)[:, None] - elevation).argmin(1)]
    assert np.std(distance + Lidar().height / np.sin(beam)) == pytest.approx(0.02, rel=0.1)


def test_a_street_is_the_same_each_time():
    one, other = (street(7).sweep(5) for _ in range(2))
    assert one.cloud.points.tobytes() == other.cloud.points.tobytes()
    assert one.boxes.tobytes() == other.boxes.tobytes()
    assert not np.array_equal(one.boxes, street(8).sweep(5).boxes)
    assert set(one.labels) == set(OBJECTS)

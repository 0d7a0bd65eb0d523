"""Proposals on simulated streets with known truth, and with input that is none."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.detection.lidar import LidarDetector, LidarSettings
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.evaluation.lidar_scene import Ground, Lidar, Scene, Thing, street
from deep_tracking_ros.geometry.boxes3d import iou

detect = LidarDetector()
CAR, PERSON = (4.5, 1.8, 1.55), (0.55, 0.6, 1.75)


def test_a_car_from_all_sides_is_a_whole_car():
    for angle in np.radians(np.arange(0, 360, 30)):
        for distance in (8, 20):
            x, y = distance * np.cos(angle), distance * np.sin(angle)
            sweep = Scene([Thing("car", CAR, x, y, 0.35)]).sweep(0)
            found = detect(sweep.cloud.points)
            assert found.labels[:1] == ("car",), (angle, distance)
            assert iou(found.boxes[0], sweep.boxes[0]) > 0.6, (angle, distance)
            assert found.scores[0] > 0.5


def test_people_apart_by_a_metre_are_two():
    things = [Thing("pedestrian", PERSON, 12, y, 0.5) for y in (-0.8, 0.8)]
    sweep = Scene(things).sweep(0)
    found = detect(sweep.cloud.points)
    assert found.labels == ("pedestrian", "pedestrian")
    assert iou(sweep.boxes[:, None], found.boxes).max(1).min() > 0.4


def test_the_back_and_the_windscreen_of_a_car_are_one():
    sweep = Scene([Thing("car", CAR, 26, 0.5, np.pi)], lidar=Lidar(elevations=np.linspace(2, -24.8, 40))).sweep(0)
    found = detect(sweep.cloud.points)
    assert found.labels == ("car",)
    assert iou(found.boxes[0], sweep.boxes[0]) > 0.6


@pytest.mark.parametrize("ground", [Ground(), Ground(0.08, 15), Ground(-0.06, 10)])
def test_streets_level_and_sloping(ground):
    """Least shares of objects up to 40 m, with at least 20 echoes, that have a proposal within 1 m."""
    seen, hit = {"car": 0, "pedestrian": 0}, {"car": 0, "pedestrian": 0}
    for number in range(0, 60, 10):
        sweep = street(3, ground).sweep(number)
        found = detect(sweep.cloud.points)
        apart = np.hypot(*(sweep.boxes[:, None, :2] - found.boxes[:, :2]).transpose(2, 0, 1))
        for row, label in enumerate(sweep.labels):
            if label in seen and sweep.hits[row] >= 20 and np.hypot(*sweep.boxes[row, :2]) < 40:
                seen[label] += 1
                hit[label] += bool((apart[row] < 1).any())
    assert hit["car"] / seen["car"] > 0.75
    assert hit["pedestrian"] / seen["pedestrian"] > 0.75


@given(st.floats(-np.pi, np.pi), st.floats(-0.5, 0.5))
@settings(max_examples=6, deadline=None)
def test_a_turned_or_lifted_sensor_gives_turned_and_lifted_boxes(angle, up):
    sweep = Scene([Thing("car", CAR, 12, 3, 0.2), Thing("pedestrian", PERSON, 8, -4)]).sweep(0)
    one = detect(sweep.cloud.points)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    other = detect(sweep.cloud.points @ turn.T + [0, 0, up])
    assert sorted(one.labels) == sorted(other.labels)
    moved = one.boxes[:, :3] @ turn.T + [0, 0, up]
    for place in moved:  # cells and directions are quantised, so not to the last digit
        assert np.linalg.norm(other.boxes[:, :3] - place, axis=1).min() < 0.25


def test_the_same_sweep_gives_the_same_bytes():
    points = street(1).sweep(4).cloud.points
    one, other = detect(points), detect(points.copy())
    assert one.boxes.tobytes() == other.boxes.tobytes()
    assert one.scores.tobytes() == other.scores.tobytes()


def test_proposals_are_best_first_and_stand_apart():
    found = detect(street(1).sweep(4).cloud.points)
    assert len(found.labels) > 10
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.scores >= 0.2) & (found.scores <= 1)).all()
    overlap = iou(found.boxes[:, None], found.boxes)
    assert np.triu(overlap, 1).max() < 0.3


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 3)),
        np.full((1000, 3), np.nan),
        np.array([[10.0, 2, 0]]),
        np.tile([10.0, 2, 0], (5000, 1)),
        np.zeros((100, 3)),
        np.array([[np.inf, 0, 0], [5, np.nan, 1], [1e30, 1e30, 1e30], [5, 5, -1e30], [6, 5, 1e30]] * 10),
    ],
    ids=["empty", "all NaN", "one point", "one place", "at the sensor", "huge"],
)
def test_clouds_that_are_none(points):
    found = detect(points)
    assert found.boxes.shape == (len(found.labels), 7)
    assert np.isfinite(found.boxes).all()
    assert len(found.labels) <= 1


def test_bad_points_change_nothing():
    points = street(1).sweep(4).cloud.points
    bad = np.full((len(points) // 10, 3), np.nan, np.float32)
    one, other = detect(points), detect(np.concatenate([points[:500], bad, points[500:]]))
    assert one.boxes.tobytes() == other.boxes.tobytes()


def test_a_million_points_take_seconds():
    random = np.random.default_rng(0)
    points = random.uniform((-60, -60, -2), (60, 60, 4), (1_000_000, 3))
    began = time.process_time()
    found = detect(points)
    assert time.process_time() - began < 30
    assert np.isfinite(found.boxes).all()


def test_what_is_near_and_what_is_far_is_left_out():
    things = [Thing("pedestrian", PERSON, 8, 5), Thing("car", CAR, 12, 0.0), Thing("car", CAR, 30, -12)]
    points = Scene(things, lidar=Lidar(step=0.4)).sweep(0).cloud.points
    assert sorted(detect(points).labels) == ["car", "car", "pedestrian"]
    found = LidarDetector(LidarSettings(nearest=10.0, furthest=20.0))(points)
    assert found.labels == ("car",)
    assert found.boxes[0, 0] == pytest.approx(12, abs=0.5)


def test_the_reach_grows_with_the_distance():
    """Half a degree is 0.44 m at 50 m: with the reach of near ones a car there falls apart."""
    sweep = Scene([Thing("car", CAR, 50, 6.0, np.pi / 2)], lidar=Lidar(step=0.5)).sweep(0)
    assert detect(sweep.cloud.points).labels == ("car",)
    assert LidarDetector(LidarSettings(reach_growth=0.0))(sweep.cloud.points).labels == ()


def test_two_children_with_satchels_are_no_car():
    """Side by side they are as wide and as high as its back, and make a better car than each makes a person."""
    things = [Thing("pedestrian", (0.73, 0.72, 1.37), 9.69 + 0.11 * side, 0.8 * side) for side in (-1, 1)]
    found = detect(Scene(things, lidar=Lidar(step=0.4)).sweep(0).cloud.points)
    assert found.labels == ("pedestrian", "pedestrian")


def test_an_unknown_clustering():
    with pytest.raises(InvalidRequestError, match="clustering is 'kmeans', it must be one of scipy, open3d"):
        LidarDetector(LidarSettings(clustering="kmeans"))

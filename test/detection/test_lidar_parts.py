"""Ground, groups, rectangles and sizes: each against what is known of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deep_tracking_ros.detection.parts import clusters
from deep_tracking_ros.detection.parts.clusters import cluster, dbscan_scipy, near_pairs
from deep_tracking_ros.detection.parts.ground import height_above_ground
from deep_tracking_ros.detection.parts.rectangles import Rectangles, fit_rectangles
from deep_tracking_ros.detection.parts.shapes import SHAPES, complete
from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.evaluation.lidar_scene import Ground, street

angles = st.floats(-np.pi, np.pi)
places = st.floats(-60, 60)


def turned(points, angle, shift=(0.0, 0.0)):
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = points.T
    return np.stack([cos * x - sin * y, sin * x + cos * y], 1) + shift


def l_shape(length=4.0, width=1.8, noise=0.01, n=60):
    """Two sides of a rectangle about the origin, as a lidar sees them."""
    random = np.random.default_rng(0)
    one = np.stack([np.linspace(-length / 2, length / 2, n), np.full(n, -width / 2)], 1)
    other = np.stack([np.full(n // 2, -length / 2), np.linspace(-width / 2, width / 2, n // 2)], 1)
    return np.concatenate([one, other]) + random.normal(0, noise, (n + n // 2, 2))


def outline(found, row=0):
    """Centre, sorted sides and direction of the longer one (0 to pi)."""
    middle, size = (found.low + found.high)[row] / 2, (found.high - found.low)[row]
    centre = turned(middle[None], found.yaw[row])[0]
    yaw = found.yaw[row] + (np.pi / 2 if size[1] > size[0] else 0)
    return centre, np.sort(size), yaw % np.pi


class TestGround:
    @pytest.mark.parametrize("ground", [Ground(), Ground(0.08, 15), Ground(-0.06, 10), Ground(0.15, 20)])
    def test_ground_is_found_on_level_streets_and_on_slopes(self, ground):
        for number in (0, 30, 60):  # before, on and past the beginning of the slope
            sweep = street(1, ground).sweep(number)
            height = height_above_ground(sweep.cloud.points.astype(float))
            assert (height[sweep.ground] < 0.2).mean() > 0.995
            assert (height[~sweep.ground] > 0.2).mean() > 0.87  # the rest are mostly feet and sills

    def test_heights_of_objects_are_right(self):
        sweep = street(2).sweep(20)
        points = sweep.cloud.points.astype(float)
        height = height_above_ground(points)
        error = np.abs(height - (points[:, 2] + 1.8))[~sweep.ground]
        assert error.mean() < 0.12  # cells without ground of their own go by their neighbours

    def test_echoes_from_below_the_ground_do_not_pull_it_down(self):
        sweep = street(1).sweep(0)
        points = sweep.cloud.points.astype(float)
        random = np.random.default_rng(0)
        wrong = random.choice(len(points), len(points) // 200, replace=False)
        points[wrong, 2] = -1.8 - random.uniform(0.5, 4, len(wrong))
        sound = sweep.ground.copy()
        sound[wrong] = False
        assert (np.abs(height_above_ground(points)[sound]) < 0.2).mean() > 0.99

    def test_nothing_and_one_point(self):
        assert height_above_ground(np.zeros((0, 3))).shape == (0,)
        assert height_above_ground(np.array([[5.0, 1.0, -2.0]])) == pytest.approx([0.0])


class TestClusters:
    def test_dbscan_by_hand(self):
        line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [10, 0, 0], [3.0, 0, 0], [20, 0, 0], [21, 0, 0]])
        assert dbscan_scipy(line, 1.1, 3).tolist() == [0, 0, 0, -1, 0, -1, -1]
        assert dbscan_scipy(line, 1.1, 2).tolist() == [0, 0, 0, -1, 0, 1, 1]
        assert dbscan_scipy(line, 1.1, 1).tolist() == [0, 0, 0, 1, 0, 2, 2]

    def test_reach_grows_with_the_distance_and_borders_between_rings_tear_nothing(self):
        # a wall straight away from the sensor, whose gaps grow as the beams fan out
        x = 5 * 1.02 ** np.arange(150)
        wall = np.stack([x, 0 * x, 0 * x], 1)
        assert set(cluster(wall, 0.4, 0.02, 3, dbscan_scipy)) == {0}
        torn = cluster(wall, 0.4, 0.0, 3, dbscan_scipy)
        assert (torn[x < 19] == 0).all()
        assert (torn[x > 22] == -1).all()

    @given(st.integers(0, 2**32 - 1))
    @settings(max_examples=20, deadline=None)
    def test_points_further_apart_than_the_reach_are_never_joined(self, seed):
        random = np.random.default_rng(seed)
        points = random.uniform(-30, 30, (200, 3)) * [1, 1, 0.1]
        labels = cluster(points, 1.0, 0.02, 2, dbscan_scipy)
        distance = np.linalg.norm(points[:, None] - points, axis=2)
        near = (distance < 1.0) & (labels[:, None] >= 0)
        assert (labels[:, None] == labels)[near].all()
        for one in np.unique(labels[labels >= 0]):
            inside = labels == one
            others = ~inside & (labels >= 0)
            if others.any():
                assert distance[np.ix_(inside, others)].min() >= 1.0

    def test_near_pairs(self):
        points = np.array([[0.0, 0], [0.5, 0], [1.9, 0], [5, 0], [-6.9, 0]])
        assert near_pairs(points, np.array([0, 0, 1, 2, 3]), 1.8).tolist() == [[0, 1]]
        assert near_pairs(points[:1], np.array([0]), 1.8).shape == (0, 2)

    def test_open3d_finds_the_same(self):
        pytest.importorskip("open3d", reason="Open3D is not installed: pip install '.[lidar]'")
        points = street(1).sweep(0).cloud.points[::5].astype(float)
        ours, theirs = (cluster(points, 0.4, 0.01, 3, clusters.BACKENDS[name]) for name in ("scipy", "open3d"))
        assert ((ours < 0) == (theirs < 0)).all()
        pairs = np.unique(np.stack([ours, theirs], 1)[ours >= 0], axis=0)
        # points between two groups may go to either
        assert len(pairs) < 1.02 * len(np.unique(ours))

    def test_a_missing_open3d_says_what_to_install(self, monkeypatch):
        def missing(name):
            raise ImportError("libusb-1.0.so.0: cannot open shared object file")

        monkeypatch.setattr(clusters.importlib, "import_module", missing)
        clusters.open3d.cache_clear()
        with pytest.raises(InvalidRequestError, match=r"libusb.*pip install 'deep_tracking_ros\[lidar\]'.*libgomp1"):
            clusters.dbscan_open3d(np.zeros((3, 3)), 1.0, 2)
        clusters.open3d.cache_clear()


class TestRectangles:
    @given(angles, places, places)
    @settings(max_examples=60, deadline=None)
    def test_turning_and_moving_points_turns_and_moves_the_rectangle(self, angle, x, y):
        points = l_shape()
        found = fit_rectangles(turned(points, angle, (x, y)), np.zeros(len(points), int))
        centre, size, yaw = outline(found)
        assert centre == pytest.approx([x, y], abs=0.08)
        assert size == pytest.approx([1.8, 4.0], abs=0.1)
        assert abs((yaw - angle + np.pi / 2) % np.pi - np.pi / 2) < np.radians(1.1)

    @given(st.permutations(range(4)), st.integers(0, 5))
    @settings(max_examples=20, deadline=None)
    def test_groups_do_not_touch_each_other(self, order, seed):
        parts = [turned(l_shape(2 + k, 1.5), 0.3 * k, (10 * k, 0)) for k in range(4)]
        points = np.concatenate([parts[k] for k in order])
        group = np.concatenate([np.full(len(parts[k]), k) for k in order])
        shuffled = np.random.default_rng(seed).permutation(len(points))
        found = fit_rectangles(points[shuffled], group[shuffled])
        for k, part in enumerate(parts):
            alone = fit_rectangles(part, np.zeros(len(part), int))
            assert outline(found, k)[0] == pytest.approx(outline(alone)[0], abs=0.05)
            assert outline(found, k)[1] == pytest.approx(outline(alone)[1], abs=0.05)

    def test_all_points_lie_in_their_rectangle(self):
        random = np.random.default_rng(3)
        points, group = random.normal(0, 3, (2000, 2)), np.repeat(np.arange(4), 500)
        found = fit_rectangles(points, group)
        for k in range(4):
            along = turned(points[group == k], -found.yaw[k])
            assert (along >= found.low[k] - 1e-9).all()
            assert (along <= found.high[k] + 1e-9).all()

    def test_one_point_and_a_line(self):
        found = fit_rectangles(np.array([[3.0, 4.0], [0, 0], [1, 1], [2, 2]]), np.array([0, 1, 1, 1]))
        assert found.low[0] == pytest.approx(found.high[0])
        assert outline(found, 1)[1] == pytest.approx([0, np.sqrt(8)], abs=0.03)


def rectangle(x0, x1, y0, y1):
    return Rectangles(np.zeros(1), np.array([[x0, y0]], float), np.array([[x1, y1]], float))


def completed(seen, top, low=0.1, cut=False):
    found = complete(seen, np.array([-1.8]), np.array([low]), np.array([top]), np.array([cut]))
    return found.boxes[0], found.scores[0], SHAPES[found.kinds[0]].label


class TestShapes:
    def test_the_back_of_a_car_gives_the_whole_car_behind_it(self):
        box, score, label = completed(rectangle(20, 20.3, -0.9, 0.9), 1.5)
        assert (label, score > 0.4) == ("car", True)
        assert box[:2] == pytest.approx([22.2, 0], abs=0.1)
        assert box[3:5] == pytest.approx([4.4, 1.8], abs=0.1)
        assert box[2] - box[5] / 2 == pytest.approx(-1.8)
        assert np.cos(2 * box[6]) == pytest.approx(1)

    def test_the_side_of_a_car_gives_its_width_away_from_the_sensor(self):
        for y in (8, -8):
            box, score, label = completed(rectangle(-2.2, 2.2, min(y, y + 0.2), max(y, y + 0.2)), 1.5)
            assert (label, score > 0.5) == ("car", True)
            assert box[3:5] == pytest.approx([4.4, 1.8], abs=0.1)
            near = y if y > 0 else y + 0.2
            assert box[1] == pytest.approx(near + np.sign(y) * 0.9, abs=0.05)

    def test_a_car_across_the_line_of_sight_lies_along_y(self):
        box, _, label = completed(rectangle(15, 15.4, -2.3, 2.2), 1.5)
        assert label == "car"
        assert abs(np.sin(box[6])) == pytest.approx(1)
        assert box[3:5] == pytest.approx([4.5, 1.8], abs=0.1)

    @pytest.mark.parametrize(
        ("sides", "top", "label"),
        [
            ((10, 10.5, -0.3, 0.3), 1.72, "pedestrian"),
            ((10, 11.75, 4, 4.6), 1.7, "cyclist"),
            ((10, 18.5, 4, 6.5), 3.2, "truck"),
        ],
    )
    def test_whole_objects(self, sides, top, label):
        box, score, found = completed(rectangle(*sides), top)
        assert (found, score > 0.5) == (label, True)
        assert box[:2] == pytest.approx([(sides[0] + sides[1]) / 2, (sides[2] + sides[3]) / 2], abs=0.1)

    @pytest.mark.parametrize(
        ("sides", "top", "low"),
        [
            ((10, 10.2, -7, 8), 2.5, 0.0),  # a wall
            ((10, 10.2, 0, 0.2), 4.5, 0.0),  # a pole up to the ceiling
            ((10, 14, -1, 1), 4.4, 2.4),  # the crown of a tree
            ((10, 16, -3, 3), 1.5, 0.0),  # shrubs
        ],
    )
    def test_clutter_is_no_object(self, sides, top, low):
        assert completed(rectangle(*sides), top, low)[1] < 0.2

    def test_a_top_beyond_the_highest_beam_is_no_proof_of_a_low_object(self):
        sides = (5, 13.5, 4, 6.5)
        whole, cut = completed(rectangle(*sides), 2.1), completed(rectangle(*sides), 2.1, cut=True)
        assert cut[2] == "truck"
        assert cut[1] > whole[1]
        assert whole[0][5] < cut[0][5] - 0.1
        assert cut[0][5] == pytest.approx(3.2, abs=0.2)

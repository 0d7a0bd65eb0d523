import numpy as np
import pytest

from deep_tracking_ros.geometry.poses import poses_of
from deep_tracking_ros.types import State, TrackedBox3D
from deep_tracking_ros.visualization.bird_view import BACKGROUND, CLASSES, View, colour_of, draw_from_above, moves

VIEW = View((-10, 30), (-15, 15), 10.0)
NONE = np.zeros((0, 3))


def car(x=10.0, y=-5.0, state=State.CONFIRMED, speed=0.0, doubt=0.1, label="car", id_=4):
    box = np.array([x, y, 0, 4.0, 2.0, 1.5, 0.0])
    velocity = np.array([speed, 0, 0, 0, 0, 0.0])
    return TrackedBox3D(
        id_, poses_of(box)[0], box[3:6], state, 0.9, label, velocity=velocity, velocity_covariance=doubt**2 * np.eye(6)
    )


def draw(*boxes, points=NONE, height=None, **more):
    return draw_from_above(points, np.zeros(len(points)) if height is None else height, boxes, view=VIEW, **more)


def same(pixel, colour):
    return np.abs(pixel.astype(int) - colour).max() < 30


def test_places_are_where_they_belong():
    assert VIEW.size == (400, 300)
    assert VIEW.pixels([[-10, 15], [30, -15], [0, 0]]).tolist() == [[0, 0], [400, 300], [100, 150]]
    image = draw(car())
    assert image.shape == (300, 400, 3)
    for x, y in ((12, -5), (8, -5), (10, -6), (10, -4)):  # the middle of each side
        column, row = VIEW.pixels([x, y]).astype(int)
        patch = image[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)
        assert any(same(pixel, CLASSES["car"]) for pixel in patch), (x, y)


def test_states_can_be_told_apart():
    blank = draw()
    sure, young = (np.abs(draw(car(state=s)).astype(int) - blank).sum() for s in (State.CONFIRMED, State.TENTATIVE))
    assert sure > 2 * young > 0
    assert (draw(car(state=State.OCCLUDED)) != draw(car())).any()


def test_only_what_surely_moves_has_an_arrow():
    assert moves(car(speed=5))
    assert not moves(car(speed=5, state=State.OCCLUDED))
    assert not moves(car(speed=0.3))
    assert not moves(car(speed=5, doubt=3))
    column, row = VIEW.pixels([17, -5]).astype(int)  # beyond the box, before the tip
    assert same(draw(car(speed=10))[row, column], (255, 255, 255))
    assert not same(draw(car())[row, column], (255, 255, 255))


def test_points_by_height_and_those_out_of_view_nowhere():
    points = np.array([[5.0, -8, 0], [5, -9, 0], [500, 0, 0], [5, 5000, 0]])
    image = draw(points=points, height=np.array([0.0, 2.0, 1.0, 1.0]))
    (low, high) = (image[tuple(np.floor(VIEW.pixels(p)).astype(int)[::-1])] for p in points[:2])
    assert not same(low, BACKGROUND)
    assert not same(high, BACKGROUND)
    assert high.max() > low.max() + 50
    changed = (draw(points=points[2:], height=np.ones(2)) != draw()).any()
    assert not changed


def test_trails_truth_and_text():
    blank = draw(car())
    trail = {4: np.array([[0.0, -5], [8, -5]]), 99: np.array([[0.0, -10], [8, -10]])}
    column, row = VIEW.pixels([3, -5]).astype(int)
    assert (draw(car(), trails=trail)[row - 1 : row + 2, column] != blank[row - 1 : row + 2, column]).any()
    column, row = VIEW.pixels([3, -10]).astype(int)  # of nobody that is here
    assert (draw(car(), trails=trail)[row, column] == blank[row, column]).all()
    truth = np.array([[20.0, -8, 0, 4, 2, 1.5, 0.5]])
    assert (draw(car(), truth=truth) != blank).any()
    assert (draw(car(), text=["12 s"]) != blank).any()


def test_colours_by_class():
    assert colour_of(car(label="truck")) == CLASSES["truck"]
    assert colour_of(car(label="tram")) not in CLASSES.values()


@pytest.mark.parametrize("x", [1e6, -1e6, 40.0])
def test_objects_far_away_do_no_harm(x):
    assert draw(car(x=x, speed=10)).shape == (300, 400, 3)

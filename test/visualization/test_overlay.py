import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.types import Detection, Detections, Mask, State, TrackedBox, TrackedBoxes
from deep_tracking_ros.visualization.overlay import COLOURS, caption, draw


def boxes(*items, size=(640, 480)):
    return TrackedBoxes(0, "", 0, 0, *size, "model", tuple(items))


def blank(width=640, height=480):
    return np.full((height, width, 3), 128, np.uint8)


def tracked(box=(200, 200, 300, 280), state=State.TRACKED, **more):
    return TrackedBox(1, np.float32(box), state, more.pop("score", 0.92), **more)


def has(image, colour, x, y):
    return bool((image[y, x] == colour).all())


def test_the_image_given_stays_as_it_was():
    image = blank()
    drawn = draw(image, boxes(tracked()))
    assert (image == 128).all()
    assert (drawn != 128).any()
    np.testing.assert_array_equal(draw(image, boxes()), image)


def test_the_box_is_drawn_on_its_edges_in_the_colour_of_its_state():
    for state in (State.TRACKED, State.UNCERTAIN):
        drawn = draw(blank(), boxes(tracked(state=state)))
        for x, y in ((200, 240), (300, 240), (250, 200), (250, 280)):
            assert has(drawn, COLOURS[state], x, y)
        assert has(drawn, (128, 128, 128), 250, 240)
    assert len(set(COLOURS.values())) == 5


def test_a_lost_box_is_dashed_without_arrow():
    drawn = draw(blank(), boxes(tracked(state=State.LOST, unseen=1.25)))
    edge = (drawn[280, 200:301] == COLOURS[State.LOST]).all(-1)
    assert edge[0]
    assert edge[-1]
    assert 0.3 < edge.mean() < 0.8
    assert np.abs(np.diff(edge.astype(int))).sum() >= 4


def test_the_arrow_points_where_the_target_will_be():
    drawn = draw(blank(), boxes(tracked(velocity=np.float32([200, 0, 0, 0]))))
    assert has(drawn, COLOURS[State.TRACKED], 345, 240)  # half a second ahead of 250
    assert has(drawn, (128, 128, 128), 360, 240)
    assert has(drawn, (128, 128, 128), 150, 240)


def test_mask_and_contour_are_drawn_where_they_are():
    mask = Mask(220, 210, np.full((20, 30), 255, np.uint8))
    drawn = draw(blank(), boxes(tracked(mask=mask)))
    changed = (drawn[210:250, 210:280] != 128).any(-1)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 19, 10, 39)
    contour = np.float32([[220, 220], [280, 220], [250, 260]])
    drawn = draw(blank(), boxes(tracked(contour=contour)))
    assert (drawn[215:265, 215:285] != 128).any()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"label": "car"}, "1 car 92%"),
        ({"score": -1.0}, "1"),
        ({"state": State.UNCERTAIN}, "1 92% uncertain"),
        ({"state": State.LOST, "unseen": 1.26, "label": "cup"}, "1 cup lost 1.3 s"),
    ],
)
def test_the_caption_says_what_matters(more, text):
    assert caption(tracked(**more)) == text


@pytest.mark.parametrize("width", [160, 320, 640, 1280, 1920])
def test_captions_are_whole_and_cover_no_other(width):
    """At every edge and corner, on every size of image, each caption has its plate to itself."""
    height = width * 3 // 4
    x, y = width // 2, height // 2
    corners = [(0, 0), (width - 20, 0), (0, height - 20), (width - 20, height - 20), (x, 0), (x, height - 20)]
    for at in corners:
        item = tracked((*at, at[0] + 19, at[1] + 19), score=0.9)
        drawn = draw(blank(width, height), boxes(item))
        plate = (drawn == COLOURS[State.TRACKED]).all(-1)
        reference = draw(blank(width, height), boxes(tracked((x, y, x + 19, y + 19), score=0.9)))
        assert plate.sum() > 0.7 * (reference == COLOURS[State.TRACKED]).all(-1).sum()
    if width >= 640:
        two = [tracked((x, y, x + 40, y + 40)), tracked((x + 5, y + 5, x + 45, y + 45))]
        one = (draw(blank(width, height), boxes(two[0])) == 0).all(-1).sum()
        both = (draw(blank(width, height), boxes(*two)) == 0).all(-1).sum()
        assert both > 1.5 * one


number = st.floats(-1e7, 1e7, width=32)


@given(st.tuples(number, number, number, number), number, st.sampled_from(list(State)), st.sampled_from([1, 7, 64]))
def test_any_box_can_be_drawn_on_any_image(box, speed, state, side):
    mask = Mask(int(box[0]), int(box[1]), np.full((3, 5), 255, np.uint8))
    item = tracked(
        box, state, velocity=np.float32([speed, -speed, 0, 0]), mask=mask, contour=np.float32([box[:2], box[2:]])
    )
    assert draw(blank(side, side), boxes(item)).shape == (side, side, 3)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(TypeError, match="str cannot be drawn"):
        draw(blank(), "boxes")


def test_detections_are_drawn_with_label_and_score_but_no_id():
    found = Detections(0, "", (Detection(np.float32([200, 200, 300, 280]), 0.5, "dog"),))
    drawn = draw(blank(), found)
    assert has(drawn, COLOURS[State.UNKNOWN], 200, 240)
    assert caption(TrackedBox(0, np.zeros(4, np.float32), State.UNKNOWN, 0.5, "dog")) == "dog 50%"
    np.testing.assert_array_equal(draw(blank(), Detections(0, "")), blank())

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.multi_object.noise_3d import OTHER, read_noise
from deep_tracking_ros.multi_object.parts.labels import Labels
from deep_tracking_ros.multi_object.tracker_3d import Boxes3D, Tracker3D

NONE = np.zeros(0, np.intp)


def test_a_number_that_nothing_has_any_more_goes_to_the_next_new_label():
    labels = Labels()
    assert labels.number(["car", "bus", "car"], NONE).tolist() == [1, 0, 1]
    assert labels.number(["van"], np.array([1])).tolist() == [0]  # no track is a bus any more
    assert labels.number(["bus"], np.array([1, 0, 0])).tolist() == [2]
    assert labels.names == ["van", "car", "bus"]
    assert labels.number(["car", "van"], NONE).tolist() == [1, 0]  # nothing new: all stay
    assert labels.number([], np.array([2])).tolist() == []


@given(st.lists(st.tuples(st.lists(st.sampled_from("abcdefgh"), max_size=4), st.integers(0, 3)), max_size=30))
def test_what_is_in_use_keeps_its_label_and_the_table_is_as_short_as_it_can_be(frames):
    """Tracks begin with the labels of a frame; the oldest of them end."""
    labels, tracks, most = Labels(), [], 0  # tracks: number and label
    for names, ending in frames:
        numbers = labels.number(names, np.array([number for number, _ in tracks], np.intp))
        assert [labels.names[number] for number in numbers] == names
        assert all(labels.names[number] == name for number, name in tracks)
        tracks += zip(numbers.tolist(), names, strict=True)
        most = max(most, len({name for _, name in tracks}))
        tracks = tracks[ending:]
    assert len(labels.names) <= most


def test_a_tracker_in_space_gives_the_noise_of_its_class_to_a_number_that_it_gives_again():
    """As in `test_noise_3d`: a detector of great doubt moves a track less."""
    box = np.array([[0, 0, 0, 9, 2.5, 3, 0.0]])

    def place(first):
        tracker = Tracker3D(noise=read_noise("bus: {position: 2}"))
        tracker.step(Boxes3D(box, np.ones(1), [first]), 0)
        tracker.step(Boxes3D(np.zeros((0, 7)), np.zeros(0), []), 5 * 10**9)  # what was there is forgotten
        for k in range(100, 110):
            tracker.step(Boxes3D(box, np.ones(1), ["bus"]), k * 10**8)
        moved = np.add(box, [0.5, 0, 0, 0, 0, 0, 0])
        return tracker.step(Boxes3D(moved, np.ones(1), ["bus"]), 11 * 10**9).boxes[0, 0]

    assert place(OTHER) == place("bus") < 0.2


def test_a_tracker_in_space_does_not_grow_with_labels_that_are_made_up_without_end():
    tracker, box = Tracker3D(), np.array([[0, 0, 0, 4, 2, 2, 0.0]])
    for k in range(200):
        tracks = tracker.step(Boxes3D(box, np.ones(1), [f"thing {k}"]), 2 * k * 10**9)
        assert tracks.label[-1] == f"thing {k}"
    # that of the newest track, and of the one before it, which is forgotten in the step that brings the newest
    assert len(tracker._noise) == len(tracker._labels.names) == 2

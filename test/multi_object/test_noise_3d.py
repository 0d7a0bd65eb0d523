import numpy as np
import pytest

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.multi_object.noise_3d import NOISE, OTHER, noise_text, read_noise
from deep_tracking_ros.multi_object.tracker_3d import Boxes3D, Tracker3D


def test_the_table_is_read_as_it_is_written():
    assert read_noise(noise_text(NOISE)) == NOISE
    assert read_noise("") == NOISE


def test_what_is_not_named_stays():
    noise = read_noise("Bus: {speed: 12}\nother: {size: 0.4}\ncar: {yaw: 0.1}")
    assert noise["bus"] == type(noise["bus"])(**{**vars(NOISE[OTHER]), "size": 0.4, "speed": 12})
    assert noise["car"] == type(noise["car"])(**{**vars(NOISE["car"]), "yaw": 0.1})
    assert noise["cyclist"] == NOISE["cyclist"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("car: {position: 0}", "position of noise of car is 0, it must be a number above 0, to 1000"),
        ("car: {position: .nan}", "it must be a number above 0"),
        ("car: {position: true}", "it must be a number above 0"),
        ("car: {position: far}", "it must be a number above 0"),
        ("car: {pos: 1}", "noise of car has no 'pos'; numbers are position, size, yaw, speed"),
        ("car: 5", "it must give numbers by class"),
        ("[car]", "it must give numbers by class"),
        ("car: {", "cannot be read as YAML"),
    ],
)
def test_what_is_no_noise_is_refused(text, answer):
    with pytest.raises(InvalidRequestError, match=answer):
        read_noise(text)


@pytest.mark.parametrize("label", ["Bus", "bus"])
def test_each_class_is_filtered_by_its_own_noise(label):
    """A detector of great doubt moves a track less: the Kalman gain falls with the measurement's variance."""
    box = np.array([[0, 0, 0, 9, 2.5, 3, 0.0]])
    moved = np.add(box, [0.5, 0, 0, 0, 0, 0, 0])

    def place(text, name):
        tracker = Tracker3D(noise=read_noise(text))
        for k in range(10):
            tracker.step(Boxes3D(box, np.ones(1), [name]), k * 10**8)
        return tracker.step(Boxes3D(moved, np.ones(1), [name]), 10**9).boxes[0, 0]

    sure, unsure = place("bus: {position: 0.05}", label), place("bus: {position: 2}", label)
    assert sure > 0.4 > 0.2 > unsure
    assert place("bus: {position: 2}", "van") == place("", "van")

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.files import natural_order


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "10.jpg", "11.jpg", "100.jpg"],
        ["0001.jpg", "0002.jpg", "0010.jpg"],
        ["day2/img9.png", "day2/img10.png", "day10/img1.png"],
        ["a.png", "b1.png", "b1x.png", "b01y.png", "b2.png"],
    ],
)
def test_numbers_are_ordered_by_value(names):
    paths = [Path(name) for name in names]
    assert natural_order(reversed(paths)) == paths


@given(st.lists(st.text("ab019.", min_size=1), unique=True))
def test_the_order_is_the_same_however_they_come(names):
    paths = {Path(name) for name in names}
    assert natural_order(sorted(paths)) == natural_order(sorted(paths, reverse=True))


@given(st.sets(st.integers(0, 10**6)))
def test_plain_numbers_come_in_order(numbers):
    assert natural_order(Path(f"{n}.jpg") for n in numbers) == [Path(f"{n}.jpg") for n in sorted(numbers)]

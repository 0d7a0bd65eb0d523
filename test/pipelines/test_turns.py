from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.errors import InvalidRequestError
from deep_tracking_ros.pipelines.turns import HELD, Turns

MS = 1_000_000


@dataclass(frozen=True)
class Item:
    stamp: int
    frame_id: str = "a"


def taken(turns, *items):
    return [turn for item in items for turn in turns.take(item)]


def stamps(found):
    return [turn.item.stamp // MS for turn in found]


@given(st.lists(st.integers(0, 40), max_size=60))
def test_turns_within_an_epoch_are_in_order_and_none_comes_twice(numbers):
    turns = Turns(reorder_wait=0.1, reorder_tolerance=0.2, max_gap=1.0)
    found = taken(turns, *(Item(n * 50 * MS) for n in numbers))
    status = turns.status()
    assert len(found) + status["held"] + status["duplicates"] + status["late"] == len(numbers)
    for before, after in pairwise(found):
        assert after.epoch - before.epoch == (after.jump != "")
        if not after.jump:
            assert after.item.stamp > before.item.stamp
    assert status["epoch"] == status["jumps"] == sum(turn.jump != "" for turn in found)


def test_without_a_wait_each_has_its_turn_at_once():
    turns = Turns(0.0, 0.2, 1.0)
    found = taken(turns, *(Item(n * MS) for n in (0, 100, 50, 100, 300)))
    assert stamps(found) == [0, 100, 300]
    assert (turns.status()["late"], turns.status()["duplicates"]) == (1, 1)


def test_a_jump_lets_all_that_is_held_go_before_it_and_says_why():
    turns = Turns(0.2, 0.2, 1.0)
    found = taken(turns, Item(5000 * MS), Item(5100 * MS), Item(0))
    assert stamps(found) == [5000, 5100, 0]
    assert [turn.epoch for turn in found] == [0, 0, 1]
    assert found[2].jump == "time jumped from 5.100000000 s to 0.000000000 s"


def test_another_frame_is_a_jump_too():
    turns = Turns(0.0, 0.2, 1.0)
    first, second, third = taken(turns, Item(0), Item(100 * MS, "b"), Item(200 * MS, "b"))
    assert (first.jump, second.jump, third.jump) == ("", "the frame id changed from 'a' to 'b'", "")
    assert (first.epoch, second.epoch, third.epoch) == (0, 1, 1)
    assert turns.status()["jumps"] == 0  # of time


def test_no_more_than_a_limit_is_held():
    turns = Turns(60.0, 60.0, 100.0)
    assert len(taken(turns, *(Item(n * MS) for n in range(HELD + 7)))) == 7
    turns.reset()
    assert turns.status()["held"] == 0
    (turn,) = taken(Turns(0.0, 0.0, 1.0), Item(5))
    assert turn.epoch == 0


def test_a_wait_beyond_the_tolerance_is_refused():
    with pytest.raises(
        InvalidRequestError, match=r"reorder_wait is 0\.3 s, it must not be above reorder_tolerance, 0\.2"
    ):
        Turns(0.3, 0.2, 1.0)

from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.pipelines.time_keeper import Arrival, TimeKeeper, TimeRules

RULES = TimeRules.of_seconds(reorder_tolerance=0.1, max_gap=2.0)
MS = 1_000_000


def take(keeper, stamp):
    arrival = keeper.classify(stamp)
    keeper.take(stamp, arrival)
    return arrival


def test_the_limits_belong_to_late_and_to_new():
    newest = 10_000 * MS
    assert RULES.classify(None, 5) is Arrival.NEW
    assert RULES.classify(newest, newest) is Arrival.DUPLICATE
    assert RULES.classify(newest, newest - 1) is Arrival.LATE
    assert RULES.classify(newest, newest - 100 * MS) is Arrival.LATE
    assert RULES.classify(newest, newest - 100 * MS - 1) is Arrival.JUMP
    assert RULES.classify(newest, newest + 2000 * MS) is Arrival.NEW
    assert RULES.classify(newest, newest + 2000 * MS + 1) is Arrival.JUMP


def test_without_tolerance_every_step_back_is_a_jump():
    rules = TimeRules.of_seconds(reorder_tolerance=0.0, max_gap=2.0)
    assert rules.classify(10, 9) is Arrival.JUMP
    assert rules.classify(10, 10) is Arrival.DUPLICATE


def test_a_bag_loop_counts_one_jump_and_goes_on():
    keeper = TimeKeeper(RULES)
    stamps = [t * 40 * MS for t in range(100)] * 2
    arrivals = [take(keeper, stamp) for stamp in stamps]
    assert arrivals.count(Arrival.JUMP) == 1
    assert arrivals.count(Arrival.NEW) == 199
    assert keeper.epoch == 1
    assert keeper.newest == stamps[-1]


@given(st.lists(st.integers(0, 10_000 * MS), max_size=50))
def test_every_stamp_is_counted_once_and_the_newest_follows_the_rules(stamps):
    keeper = TimeKeeper(RULES)
    for stamp in stamps:
        before, epoch = keeper.newest, keeper.epoch
        expected = keeper.classify(stamp)
        assert take(keeper, stamp) is expected
        assert keeper.epoch == epoch + (expected is Arrival.JUMP)
        if expected in (Arrival.LATE, Arrival.DUPLICATE):
            assert keeper.newest == before
            assert stamp <= before
        else:
            assert keeper.newest == stamp
    assert sum(keeper.counts.values()) == len(stamps)

from threading import Thread
from time import sleep

import pytest

from deep_tracking_ros.ros.mailbox import Item, Mailbox
from deep_tracking_ros.ros.measurements import WINDOW, Measurements


def item(value, port="image"):
    return Item(port, value, 0)


def test_the_newest_wins_and_drops_are_counted():
    box = Mailbox(1)
    assert [box.put(item(i)) for i in range(5)] == [0, 1, 1, 1, 1]
    assert box.take().value == 4


def test_every_item_in_order_up_to_the_limit():
    box = Mailbox(3)
    assert sum(box.put(item(i)) for i in range(5)) == 2
    assert [box.take().value for _ in range(3)] == [2, 3, 4]


def test_ports_do_not_drop_each_other():
    box = Mailbox(1)
    dropped = [box.put(item(v, port)) for v, port in ((0, "image"), (1, "detections"), (2, "image"))]
    assert dropped == [0, 0, 1]
    assert [box.take().value for _ in range(2)] == [1, 2]


def test_calls_go_first_and_are_never_dropped():
    box = Mailbox(1)
    box.put(item(0))
    calls = [lambda: 1, lambda: 2, lambda: 3]
    assert all(box.call(call) for call in calls)
    assert [box.take() for _ in range(3)] == calls
    assert box.take().value == 0


def test_close_wakes_the_taker_and_keeps_calls():
    box = Mailbox(1)
    taken = []
    taker = Thread(target=lambda: taken.append(box.take()))
    taker.start()
    box.close()
    taker.join(5)
    assert taken == [None]

    box = Mailbox(1)
    call = taken.clear
    box.put(item(0))
    box.call(call)
    box.close()
    assert box.take() is call
    assert box.take() is None
    assert not box.call(call)
    assert box.put(item(1)) == 0
    assert box.take() is None


def test_many_threads():
    box, number = Mailbox(4), 2000
    dropped, taken = [], []

    def put(start):
        dropped.append(sum(box.put(item(start + i)) for i in range(number)))

    def take():
        while (got := box.take()) is not None:
            taken.append(got.value)

    taker = Thread(target=take)
    putters = [Thread(target=put, args=(k * number,)) for k in range(3)]
    for thread in (taker, *putters):
        thread.start()
    for thread in putters:
        thread.join()
    while box._items:
        sleep(0.001)
    box.close()
    taker.join(5)
    assert len(taken) == len(set(taken))
    assert len(taken) + sum(dropped) == 3 * number


def test_rates_and_percentiles():
    m = Measurements()
    m.count("received", 10)
    rates, new = m.rates()
    assert new == {"received": 10}
    assert rates["received"] > 0
    assert m.rates()[1] == {"received": 0}
    assert m.counts() == {"received": 10}
    for i in range(WINDOW + 100):
        m.time(step=float(i))
    assert m.percentiles("step", 0, 50, 100) == pytest.approx((100, 100 + (WINDOW - 1) / 2, WINDOW + 99))
    assert m.percentiles("never", 50) == ()


def test_others_are_the_longest_waiting_of_each_other_port():
    mailbox = Mailbox(2)
    items = [Item(port, value, 0.0) for value, port in enumerate("aabbc")]
    for item in items:
        mailbox.put(item)
    taken = mailbox.take()
    assert taken is items[0]
    assert mailbox.others(taken) == [items[2], items[4]]
    assert [mailbox.take(), mailbox.take()] == [items[1], items[3]]
    assert mailbox.others(items[3]) == []

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_tracking_ros.errors import ErrorCode, NoFrameError, StampNotBufferedError
from deep_tracking_ros.pipelines.frame_buffer import FrameBuffer, time_text
from deep_tracking_ros.pipelines.time_keeper import TimeRules
from deep_tracking_ros.types import Frame

RULES = TimeRules.of_seconds(0.1, 2.0)
S = 10**9


def make(span=1.0, max_bytes=10**9):
    return FrameBuffer(int(span * S), max_bytes, RULES)


def frame(t, nbytes=100):
    return Frame(np.zeros((1, 1, 3), np.uint8), round(t * S), nbytes=nbytes)


def stamps(buffer):
    return [f.stamp / S for f in buffer.frames()]


def test_keeps_the_span_and_the_frame_at_its_edge():
    buffer = make(span=1.0)
    for i in range(30):
        buffer.append(frame(10 + i * 0.25))
    assert stamps(buffer) == [16.25, 16.5, 16.75, 17.0, 17.25]


def test_bytes_bound_it_too_and_the_newest_stays_whatever_it_costs():
    buffer = make(span=10, max_bytes=250)
    for i in range(5):
        buffer.append(frame(10 + i * 0.25))
    assert stamps(buffer) == [10.75, 11.0]
    assert buffer.nbytes == 200
    buffer.append(frame(11.25, nbytes=10_000))
    assert stamps(buffer) == [11.25]


def test_a_frame_costs_more_while_it_is_decoded():
    buffer = make(span=10, max_bytes=40_000)
    for i in range(4):
        buffer.append(Frame(lambda: np.zeros((100, 100, 3), np.uint8), 10 * S + i, nbytes=1000))
        _ = buffer.frames()[-1].image
    assert buffer.nbytes == 2 * 31_000
    buffer.frames()[0].release()
    assert buffer.nbytes == 1000 + 31_000
    _ = buffer.frames()[0].image
    buffer.append(frame(10.5))
    assert buffer.nbytes == 31_000 + 100


def test_duplicates_and_late_frames_are_left_out_and_a_jump_empties_it():
    buffer = make(span=5)
    for t in (10, 10.5, 10.5, 10.45, 11):
        buffer.append(frame(t))
    assert stamps(buffer) == [10, 10.5, 11]
    buffer.append(frame(2))
    assert stamps(buffer) == [2]


def test_knows_in_which_run_each_frame_came_also_where_it_is_gone():
    buffer = make(span=1)
    times = [10, 11, 11, 10.95, 12, 15, 9, 9.5]  # a duplicate, a late one, a gap, a step back
    frames = [frame(t) for t in times]
    for f in frames:
        buffer.append(f)
    assert [buffer.run_of(f) for f in frames] == [0, 0, 0, 0, 0, 1, 2, 2]
    assert buffer.run_of(frame(10)) is None
    buffer.clear()
    later = frame(10.5)
    buffer.append(later)
    assert buffer.run_of(later) == 2


def test_between_gives_the_frames_after_one_up_to_a_stamp():
    buffer = make(span=5)
    frames = [frame(t) for t in (10, 10.5, 11, 11.5)]
    for f in frames:
        buffer.append(f)
    assert buffer.between(frames[0], 11 * S) == (frames[1], frames[2])
    assert buffer.between(frames[3], 20 * S) == ()
    again = frame(5)
    buffer.append(again)
    assert buffer.between(frames[0], 20 * S) == ()
    assert buffer.find(5 * S) is again


@pytest.mark.parametrize(
    ("stamp", "words"),
    [(9 * S, "1.000 s too old"), (12 * S, "1.000 s too new"), (10 * S + 1, "none of them has this stamp")],
)
def test_a_stamp_that_is_not_kept_names_the_range(stamp, words):
    buffer = make(span=5)
    for t in (10, 10.5, 11):
        buffer.append(frame(t))
    with pytest.raises(StampNotBufferedError, match=r"3 images from 10\.0{9} s to 11\.0{9} s are kept") as error:
        buffer.find(stamp)
    assert words in str(error.value)
    assert error.value.code is ErrorCode.STAMP_NOT_BUFFERED


def test_an_empty_buffer_says_that_no_image_came():
    with pytest.raises(NoFrameError, match="no image has arrived yet"):
        make().find(5)


@given(st.lists(st.integers(0, 5 * S), min_size=1, max_size=60), st.integers(0, 2 * S), st.integers(1, 1000))
def test_always_in_order_and_within_its_bounds(arriving, span, max_bytes):
    buffer = FrameBuffer(span, max_bytes, RULES)
    for stamp in arriving:
        buffer.append(Frame(np.zeros((1, 1, 3), np.uint8), stamp, nbytes=100))
        kept = [f.stamp for f in buffer.frames()]
        assert kept == sorted(set(kept))
        assert kept[-1] - kept[0] <= span
        assert len(kept) == 1 or buffer.nbytes <= max_bytes


def test_reading_while_another_thread_appends():
    buffer = make(span=0.05)
    done = threading.Event()

    def append():
        for i in range(20_000):
            buffer.append(frame(10 + i * 0.001))
        done.set()

    thread = threading.Thread(target=append)
    thread.start()
    reads = 0
    while not done.is_set():
        kept = [f.stamp for f in buffer.frames()]
        assert kept == sorted(kept)
        assert len(kept) <= 52  # for a moment the new one stands beside the one that it pushes out
        reads += 1
    thread.join()
    assert reads > 10
    assert len(buffer.frames()) == 51


def test_time_text_has_all_digits():
    assert time_text(12_040_000_001) == "12.040000001 s"
    assert time_text(-1) == "-0.000000001 s"

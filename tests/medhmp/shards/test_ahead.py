"""A thread that makes batches ahead: order, errors, and that nothing of it stays behind."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.shards.ahead import DEPTH, ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "batches ahead"]


@given(st.lists(st.integers()), st.integers(1, 4))
def test_it_yields_what_it_was_given_in_order(items, depth):
    assert list(ahead(iter(items), depth)) == items
    assert not threads()


def test_it_works_ahead_but_no_further_than_its_depth():
    made = []

    def batches():
        for batch in range(20):
            made.append(batch)
            yield batch

    coming = ahead(batches())
    assert next(coming) == 0
    reached = 1 + DEPTH + 1  # the one taken, those that wait, the one in hand
    deadline = time.monotonic() + 30
    while len(made) < reached and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(made) == reached
    coming.close()


def test_an_error_comes_after_the_batches_before_it():
    def batches():
        yield 1
        yield 2
        raise ValueError("the third")

    coming = ahead(batches())
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(coming)
    assert not threads()


@pytest.mark.parametrize("taken", [0, 1, 3, 7])
def test_a_consumer_that_stops_ends_the_thread_and_the_batches(taken):
    closed = threading.Event()

    def batches():
        try:
            yield from range(8)
        finally:
            closed.set()

    coming = ahead(batches())
    for expected in range(taken):
        assert next(coming) == expected
    coming.close()
    assert not threads()
    del coming
    assert closed.is_set() or taken == 0  # before the first batch nothing has begun


def test_a_loop_that_fails_ends_the_thread():
    def loop():
        for batch in ahead(iter(range(100))):
            if batch == 3:
                raise RuntimeError("the step failed")

    with pytest.raises(RuntimeError, match="the step failed"):
        loop()
    deadline = time.monotonic() + 30
    while threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not threads()

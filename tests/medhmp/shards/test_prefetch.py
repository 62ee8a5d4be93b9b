"""A thread that makes batches ahead: order, errors, and that nothing of it stays behind."""

import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.shards.prefetch import DEPTH, Ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "batches ahead"]


@given(st.lists(st.integers()), st.integers(1, 4))
def test_it_yields_what_it_was_given_in_order(items, depth):
    coming = Ahead(iter(items), depth)
    assert list(coming) == items
    assert not threads()
    assert list(coming) == []


def test_it_works_ahead_but_no_further_than_its_depth():
    made = []

    def batches():
        for batch in range(20):
            made.append(batch)
            yield batch

    def reaches(count):
        deadline = time.monotonic() + 30
        while len(made) < count and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        return len(made) == count

    coming = Ahead(batches())
    assert reaches(DEPTH + 1)  # those that wait and the one in hand, before anybody asks
    assert next(coming) == 0
    assert reaches(1 + DEPTH + 1)
    coming.close()


def test_an_error_comes_after_the_batches_before_it():
    def batches():
        yield 1
        yield 2
        raise ValueError("the third")

    coming = Ahead(batches())
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(coming)
    assert not threads()


@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.parametrize("taken", [0, 1, 3, 7])
def test_a_consumer_that_stops_ends_the_thread_and_the_batches(taken, closing):
    """Also one that only lets go of them."""
    begun, closed = threading.Event(), threading.Event()

    def batches():
        begun.set()
        try:
            yield from range(8)
        finally:
            closed.set()

    coming = Ahead(batches())
    assert begun.wait(30)
    for expected in range(taken):
        assert next(coming) == expected
    if closing:
        coming.close()
        assert list(coming) == []
    del coming
    assert not threads()
    assert closed.is_set()


def test_a_loop_that_fails_ends_the_thread():
    def loop():
        for batch in Ahead(iter(range(100))):
            if batch == 3:
                raise RuntimeError("the step failed")

    with pytest.raises(RuntimeError, match="the step failed"):
        loop()
    deadline = time.monotonic() + 30
    while threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not threads()


def test_at_the_end_of_a_process_it_ends_before_what_it_reads_with():
    """Ray too is shut down by ``atexit``; asked for a batch after that, it would start anew."""
    program = """
import atexit
atexit.register(print, "shut down")
from medhmp.shards.prefetch import Ahead

def batches():
    try:
        while True:
            yield 1
    finally:
        print("read no more")

coming = Ahead(batches())
next(coming)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert ended.stderr == ""
    assert ended.stdout == "read no more\nshut down\n"

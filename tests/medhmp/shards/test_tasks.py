"""Work as Ray tasks: answers in order, failures that stop the rest, one thread for one CPU."""

import time

import polars as pl
import pytest

from medhmp.refusal import Refusal
from medhmp.shards.tasks import Tasks

pytestmark = pytest.mark.ray


def slow_square(x):
    time.sleep(0.2 if x == 0 else 0)
    return x * x


def write_or_refuse(folder, number):
    if number == 0:
        raise Refusal("the first item is wrong")
    time.sleep(0.1)
    (folder / str(number)).touch()


def threads(_):
    return pl.thread_pool_size()


def test_answers_come_in_the_order_of_the_items(ray):
    tasks = Tasks()
    assert list(tasks.each(slow_square, [(x,) for x in range(5)])) == [0, 1, 4, 9, 16]
    assert tasks.peak > 50 << 20  # an interpreter with its libraries
    assert list(tasks.each(slow_square, [])) == []


def test_after_a_failure_nothing_goes_on_writing(ray, tmp_path):
    with pytest.raises(Refusal, match="the first item is wrong"):
        list(Tasks().each(write_or_refuse, [(tmp_path, number) for number in range(30)]))
    written = len(list(tmp_path.iterdir()))
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == written < 29


def test_a_task_has_one_thread(ray):
    assert list(Tasks().each(threads, [(0,)])) == [1]

"""Work as Ray tasks: answers in order, failures that stop the rest, one thread for one CPU."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from medhmp.refusal import Refusal
from medhmp.shards.build import pool
from medhmp.shards.build.pool import Pool

pytestmark = pytest.mark.ray
HERE = str(Path(__file__).parent)


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
    workers = Pool()
    assert list(workers.each(slow_square, [(x,) for x in range(5)])) == [0, 1, 4, 9, 16]
    assert workers.peak > 50 << 20  # an interpreter with its libraries
    assert list(workers.each(slow_square, [])) == []


def test_progress_is_told_where_somebody_watches(ray, capsys, monkeypatch):
    items, rows = [(x,) for x in range(3)], [10, 20, 0]
    monkeypatch.setattr(pool, "SPOKEN", 0)
    assert list(Pool().each(slow_square, items, "squares", rows)) == [0, 1, 4]
    assert capsys.readouterr().out == ""
    assert list(Pool(is_watched=True).each(slow_square, items, "squares", rows)) == [0, 1, 4]
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0] for line in (line.strip() for line in lines)] == [
        f"squares: {done} of 3" for done in (1, 2, 3)
    ]
    assert all(re.search(r"  [\d,]+ rows/s  \d+ s left$", line) for line in lines)
    assert lines[-1].endswith(" 0 s left")


def test_after_a_failure_nothing_goes_on_writing(ray, tmp_path):
    with pytest.raises(Refusal, match="the first item is wrong"):
        list(Pool().each(write_or_refuse, [(tmp_path, number) for number in range(30)]))
    written = len(list(tmp_path.iterdir()))
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == written < 29


def refuse_soon(number):
    if number % 12 == 0:
        time.sleep(0.002 * (number % 10))
        raise Refusal("the first item is wrong")
    time.sleep(0.001)


def fail_often():
    """The driver of the next test."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    for turn in range(80):
        with pytest.raises(Refusal):
            list(Pool().each(refuse_soon, [(12 * turn + number,) for number in range(12)]))
    print("still here")


def test_a_failure_beside_tasks_that_just_end_leaves_the_driver_alive():
    """Ray aborts a driver that cancels a task in the moment in which it ends."""
    code = "import test_pool; test_pool.fail_often()"
    driver = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((os.environ["PYTHONPATH"], HERE))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert driver.stdout.endswith("still here\n"), driver.stderr


def test_a_task_has_one_thread(ray):
    assert list(Pool().each(threads, [(0,)])) == [1]

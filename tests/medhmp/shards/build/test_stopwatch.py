"""The stopwatch against clocks that stand where the test puts them."""

import pytest

from medhmp.shards.build import stopwatch
from medhmp.shards.build.stopwatch import Spent, Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """Wall and CPU seconds, to be moved on."""
    now = {"perf_counter": 100.0, "process_time": 7.0}
    for name in now:
        monkeypatch.setattr(stopwatch.time, name, lambda name=name: now[name])

    def pass_by(seconds, cpu):
        now["perf_counter"] += seconds
        now["process_time"] += cpu

    return pass_by


def test_a_stage_lasts_until_the_next_begins_and_has_the_cpu_of_its_tasks(clock):
    watch = Stopwatch()
    watch.add(50.0)  # before any stage
    clock(1, 1)
    watch.begin("read")
    clock(4, 0.5)
    watch.add(6.0)
    watch.begin("rows")
    clock(2, 1)
    watch.begin("read")
    clock(1, 0.25)
    watch.end()
    clock(9, 9)
    watch.add(50.0)
    watch.end()
    assert watch.stages == {"read": Spent(5.0, 6.75), "rows": Spent(2.0, 1.0)}

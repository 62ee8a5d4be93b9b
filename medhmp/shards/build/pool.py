"""Work spread over the cluster: one Ray task per item, answers in the order of the items."""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import ray

from medhmp.shards.build.stopwatch import Stopwatch

# A task has one CPU. Polars starts a thread for each CPU of the machine, unless told when imported.
ONE_THREAD = {"env_vars": {"POLARS_MAX_THREADS": "1"}}
SPOKEN: Final = 10.0
"""Seconds between two lines of progress."""


class Tasks:
    """Runs functions as Ray tasks; ``peak`` is the largest memory of a worker so far, in bytes.

    ``show`` where somebody watches: a line at times says how far the work is. The CPU seconds of
    the tasks go to the stage of ``watch`` that runs.
    """

    def __init__(self, show: bool = False) -> None:
        self.peak, self.watch, self._show = 0, Stopwatch(), show

    def each(
        self,
        function: Callable[..., Any],
        items: Sequence[Sequence[Any]],
        what: str = "",
        rows: Sequence[int] = (),
    ) -> Iterator[Any]:
        """``function(*item)`` of every item, in the order of the items.

        ``what`` names the work in progress lines; ``rows`` are those of each item.
        """
        progress = _Progress(what, rows) if self._show and rows else None
        for result, memory, seconds in _in_order(ray.put(function), items):
            self.peak = max(self.peak, memory)
            self.watch.add(seconds)
            if progress:
                progress.done_with_one()
            yield result


def _in_order(function: Any, items: Sequence[Sequence[Any]]) -> Iterator[Any]:
    """What the tasks return, in the order of the items; two for each CPU are begun at a time.

    After a failure nothing more begins, and what runs is waited for, so that nothing goes on
    writing. It is not cancelled: ``ray.cancel`` of a task that is just ending can abort the whole
    driver (Ray 2.60: "Tried to complete task that was not pending").
    """
    references: dict[int, Any] = {}
    running: list[Any] = []
    begun = 0
    try:
        for k in range(len(items)):
            while k == begun or references[k] in running:
                while begun < len(items) and len(running) < _at_a_time():
                    references[begun] = _call.remote(function, items[begun])
                    running.append(references[begun])
                    begun += 1
                _, running = ray.wait(running)
            yield ray.get(references.pop(k))
    except (Exception, GeneratorExit):
        ray.wait(running, num_returns=len(running))
        raise


def _at_a_time() -> int:
    """Counts anew each time: more than fits makes an autoscaler add nodes, which raises it."""
    return 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))


class _Progress:
    """Tells of items done, rows per second and the time left, at most every ``SPOKEN`` seconds."""

    def __init__(self, what: str, rows: Sequence[int]) -> None:
        self._what, self._rows, self._items = what, rows, 0
        self._begun = self._spoken = time.monotonic()

    def done_with_one(self) -> None:
        self._items += 1
        now = time.monotonic()
        if now - self._spoken < SPOKEN:
            return
        self._spoken = now
        done, seconds = sum(self._rows[: self._items]), now - self._begun
        left = (sum(self._rows) - done) * seconds / max(done, 1)
        print(
            f"  {self._what}: {self._items} of {len(self._rows)}  {done / seconds:,.0f} rows/s  "
            f"{left:.0f} s left",
            flush=True,
        )


@ray.remote(runtime_env=ONE_THREAD)  # type: ignore[untyped-decorator]
def _call(function: Callable[..., Any], item: Sequence[Any]) -> tuple[Any, int, float]:
    """The result, the largest memory of this worker in bytes, the CPU seconds of this call."""
    begun = time.process_time()
    result = function(*item)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return result, peak, time.process_time() - begun

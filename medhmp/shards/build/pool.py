"""Work spread over the cluster: one Ray task per item, results in the order of the items.

In a process that has joined no Ray, as a notebook's, the items are done there one by one.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from medhmp.shards.build.stopwatch import Stopwatch

# A Ray task has one CPU. Polars reads this when imported; else it starts a thread for each CPU.
ONE_THREAD = {"env_vars": {"POLARS_MAX_THREADS": "1"}}
SPOKEN: Final = 10.0
"""Seconds between two lines of progress."""


class Pool:
    """Runs functions as Ray tasks.

    ``peak`` is the largest memory of a worker so far, in bytes. The running stage of ``stopwatch``
    gets the CPU seconds of the Ray tasks. Where somebody watches, a line at times tells how far the
    work is. ``gpus``: of a task, on a cluster that has any.
    """

    def __init__(self, is_watched: bool = False, gpus: float = 0) -> None:
        self.peak, self.stopwatch, self._is_watched = 0, Stopwatch(), is_watched
        self._gpus = gpus

    def each(
        self,
        function: Callable[..., Any],
        items: Sequence[Sequence[Any]],
        what: str = "",
        rows: Sequence[int] = (),
    ) -> Iterator[Any]:
        """Yields ``function(*item)`` of every item, in the order of the items.

        ``what`` names the work in progress lines; ``rows`` are the rows of each item.
        """
        progress = _Progress(what, rows) if self._is_watched and rows else None
        ray = joined_ray()
        if ray:
            called = _in_order(ray, ray.put(function), items, self._gpus)
        else:
            called = (_call(function, item) for item in items)
        for result, memory, seconds in called:
            self.peak = max(self.peak, memory)
            self.stopwatch.add(seconds)
            if progress:
                progress.done_with_one()
            yield result


def joined_ray() -> Any:
    """The module of the Ray that this process has joined; None where there is none."""
    ray = sys.modules.get("ray")  # it need not be installed where nothing runs on it
    return ray if ray and ray.is_initialized() else None


def _in_order(
    ray: Any, function: Any, items: Sequence[Sequence[Any]], gpus: float
) -> Iterator[Any]:
    """Yields the results of the Ray tasks in the order of the items, with two per CPU running.

    After a failure no task begins, and those that run are awaited, so that none goes on writing.
    They are not cancelled: ``ray.cancel`` of a task that is just ending can abort the whole driver
    (Ray 2.60: "Tried to complete task that was not pending").
    """
    has_gpus = gpus and ray.cluster_resources().get("GPU", 0) >= gpus
    task = ray.remote(_call).options(runtime_env=ONE_THREAD, num_gpus=gpus if has_gpus else 0)
    references: dict[int, Any] = {}
    running: list[Any] = []
    begun = 0
    try:
        for k in range(len(items)):
            while k == begun or references[k] in running:
                while begun < len(items) and len(running) < _at_a_time(ray):
                    references[begun] = task.remote(function, items[begun])
                    running.append(references[begun])
                    begun += 1
                _, running = ray.wait(running)
            yield ray.get(references.pop(k))
    except (Exception, GeneratorExit):
        ray.wait(running, num_returns=len(running))
        raise


def _at_a_time(ray: Any) -> int:
    """Ray tasks to run at a time. More than fit make an autoscaler add nodes, which raises it."""
    return 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))


class _Progress:
    """Prints items done, rows per second and the time left, at most every ``SPOKEN`` seconds."""

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


def _call(function: Callable[..., Any], item: Sequence[Any]) -> tuple[Any, int, float]:
    """Returns the result, the peak memory of this worker in bytes, the CPU seconds of this call."""
    begun = time.process_time()
    result = function(*item)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return result, peak, time.process_time() - begun

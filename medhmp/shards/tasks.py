"""Work spread over the cluster: one Ray task per item, answers in the order of the items."""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import ray

# A task has one CPU. Polars starts a thread for each CPU of the machine, unless told when imported.
ONE_THREAD = {"env_vars": {"POLARS_MAX_THREADS": "1"}}
SPOKEN: Final = 10.0
"""Seconds between two lines of progress."""


class Tasks:
    """Runs functions as Ray tasks; ``peak`` is the largest memory of a worker so far, in bytes.

    ``show`` where somebody watches: a line at times says how far the work is.
    """

    def __init__(self, show: bool = False) -> None:
        self.peak, self._show = 0, show

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
        shared = ray.put(function)
        waiting = [_call.remote(shared, item) for item in items]
        try:
            for reference in waiting:
                result, memory = ray.get(reference)
                self.peak = max(self.peak, memory)
                if progress:
                    progress.done_with_one()
                yield result
        except BaseException:
            _stop(waiting)
            raise


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


def _stop(references: list[Any]) -> None:
    """Cancels what has not run, and waits for what is running: nothing writes after a failure."""
    for reference in references:
        ray.cancel(reference)
    ray.wait(references, num_returns=len(references))


@ray.remote(runtime_env=ONE_THREAD)  # type: ignore[untyped-decorator]
def _call(function: Callable[..., Any], item: Sequence[Any]) -> tuple[Any, int]:
    return function(*item), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

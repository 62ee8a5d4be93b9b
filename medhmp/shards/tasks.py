"""Work spread over the cluster: one Ray task per item, answers in the order of the items."""

import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ray

# A task has one CPU. Polars starts a thread for each CPU of the machine, unless told when imported.
ONE_THREAD = {"env_vars": {"POLARS_MAX_THREADS": "1"}}


class Tasks:
    """Runs functions as Ray tasks; ``peak`` is the largest memory of a worker so far, in bytes."""

    def __init__(self) -> None:
        self.peak = 0

    def each(self, function: Callable[..., Any], items: Iterable[Sequence[Any]]) -> Iterator[Any]:
        """``function(*item)`` of every item, in the order of the items."""
        shared = ray.put(function)
        waiting = [_call.remote(shared, item) for item in items]
        try:
            for reference in waiting:
                result, memory = ray.get(reference)
                self.peak = max(self.peak, memory)
                yield result
        except BaseException:
            _stop(waiting)
            raise


def _stop(references: list[Any]) -> None:
    """Cancels what has not run, and waits for what is running: nothing writes after a failure."""
    for reference in references:
        ray.cancel(reference)
    ray.wait(references, num_returns=len(references))


@ray.remote(runtime_env=ONE_THREAD)  # type: ignore[untyped-decorator]
def _call(function: Callable[..., Any], item: Sequence[Any]) -> tuple[Any, int]:
    return function(*item), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

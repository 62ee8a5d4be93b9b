"""Failures of workers: the run restarts from its newest checkpoint, or ends."""

import re
from collections.abc import Mapping
from typing import Any, Final

import ray.train

from medhmp.refusal import find_failure, find_refusal
from medhmp.storage import Folder
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Position

IN_VAIN: Final = 3
"""Failures in a row, without a new checkpoint, after which a run still restarts."""


class Failures(ray.train.UserCallback):  # type: ignore[misc]
    """Ends a run whose restart would fail again. Runs in Ray's controller.

    Without it Ray restarts all workers, whatever one of them raises. A Refusal of a worker, which a
    diverged loss is too, ends the run at once, and with it the workers that may wait for the
    refusing one. So do a full disk, a store that has failed for as long as ``patience`` waits, and
    the fourth failure without a new checkpoint in between.
    """

    def __init__(self, folder: Folder, quiet: bool) -> None:
        self._folder, self._quiet = folder, quiet
        self._newest: Position | None = None
        self._in_vain = 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        errors = [*worker_exceptions.values()]
        for error in errors:
            if refusal := find_refusal(error):
                raise refusal
            if failure := find_failure(error, self._folder.uri):
                raise failure
        # Ray reports a preemption again while other workers run; preemptions never count as
        # failures.
        if any(_is_preempted(error) for error in errors):
            return
        newest = max(checkpoint.positions(self._folder, whole=True), default=None)
        self._in_vain = self._in_vain + 1 if newest == self._newest else 1
        self._newest = newest
        if self._in_vain > IN_VAIN:
            raise RuntimeError(
                f"{self._folder}: workers failed {self._in_vain} times at the same checkpoint, "
                f"{newest}; the last time {who_failed(worker_exceptions)}"
            ) from errors[0]
        if not self._quiet:
            who = who_failed(worker_exceptions)
            print(f"{self._folder}: {who}; the newest checkpoint is {newest}", flush=True)


def who_failed(errors: Mapping[int, Exception]) -> str:
    """Names the workers that failed, and those they waited for in vain; of errors only the type."""
    failed = ", ".join(f"{rank} ({type(error).__name__})" for rank, error in errors.items())
    awaited = re.compile(r"ranks have not joined the collective operation: \[([\d, ]+)\]")
    missing = sorted({found for error in errors.values() for found in awaited.findall(str(error))})
    waited = f", having waited in vain for worker {' and '.join(missing)}" if missing else ""
    return f"worker {failed} failed{waited}"


def _is_preempted(error: Exception) -> bool:
    """True if a worker was lost with a preempted node."""
    return bool(getattr(getattr(error, "health_check_failure", error), "preempted", False))

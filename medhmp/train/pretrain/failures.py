"""What a failed worker means for its run: begin again from the newest checkpoint, or end."""

import re
from collections.abc import Mapping
from typing import Any, Final

import ray.train

from medhmp.refusal import find_refusal
from medhmp.storage import Folder, Unusable, patiently
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Position

IN_VAIN: Final = 3
"""Failures of workers without a new checkpoint that do not end a run yet."""


class Failures(ray.train.UserCallback):  # type: ignore[misc]
    """Ends a run that would end the same if it were begun again; without this, Ray starts all
    workers again for whatever one of them raises. Runs in Ray's controller.

    What a worker refuses, a diverged loss too, ends it at once, and with it other workers, which
    may wait for the refusing one. So does the fourth failure without a new checkpoint in between.
    """

    def __init__(self, folder: Folder, quiet: bool) -> None:
        self._folder, self._quiet = folder, quiet
        self._newest: Position | None = None
        self._in_vain = 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        errors = [*worker_exceptions.values()]
        for error in errors:
            refusal = find_refusal(error)
            if refusal and not isinstance(refusal, Unusable):  # which a bucket may be for a while
                raise refusal
        # Told anew as long as other workers go on; it can happen as often as it will.
        if any(_is_preempted(error) for error in errors):
            return
        whole = patiently(self._folder, lambda: checkpoint.positions(self._folder, whole=True))
        newest = max(whole, default=None)
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
    """Who failed, and for whom they waited in vain; of errors no more than their kind."""
    failed = ", ".join(f"{rank} ({type(error).__name__})" for rank, error in errors.items())
    awaited = re.compile(r"ranks have not joined the collective operation: \[([\d, ]+)\]")
    missing = sorted({found for error in errors.values() for found in awaited.findall(str(error))})
    waited = f", having waited in vain for worker {' and '.join(missing)}" if missing else ""
    return f"worker {failed} failed{waited}"


def _is_preempted(error: Exception) -> bool:
    """Whether a worker was lost with a node that was taken away."""
    return bool(getattr(getattr(error, "health_check_failure", error), "preempted", False))

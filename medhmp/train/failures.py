"""What a failed worker means for its run: begin again from the newest checkpoint, or end."""

from typing import Any, Final

import ray.train

from medhmp import command
from medhmp.storage import Folder
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

    def __init__(self, folder: Folder, show: bool) -> None:
        self._folder, self._show = folder, show
        self._newest: Position | None = None
        self._in_vain = 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        errors = [*worker_exceptions.values()]
        for error in errors:
            if refusal := command.find_refusal(error):
                raise refusal
        # Told anew as long as other workers go on; it can happen as often as it will.
        if any(_is_preempted(error) for error in errors):
            return
        newest = max(checkpoint.positions(self._folder, whole=True), default=None)
        self._in_vain = self._in_vain + 1 if newest == self._newest else 1
        self._newest = newest
        if self._in_vain > IN_VAIN:
            raise RuntimeError(
                f"{self._folder}: workers failed {self._in_vain} times at the same checkpoint"
            ) from errors[0]
        if self._show:
            ranks = ", ".join(
                f"{rank} ({type(e).__name__})" for rank, e in worker_exceptions.items()
            )
            print(f"{self._folder}: worker {ranks} failed; going on from {newest}", flush=True)


def _is_preempted(error: Exception) -> bool:
    """Whether a worker was lost with a node that was taken away."""
    return bool(getattr(getattr(error, "health_check_failure", error), "preempted", False))

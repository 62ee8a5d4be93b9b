"""Asynchronous checkpoints: a thread writes a copy while the steps go on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from torch import Tensor

from medhmp.train.checkpoint import Checkpoint, Position
from medhmp.train.loop import Diverged


class NotFinite(Diverged):
    """Weights that are not finite. Only the rank that writes checkpoints finds them."""


class Writer:
    """Writes one checkpoint at a time. An error of the thread is raised by the next call."""

    def __init__(self, write: Callable[[Checkpoint], None], last: Position | None) -> None:
        """``last`` is the newest checkpoint that is there already."""
        self.last = last  # the newest that is whole
        self._write, self._thread = write, ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def begin(self, copied: Checkpoint) -> None:
        """Waits for the one before, then begins to write. The tensors may not change any more."""
        self.wait()
        self._writing = self._thread.submit(self._checked, copied)

    def wait(self) -> None:
        """Waits until nothing is being written."""
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _checked(self, copied: Checkpoint) -> None:
        weights, optimizer = (
            _mapped(part, Tensor.cpu) for part in (copied.weights, copied.optimizer)
        )
        checkpoint = replace(copied, weights=weights, optimizer=optimizer)
        # A finite loss does not suffice: it is of the weights before the last step.
        if not checkpoint.is_finite:
            raise NotFinite(
                f"weights are not finite at {checkpoint.position}; lower the learning rate; the "
                f"last good checkpoint is {self.last or 'none'}"
            )
        self._write(checkpoint)
        self.last = checkpoint.position


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """Copies nested dictionaries and lists with their tensors, in the order of the device's work:
    nothing waits for it."""
    found: dict[str, Any] = _mapped(state, lambda tensor: tensor.detach().clone())
    return found


def _mapped(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(state, dict):
        return {name: _mapped(value, change) for name, value in state.items()}
    if isinstance(state, list):
        return [_mapped(value, change) for value in state]
    return change(state) if isinstance(state, Tensor) else state

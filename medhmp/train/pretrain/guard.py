"""Divergence: losses are kept on the device and judged at intervals, so that no step waits."""

import math
import statistics
from collections.abc import Mapping
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from medhmp.model.contrast import world_size
from medhmp.train.loop import Diverged

WINDOW: Final = 64
"""Steps over whose losses the reference is the median."""
FACTOR: Final = 10.0
"""Distance above the reference at which a loss explodes, in the spread that ``Guard`` explains."""
PATIENCE: Final = 8
"""Exploding losses in a row that end a run, and losses that it takes for a reference."""


class Guard:
    """Judges the loss of every step, averaged over ranks; all ranks judge alike.

    Spread is measured as the larger of the median's magnitude and the interquartile range: a
    contrastive loss can cross zero, where a multiple of the median means nothing. It never shrinks.
    The first losses, before there is a reference, need only be finite.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {"calm": [], "unit": 0.0, "exploding": 0}
        self._calm: list[float] = list(state["calm"])  # the last losses that did not explode
        self._unit: float = state["unit"]
        self._exploding: int = state["exploding"]  # losses in a row
        self._losses: list[tuple[int, int, Tensor]] = []  # epoch, step and loss, not judged yet
        self.last = math.nan  # the loss judged last, here or before

    def step(self, epoch: int, step: int, loss: Tensor) -> None:
        """Keeps the loss of a step (from 0) to be judged; waits for nothing."""
        self._losses.append((epoch, step, loss.detach()))

    def check(self) -> None:
        """Raises Diverged, naming the step. Every rank has to call it, and waits for its device."""
        noted, self._losses = self._losses, []
        if not noted:
            return
        losses = torch.stack([loss for _, _, loss in noted]).to(torch.float64)
        if world_size() > 1:
            dist.all_reduce(losses)
        for (epoch, step, _), loss in zip(noted, (losses / world_size()).tolist(), strict=True):
            self._judge(epoch, step, loss)

    def _judge(self, epoch: int, step: int, loss: float) -> None:
        self.last, where = loss, f"at step {step} of epoch {epoch}"
        if not math.isfinite(loss):
            raise Diverged(f"the loss {where} is {loss}; lower the learning rate")
        low, reference, high = _quartiles(self._calm)
        self._unit = max(self._unit, abs(reference), high - low)
        if len(self._calm) < PATIENCE or loss - reference <= FACTOR * self._unit:
            self._calm = [*self._calm, loss][-WINDOW:]
            self._exploding = 0
            return
        self._exploding += 1
        if self._exploding == PATIENCE:
            raise Diverged(
                f"the loss exploded: it is {loss:.4g} {where}, where it was {reference:.4g} "
                f"{PATIENCE} steps before; lower the learning rate"
            )

    @property
    def is_calm(self) -> bool:
        """True if the last loss judged did not explode."""
        return self._exploding == 0

    def state(self) -> dict[str, Any]:
        """State of a Guard that goes on as if never interrupted. To be called after ``check``."""
        return {"calm": self._calm, "unit": self._unit, "exploding": self._exploding}


def _quartiles(losses: list[float]) -> tuple[float, float, float]:
    if len(losses) < 2:
        only = losses[0] if losses else 0.0
        return only, only, only
    low, median, high = statistics.quantiles(losses, n=4)
    return low, median, high

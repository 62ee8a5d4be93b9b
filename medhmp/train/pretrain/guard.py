"""Divergence: losses are watched on the device and judged now and then, so that no step waits."""

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
"""How far above the reference an exploding loss lies, in units that ``Guard`` explains."""
PATIENCE: Final = 8
"""Exploding losses in a row that end a run: one bad batch does not. As many make a reference."""


class Guard:
    """Judges the loss of every step, averaged over ranks. On all ranks it judges alike.

    The unit is the largest reference, by size, or distance between quartiles, because a contrastive
    loss may cross zero: there ten times the last losses would be nothing. The first losses, before
    there is a reference, need only be finite.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {"calm": [], "unit": 0.0, "exploding": 0}
        self._calm: list[float] = list(state["calm"])  # the last losses that did not explode
        self._unit: float = state["unit"]
        self._exploding: int = state["exploding"]  # losses in a row
        self._losses: list[tuple[int, int, Tensor]] = []  # epoch, step and loss, not judged yet
        self.last = math.nan  # the loss judged last, here or before

    def step(self, epoch: int, step: int, loss: Tensor) -> None:
        """Notes the loss of a step (from 0); waits for nothing."""
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
        """Whether the last loss judged did not explode."""
        return self._exploding == 0

    def state(self) -> dict[str, Any]:
        """What a Guard needs to go on judging as if never interrupted; after ``check``."""
        return {"calm": self._calm, "unit": self._unit, "exploding": self._exploding}


def _quartiles(losses: list[float]) -> tuple[float, float, float]:
    if len(losses) < 2:
        only = losses[0] if losses else 0.0
        return only, only, only
    low, median, high = statistics.quantiles(losses, n=4)
    return low, median, high

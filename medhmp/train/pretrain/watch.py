"""Work of a rank between steps: judging losses, and beginning checkpoints.

Checkpoints are taken at fixed steps, at epoch ends if the writer is idle, and before a preemption.
Their timing never affects the result. Every rank does this at the same step.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from medhmp.model.contrast import world_size
from medhmp.train.checkpoint import Position
from medhmp.train.meter import Meter
from medhmp.train.pretrain.guard import Guard

Save = Callable[[Position, list[dict[str, Any]], bool], None]
"""Begins a checkpoint at a position, with the meters of all ranks; none if the last argument is
False and the writer is busy."""


@dataclass(frozen=True)
class Rhythm:
    """Times at which checkpoints are due: every half of ``interval`` steps, over all epochs.

    A checkpoint is begun only when the one before is whole. So there is always a whole one that is
    less than ``interval`` steps old, also while the next is being written. The exception is a loss
    that explodes: no checkpoint is begun until it is back.
    """

    steps: int  # of an epoch
    epochs: int
    interval: int  # steps

    def is_due(self, at: Position) -> bool:
        done = at.epoch * self.steps + at.step
        return done % max(1, self.interval // 2) == 0 or at == Position(self.epochs)


class Pulse:
    """A beat about once a second, at the same step on every rank, which rank 0 decides."""

    SECONDS = 1.0

    def __init__(self, agree: Callable[[int], int]) -> None:
        """``agree`` returns the number of rank 0 to every rank; all ranks have to call it."""
        self._agree, self._begun = agree, time.perf_counter()
        self._steps = self._left = 1

    def beats(self) -> bool:
        """True if the pulse beats after this step."""
        self._left -= 1
        if self._left:
            return False
        now = time.perf_counter()
        fitting = round(self._steps * self.SECONDS / max(now - self._begun, 1e-6))
        # The first steps are slower than the rest: grow by a factor of 4 at most.
        self._steps = self._agree(min(max(fitting, 1), 4 * self._steps))
        self._left, self._begun = self._steps, now
        return True


class Watch:
    """Watches the ends of steps and epochs of one rank."""

    def __init__(
        self,
        rhythm: Rhythm,
        guard: Guard,
        save: Save,
        agree: Callable[[int], int] = lambda steps: steps,
        is_leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        """``is_leaving`` is true if a node of the run is about to be preempted. Like ``agree``, all
        ranks call it at the same step and get the same answer."""
        self._rhythm, self._guard, self._save = rhythm, guard, save
        self._pulse, self._is_leaving = Pulse(agree), is_leaving

    def after_step(self, epoch: int, done: int, loss: Tensor, meter: Meter) -> None:
        """Judges the losses if the pulse beats, a checkpoint is due, or the epoch ends. Saves, but
        not at the end of an epoch, where ``after_epoch`` does."""
        self._guard.step(epoch, done - 1, loss)
        at = Position(epoch, done)
        beats, is_last = self._pulse.beats(), done == self._rhythm.steps
        is_due = not is_last and self._rhythm.is_due(at)
        if beats or is_due or is_last:
            self._guard.check()
        is_leaving = beats and self._is_leaving()
        if (is_due or is_leaving) and not is_last and self._guard.is_calm:
            self._save(at, of_all_ranks(meter.state()), is_due)

    def after_epoch(self, epoch: int) -> None:
        """Saves the end of an epoch: always if it is due, else if the writer is idle."""
        at = Position(epoch + 1)
        if self._guard.is_calm or at == Position(self._rhythm.epochs):
            self._save(at, [], self._rhythm.is_due(at))


def of_all_ranks(meter: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Gathers the states of all ranks' Meters; each rank gives its own."""
    numbers = {name: value for name, value in meter.items() if isinstance(value, int | float)}
    own = torch.tensor(list(numbers.values()), dtype=torch.float64, device=meter["sums"].device)
    own = torch.cat([own, meter["sums"]])
    ranks = [own]
    if world_size() > 1:
        ranks = [torch.empty_like(own) for _ in range(world_size())]
        dist.all_gather(ranks, own)
    return [_as(meter, numbers, rank.cpu()) for rank in ranks]


def _as(meter: Mapping[str, Any], numbers: Mapping[str, Any], rank: Tensor) -> dict[str, Any]:
    values = zip(numbers.items(), rank.tolist(), strict=False)
    told = {name: type(own)(value) for (name, own), value in values}
    return {**told, "names": list(meter["names"]), "sums": rank[len(numbers) :].clone()}

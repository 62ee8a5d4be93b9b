"""What a rank does between steps, so that its run can be lost at any moment or stopped in time.

Every rank does it at the same step. Checkpoints are begun at steps that the run's settings decide,
at the ends of epochs if the writer is free, and when a node is about to go; when they are changes
nothing of what training comes to.
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
"""Begins a checkpoint at a position, with the meters of all ranks; or leaves it if the writer is
busy and the last argument False."""


@dataclass(frozen=True)
class Rhythm:
    """When checkpoints are due: at every half of ``interval`` steps, counted over all epochs.

    One is begun only when the one before is whole. So there is always a whole one that is less than
    ``interval`` steps old, also while the next is being written; unless the loss has just leapt,
    for then none is begun until it is back.
    """

    steps: int  # of an epoch
    epochs: int
    interval: int  # steps

    def is_due(self, at: Position) -> bool:
        done = at.epoch * self.steps + at.step
        return done % max(1, self.interval // 2) == 0 or at == Position(self.epochs)


class Pulse:
    """Beats about once a second, at the same step on every rank: rank 0 says at which."""

    SECONDS = 1.0

    def __init__(self, agree: Callable[[int], int]) -> None:
        """``agree`` gives every rank the number of rank 0, which all have to ask for."""
        self._agree, self._begun = agree, time.perf_counter()
        self._steps = self._left = 1

    def beats(self) -> bool:
        """Whether it beats after this step."""
        self._left -= 1
        if self._left:
            return False
        now = time.perf_counter()
        fitting = round(self._steps * self.SECONDS / max(now - self._begun, 1e-6))
        # The first steps are not like the rest: it grows with care.
        self._steps = self._agree(min(max(fitting, 1), 4 * self._steps))
        self._left, self._begun = self._steps, now
        return True


class Watch:
    """The ends of steps and epochs of one rank."""

    def __init__(
        self,
        rhythm: Rhythm,
        guard: Guard,
        save: Save,
        agree: Callable[[int], int] = lambda steps: steps,
        is_leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        """``is_leaving``: whether a node of the run is about to be taken away. Like ``agree`` it is
        asked by all ranks at the same step, and tells them the same."""
        self._rhythm, self._guard, self._save = rhythm, guard, save
        self._pulse, self._is_leaving = Pulse(agree), is_leaving

    def after_step(self, epoch: int, done: int, loss: Tensor, meter: Meter) -> None:
        """Looks at the losses where the pulse beats, a checkpoint is due, or the epoch ends; there
        ``after_epoch`` saves."""
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
        """Saves the end of an epoch: always if it is due, else if the writer is free."""
        at = Position(epoch + 1)
        if self._guard.is_calm or at == Position(self._rhythm.epochs):
            self._save(at, [], self._rhythm.is_due(at))


def of_all_ranks(meter: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The state of each rank's Meter, from each rank's own."""
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

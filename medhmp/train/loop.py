"""The training loop: one for pretraining under Ray Train, fine-tuning inside a trial, and a test.

It knows neither Ray nor a model: an objective turns a batch into a loss, ``batches(epoch, first)``
yields the batches of an epoch from step ``first`` on, and what else a step's or an epoch's end
calls for (validate, checkpoint, report) is done by ``after_step`` and ``after_epoch``.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from medhmp.refusal import Refusal
from medhmp.shards.rows import Batch
from medhmp.train.meter import Meter

AfterStep = Callable[[int, int, torch.Tensor, Meter], None]
"""Called with the epoch, how many of its steps are done, the loss of the last, and the meter."""


class Diverged(Refusal):
    """A loss that is not finite or explodes: the remedy, a lower learning rate, is the user's."""


@dataclass(frozen=True)
class Midway:
    """Where the first epoch of a continued run begins: after ``steps`` steps that are done."""

    steps: int
    meter: Mapping[str, Any]  # the state of this rank's Meter then


def train(
    objective: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Callable[[int, int], Iterable[Batch]],
    epochs: range,
    after_epoch: Callable[[int, dict[str, float]], bool],
    device: torch.device | None = None,
    after_step: AfterStep | None = None,
    midway: Midway | None = None,
) -> None:
    """Trains until the epochs end or ``after_epoch(epoch, summary)`` returns False.

    ``objective(batch) -> (loss, report)``; whoever wrapped it averages gradients over workers.
    Raises Diverged after an epoch whose mean loss is not finite: on every worker, as the mean is
    over all of them.
    """
    for epoch in epochs:
        objective.train()
        meter, first = Meter(), 0
        if midway and epoch == epochs.start:
            meter.resume(midway.meter)
            first = midway.steps
        for done, batch in enumerate(meter.waiting(batches(epoch, first)), first + 1):
            on_device = to_device(batch, device)
            loss, report = objective(on_device)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            meter.step(len(batch["subject_id"]), loss, report)
            if after_step:
                after_step(epoch, done, loss, meter)
        summary = meter.summary()
        if not math.isfinite(summary.get("loss", math.nan)):
            raise Diverged(
                f"the loss of epoch {epoch} is {summary.get('loss')}; lower the learning rate"
            )
        if not after_epoch(epoch, summary):
            return


def to_device(batch: Batch, device: torch.device | None) -> Batch:
    """The batch on the device, copied without waiting."""
    if device is None:
        return batch
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}

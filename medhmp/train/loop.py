"""The training loop: one for pretraining under Ray Train, fine-tuning inside a trial, and a test.

It starts nothing on Ray and names no model: an objective turns a batch into a loss,
``batches(epoch, first)`` yields the batches of an epoch from step ``first`` on, and what else a
step's or an epoch's end calls for (validate, checkpoint) is done by ``after_step`` and
``after_epoch``.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medhmp.batch import SUBJECT_ID
from medhmp.refusal import Refusal
from medhmp.shards.rows import Batch
from medhmp.train.backward import backward
from medhmp.train.device import to_device
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
    chunk: int | None = None,
    bf16: bool = False,
) -> None:
    """Trains until the epochs end or ``after_epoch(epoch, summary)`` returns False.

    ``objective(batch) -> (loss, report)``; whoever wrapped it averages gradients over workers.
    ``chunk`` rows pass the encoder at once; none: all of a batch. ``bf16``: autocast on a GPU.
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
            optimizer.zero_grad(set_to_none=True)
            loss, report = backward(objective, batch, device, chunk, bf16)
            report["gradient_norm"] = gradient_norm(objective)
            optimizer.step()
            meter.step(len(batch[SUBJECT_ID]), loss, report)
            if after_step:
                after_step(epoch, done, loss, meter)
        summary = meter.summary() | {"learning_rate": optimizer.param_groups[0]["lr"]}
        if not math.isfinite(summary.get("loss", math.nan)):
            raise Diverged(
                f"the loss of epoch {epoch} is {summary.get('loss')}; lower the learning rate"
            )
        if not after_epoch(epoch, summary):
            return


def ingest(
    batches: Callable[[int], Iterable[Batch]], epochs: range, device: torch.device | None = None
) -> list[dict[str, float]]:
    """Takes all batches to the device and makes no step of them: a summary per epoch of what the
    stream delivers by itself."""
    summaries = []
    for epoch in epochs:
        meter = Meter()
        for batch in meter.waiting(batches(epoch)):
            to_device(batch, device)
            meter.fetched(len(batch[SUBJECT_ID]))
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)  # copies that are still under way
        summaries.append(meter.summary())
    return summaries


def gradient_norm(objective: torch.nn.Module) -> Tensor:
    """Length of the gradient of all parameters together, on their device."""
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)

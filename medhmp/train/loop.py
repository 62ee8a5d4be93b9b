"""The training loop: one for pretraining under Ray Train, fine-tuning inside a trial, and a test.

It starts nothing on Ray and names no model. An objective turns a batch into a loss,
``batches(epoch, first)`` yields the batches of an epoch from step ``first`` on, and the caller
validates and checkpoints in ``after_step`` and ``after_epoch``.
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
"""Called with the epoch, the number of its steps that are done, the last loss, and the meter."""


class Diverged(Refusal):
    """A loss that is not finite or explodes. A Refusal: the user has to lower the learning rate."""


@dataclass(frozen=True)
class Midway:
    """Begin of the first epoch of a continued run: after ``steps`` steps that are done."""

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

    Args:
        objective: ``objective(batch) -> (loss, report)``. Its wrapper, if any, averages gradients
            over workers.
        optimizer: of its parameters.
        batches: ``batches(epoch, first)``, the batches of an epoch from step ``first`` on.
        epochs: the numbers of the epochs.
        after_epoch: called with the epoch and the meter's summary.
        device: where the objective is; none: the CPU.
        after_step: called at the end of each step.
        midway: where the first epoch goes on; none: at its beginning.
        chunk: rows that pass the encoder at once; none: all of a batch.
        bf16: autocast on a GPU.

    Raises:
        Diverged: the mean loss of an epoch is not finite. The mean is over all workers, so every
            worker raises it.
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
    """Copies all batches to the device without a step. Returns a summary per epoch: the speed of
    the stream alone."""
    summaries = []
    for epoch in epochs:
        meter = Meter()
        for batch in meter.waiting(batches(epoch)):
            to_device(batch, device)
            meter.fetched(len(batch[SUBJECT_ID]))
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)  # copies may still be under way
        summaries.append(meter.summary())
    return summaries


def gradient_norm(objective: torch.nn.Module) -> Tensor:
    """Norm of the gradient of all parameters together, a scalar on their device."""
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)

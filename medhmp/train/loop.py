"""The training loop: one for pretraining under Ray Train, fine-tuning inside a trial, and a test.

It knows neither Ray nor a model: an objective turns a batch into a loss, ``batches(epoch)`` yields
the batches of an epoch, and ``after_epoch`` does whatever an epoch's end calls for (validate,
checkpoint, report) and says whether to go on.
"""

import math
from collections.abc import Callable, Iterable

import torch

from medhmp.refusal import Refusal
from medhmp.shards.rows import Batch
from medhmp.train.grad_cache import backward
from medhmp.train.meter import Meter


class Diverged(Refusal):
    """A loss that is not finite: the remedy, a lower learning rate, is the user's."""


def train(
    objective: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Callable[[int], Iterable[Batch]],
    epochs: range,
    after_epoch: Callable[[int, dict[str, float]], bool],
    device: torch.device | None = None,
    chunk: int | None = None,
) -> None:
    """Trains until the epochs end or ``after_epoch(epoch, summary)`` returns False.

    ``objective(batch) -> (loss, report)``; whoever wrapped it averages gradients over workers.
    ``chunk`` rows pass the encoder at once; none: all of a batch.
    Raises Diverged after an epoch whose mean loss is not finite: on every worker, as the mean is
    over all of them.
    """
    for epoch in epochs:
        objective.train()
        meter = Meter()
        for batch in meter.waiting(batches(epoch)):
            optimizer.zero_grad(set_to_none=True)
            loss, report = backward(objective, batch, device, chunk)
            optimizer.step()
            meter.step(len(batch["subject_id"]), loss, report)
        summary = meter.summary()
        if not math.isfinite(summary.get("loss", math.nan)):
            raise Diverged(
                f"the loss of epoch {epoch} is {summary.get('loss')}; lower the learning rate"
            )
        if not after_epoch(epoch, summary):
            return

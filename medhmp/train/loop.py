"""The training loop: one for pretraining under Ray Train, fine-tuning inside a trial, and a test.

It knows neither Ray nor a model: an objective turns a batch into a loss, ``batches(epoch)`` yields
the batches of an epoch, and ``after_epoch`` does whatever an epoch's end calls for (validate,
checkpoint, report) and says whether to go on.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from medhmp.refusal import Refusal
from medhmp.shards.rows import Batch
from medhmp.train.device import to_device
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
            report["gradient_norm"] = gradient_norm(objective)
            optimizer.step()
            meter.step(len(batch["subject_id"]), loss, report)
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
            meter.fetched(len(batch["subject_id"]))
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)  # copies that are still under way
        summaries.append(meter.summary())
    return summaries


def gradient_norm(objective: torch.nn.Module) -> Tensor:
    """Length of the gradient of all parameters together, on their device."""
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)

"""One fit of a network on a task, kept at its epoch of lowest validation cross-entropy."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medhmp.evaluate.discrimination import auroc
from medhmp.run import Finetune
from medhmp.shards.labelled import Labelled, TaskData
from medhmp.shards.rows import Batch
from medhmp.train.checkpoint import Metrics
from medhmp.train.device import to_device
from medhmp.train.finetune.early_stop import EarlyStop
from medhmp.train.loop import Diverged, train
from medhmp.train.objective import Classification

SCORING_BATCH = 256


@dataclass(frozen=True)
class FitResult:
    """A fit as it ended, at the epoch that is kept."""

    val_loss: float  # mean cross-entropy of the validation rows
    val_auroc: float
    metrics: Metrics  # a row per epoch
    arrived: list[str]  # tensors that came from pretraining


def fit_network(
    objective: Classification,
    optimizer: torch.optim.Optimizer,
    data: TaskData,
    finetune: Finetune,
    batch_size: int,
    seed: int,
    device: torch.device | None = None,
    watch: Callable[[int], None] | None = None,
) -> tuple[float, float, Metrics]:
    """Trains on the training split; leaves the network at its epoch of lowest validation loss.

    Args:
        objective: on the device, with the weights it begins from.
        optimizer: of its parameters.
        data: the training split is trained on, the validation split stops it.
        finetune: epochs and patience.
        batch_size: rows per step.
        seed: orders the rows.
        device: where the objective is; none: the CPU.
        watch: is told of each epoch that has ended; it decides nothing.

    Returns:
        Validation cross-entropy and AUROC of the epoch that is kept, and a row for each epoch.

    Raises:
        Diverged: the loss, of training or validation, stopped being finite.
    """
    stop, metrics = EarlyStop(finetune.patience), Metrics()
    best = objective.model.state_dict()

    def after_epoch(epoch: int, summary: dict[str, float]) -> bool:
        nonlocal best
        logits = logits_of(objective, data["validation"], device)
        loss = _cross_entropy(logits, data["validation"])
        if not math.isfinite(loss):
            raise Diverged(
                f"the validation loss of epoch {epoch} is {loss}; lower the learning rate"
            )
        area = auroc(data["validation"].label.astype(int), logits.numpy())
        metrics.append({"epoch": epoch, **summary, "val_loss": loss, "val_auroc": area})
        if watch:
            watch(epoch)
        if stop.improved(epoch, loss):
            best = {k: v.detach().cpu().clone() for k, v in objective.model.state_dict().items()}
        return not stop.should_stop(epoch)

    train(
        objective,
        optimizer,
        lambda epoch, _: _batches(data["train"], batch_size, seed, epoch),
        range(finetune.epochs),
        after_epoch,
        device,
    )
    objective.model.load_state_dict(best, strict=True)
    return stop.best_loss, metrics[stop.best_epoch]["val_auroc"], metrics


@torch.inference_mode()
def logits_of(objective: Classification, part: Labelled, device: torch.device | None) -> Tensor:
    """Logits (n) of the rows of one split, on the CPU."""
    objective.eval()
    rows = np.arange(len(part))
    parts: list[Any] = [torch.zeros(0)]
    for at in range(0, len(rows), SCORING_BATCH):
        batch = to_device(part.batch(rows[at : at + SCORING_BATCH]), device)
        parts.append(objective.model(batch).float().cpu())
    return torch.cat(parts)


def _batches(part: Labelled, size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """All training rows in the order of (seed, epoch). The last batch may be smaller."""
    order = np.random.default_rng([seed, epoch]).permutation(len(part))
    for at in range(0, len(order), size):
        yield part.batch(order[at : at + size])


def _cross_entropy(logits: Tensor, part: Labelled) -> float:
    return float(F.binary_cross_entropy_with_logits(logits, torch.tensor(part.label)))

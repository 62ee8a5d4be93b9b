"""One fit of a network on a task, kept at its epoch of lowest validation cross-entropy."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.evaluate.discrimination import auroc
from medhmp.run import SCORED_AT_ONCE, Finetune
from medhmp.shards.labelled import Labelled, TaskData
from medhmp.shards.rows import Batch
from medhmp.train.checkpoint import Metrics
from medhmp.train.device import to_device
from medhmp.train.finetune.early_stop import EarlyStop
from medhmp.train.loop import Diverged, train
from medhmp.train.objective import Classification

ANNEALED: Final = 600
"""Steps over which an annealed learning rate falls to zero."""
AVERAGE_DECAY: Final = 0.99
"""Of the moving average of weights, per step."""

Watch = Callable[[Mapping[str, Any]], bool]
"""Called with the row of an epoch; False ends the training."""


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
    annealed: bool = False,
    watch: Watch | None = None,
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
        annealed: the learning rate falls to zero on a cosine, over as many epochs as have
            ``ANNEALED`` steps, but not more than all; of an epoch the moving average of the weights
            is scored and kept.
        watch: called with the row of each epoch; False ends the training.

    Returns:
        Validation cross-entropy and AUROC of the epoch that is kept, and a row for each epoch.

    Raises:
        Diverged: the loss, of training or validation, stopped being finite.
    """
    stop, metrics = EarlyStop(finetune.patience), Metrics()
    best = objective.model.state_dict()
    average, epochs = None, finetune.epochs
    steps = math.ceil(len(data["train"]) / batch_size)
    if annealed:
        average, epochs = WeightAverage(objective.model), min(epochs, math.ceil(ANNEALED / steps))
    rates = [group["lr"] for group in optimizer.param_groups]

    def after_step(epoch: int, done: int, *_: object) -> None:
        if average:
            average.update()
            share = (epoch * steps + done) / (epochs * steps)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * share)) / 2

    def after_epoch(epoch: int, summary: dict[str, float]) -> bool:
        nonlocal best
        scored = average.model if average else objective.model
        logits = outputs_of(scored, data["validation"], device)
        loss = _cross_entropy(logits, data["validation"])
        if not math.isfinite(loss):
            raise Diverged(
                f"the validation loss of epoch {epoch} is {loss}; lower the learning rate"
            )
        area = auroc(data["validation"].label.astype(int), logits.numpy())
        row = {"epoch": epoch, **summary, "val_loss": loss, "val_auroc": area}
        metrics.append(row)
        if stop.improved(epoch, loss):
            best = {k: v.detach().cpu().clone() for k, v in scored.state_dict().items()}
        goes_on = watch is None or watch(row)
        return goes_on and not stop.should_stop(epoch)

    train(
        objective,
        optimizer,
        lambda epoch, _: _batches(data["train"], batch_size, seed, epoch),
        range(epochs),
        after_epoch,
        device,
        after_step,
    )
    objective.model.load_state_dict(best, strict=True)
    return stop.best_loss, metrics[stop.best_epoch]["val_auroc"], metrics


class WeightAverage:
    """The exponential moving average of a network's weights over steps, as a network."""

    def __init__(self, network: nn.Module) -> None:
        self._network, self._steps = network, 0
        self.model = copy.deepcopy(network)

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after a step. The first ones, which training leaves soon, weigh
        less."""
        self._steps += 1
        share = 1 - min(AVERAGE_DECAY, self._steps / (self._steps + 10))
        for mean, now in zip(self.model.parameters(), self._network.parameters(), strict=True):
            mean.lerp_(now, share)


def logits_of(objective: Classification, part: Labelled, device: torch.device | None) -> Tensor:
    """Logits (n) of the rows of one split, on the CPU."""
    return outputs_of(objective.model, part, device)


@torch.inference_mode()
def outputs_of(network: nn.Module, part: Labelled, device: torch.device | None) -> Tensor:
    """A network's outputs (n, ...) for the rows of one split, on the CPU."""
    network.eval()
    rows = np.arange(len(part))
    parts: list[Any] = [torch.zeros(0)]
    for at in range(0, len(rows), SCORED_AT_ONCE):
        batch = to_device(part.batch(rows[at : at + SCORED_AT_ONCE]), device)
        parts.append(network(batch).float().cpu())
    return torch.cat(parts)


def _batches(part: Labelled, size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """All training rows in the order of (seed, epoch). The last batch may be smaller."""
    order = np.random.default_rng([seed, epoch]).permutation(len(part))
    for at in range(0, len(order), size):
        yield part.batch(order[at : at + size])


def _cross_entropy(logits: Tensor, part: Labelled) -> float:
    return float(F.binary_cross_entropy_with_logits(logits, torch.tensor(part.label)))

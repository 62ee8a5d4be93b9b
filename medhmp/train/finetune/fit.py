"""One fit: a model, a task, a start, a seed. Of ``jobs.finetune`` and of every cell of the grid."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from medhmp.evaluate.discrimination import auroc
from medhmp.layout import PREDICTION_COLUMNS, STARTED_FROM
from medhmp.legend import LEVELS, Level, ModelName, Split, Start, Task, Widths
from medhmp.model.heads import load_start
from medhmp.run import Run
from medhmp.shards.labelled import Labelled, TaskData
from medhmp.shards.manifest import open_shards
from medhmp.shards.rows import Batch
from medhmp.storage import Folder, fingerprint
from medhmp.train.checkpoint import Metrics, pretrained, read_weights
from medhmp.train.device import to_device
from medhmp.train.finetune.early_stop import EarlyStop
from medhmp.train.loop import Diverged, train
from medhmp.train.objective import Classification, build_classifier

SCORING_BATCH = 256
HELD_OUT: Final[tuple[Split, ...]] = ("validation", "test")
"""The splits that a fitted model scores."""


@dataclass(frozen=True)
class FitSpec:
    """What one fit is of."""

    task: Task
    model: ModelName
    start: Start
    batch_size: int
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Fit:
    """A fitted model at its epoch of lowest validation cross-entropy."""

    weights: dict[str, Tensor]
    val_loss: float
    val_auroc: float
    epochs: int
    metrics: Metrics
    arrived: list[str]  # tensors that came from pretraining


def fit(
    run: Run,
    spec: FitSpec,
    data: TaskData,
    widths: Widths,
    start: dict[str, Tensor] | None,
    device: torch.device | None = None,
) -> Fit:
    """Trains on the training split, keeps the epoch of lowest validation cross-entropy.

    Raises Diverged if the loss, of training or validation, stops being finite.
    """
    torch.manual_seed(spec.seed)
    objective = build_classifier(spec.task, spec.model, run.model, widths)
    arrived = load_start(objective.model, start) if start else []
    if device is not None:
        objective.to(device)
    stop, metrics, best = EarlyStop(run.finetune.patience), [], objective.model.state_dict()

    def after_epoch(epoch: int, summary: dict[str, float]) -> bool:
        nonlocal best
        logits = _logits(objective, data["validation"], device)
        loss = _cross_entropy(logits, data["validation"])
        if not math.isfinite(loss):
            raise Diverged(
                f"the validation loss of epoch {epoch} is {loss}; lower the learning rate"
            )
        area = _auroc(logits, data["validation"])
        metrics.append({"epoch": epoch, **summary, "val_loss": loss, "val_auroc": area})
        if stop.improved(epoch, loss):
            best = {k: v.detach().cpu().clone() for k, v in objective.model.state_dict().items()}
        return not stop.should_stop(epoch)

    train(
        objective,
        _optimizer(run, spec, objective),
        lambda epoch, _: _epoch(data["train"], spec, epoch),
        range(run.finetune.epochs),
        after_epoch,
        device,
    )
    chosen = metrics[stop.best_epoch]
    return Fit(best, stop.best_loss, chosen["val_auroc"], len(metrics), metrics, arrived)


def scores(
    run: Run,
    spec: FitSpec,
    weights: dict[str, Tensor],
    part: Labelled,
    widths: Widths,
    device: torch.device | None = None,
) -> npt.NDArray[np.float32]:
    """Probabilities (n) that a fitted model gives the rows of one split."""
    objective = build_classifier(spec.task, spec.model, run.model, widths)
    objective.model.load_state_dict(weights, strict=True)
    if device is not None:
        objective.to(device)
    return np.asarray(torch.sigmoid(_logits(objective, part, device)).numpy())


def predictions_table(
    part: Labelled, split: Split, seed: int, score: npt.NDArray[np.floating[Any]]
) -> pa.Table:
    """Predictions of one split by one seed, in the schema that the report reads."""
    columns = {
        "subject_id": part.rows.subject_id,
        "row_id": part.rows.row_id,
        "split": np.full(len(part), split),
        "seed": np.full(len(part), seed),
        "label": part.label,
        "score": score,
    }
    return pa.table(columns).cast(PREDICTION_COLUMNS)


ROWS_READ_BY: Final[dict[Level, tuple[str, ...]]] = {
    "stay": (),
    "admission": ("model.max_stays",),
    "patient": ("cohort.max_visits",),
}
"""Fields of a run that say how much of a labelled row a fit reads, whatever its model."""


def inputs_of(run: Run, task: Task, start: Start) -> dict[str, str]:
    """Fingerprints of what a fit reads. Refuses parts not whole, or pretrained on other shards."""
    root = Folder(run.out)
    inputs = {"shards": open_shards(run).fingerprint}
    if LEVELS[task] == "admission":
        inputs["note_embeddings"] = fingerprint(root / "shards/note_embeddings", "embed_notes")
    if start != "none":
        begun = root / STARTED_FROM[start]
        inputs["start"] = pretrained(begun, _job_of(start), inputs["shards"], run.pretrain_on)
    return inputs


def _job_of(start: Start) -> str:
    """The job that makes what a start takes."""
    return "pretrain_stay" if start == "stay" else "pretrain_admission"


def start_weights(run: Run, start: Start) -> dict[str, Tensor] | None:
    """A start's pretrained tensors; None for *none*."""
    if start == "none":
        return None
    return read_weights(Folder(run.out) / STARTED_FROM[start], _job_of(start))


def _optimizer(run: Run, spec: FitSpec, objective: Classification) -> torch.optim.Optimizer:
    if spec.model == "f_lstm":  # as published (Tang et al. 2020)
        return torch.optim.Adam(objective.parameters(), lr=spec.learning_rate)
    if LEVELS[spec.task] == "patient":  # as the authors ran it: SGD barely moves a two-layer LSTM
        return torch.optim.AdamW(
            objective.parameters(),
            lr=spec.learning_rate,
            weight_decay=run.finetune.weight_decay,
        )
    return torch.optim.SGD(
        objective.parameters(),
        lr=spec.learning_rate,
        momentum=run.finetune.momentum,
        weight_decay=run.finetune.weight_decay,
    )


def _epoch(part: Labelled, spec: FitSpec, epoch: int) -> Iterator[Batch]:
    """All training rows in the order of (seed, epoch). The last batch may be smaller."""
    order = np.random.default_rng([spec.seed, epoch]).permutation(len(part))
    for at in range(0, len(order), spec.batch_size):
        yield part.batch(order[at : at + spec.batch_size])


@torch.inference_mode()
def _logits(objective: Classification, part: Labelled, device: torch.device | None) -> Tensor:
    objective.eval()
    rows = np.arange(len(part))
    parts: list[Any] = [torch.zeros(0)]
    for at in range(0, len(rows), SCORING_BATCH):
        batch = to_device(part.batch(rows[at : at + SCORING_BATCH]), device)
        parts.append(objective.model(batch).float().cpu())
    return torch.cat(parts)


def _cross_entropy(logits: Tensor, part: Labelled) -> float:
    return float(F.binary_cross_entropy_with_logits(logits, torch.from_numpy(part.label)))


def _auroc(logits: Tensor, part: Labelled) -> float:
    return auroc(part.label.astype(int), logits.numpy())

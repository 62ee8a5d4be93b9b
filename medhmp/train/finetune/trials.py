"""One fit of a grid as a trial of Ray Tune, and the record that it leaves.

A replicate draws everything anew: the labelled rows, the initial weights, the order of the rows
and, with ``pretrain_seeds`` above one, the pretraining that it begins from. The same replicate of
every model and start has the same labelled rows.

A trial's config names the real things: task, model, start, the searched fields, replicate. Its last
write is its record, ``trials/<cell>-seed-<n>.json``, with the SHA-256 of the fitted model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
import ray
import ray.tune
from torch import Tensor

from medhmp.legend import Task
from medhmp.progress import Progress
from medhmp.run import Finetune
from medhmp.shards.labelled import TaskData, draw
from medhmp.train.device import reserved_device
from medhmp.train.finetune.estimators import (
    Estimator,
    FitSettings,
    base_rate_loss,
    estimator_of,
)
from medhmp.train.finetune.search import Begin, Cell, CellFit, Grid
from medhmp.train.loop import Diverged

Record = dict[str, Any]
"""A finished fit: the hash of its stamp, its row of ``trials.parquet``, and the SHA-256 of its
model by the name of its file. Of a cell: its rows, their mean validation cross-entropy, the mean of
what the labelled rows' share of events has there, and the SHA-256 of each model."""

STOPPED: Final = "stopped"
"""Status of a fit that ASHA has stopped. It has no model: if its cell is chosen, it is fitted once
more, to its end."""
REDUCTION: Final = 3
"""ASHA lets one in so many of the fits that reach a rung go on."""


@dataclass(frozen=True)
class Shared:
    """Everything that all trials read."""

    data: Mapping[Task, ray.ObjectRef]  # to the TaskData of each task: nobody holds it twice
    settings: FitSettings
    starts: Mapping[Begin, Mapping[str, Tensor] | None]  # tensors of each pretraining
    grids: tuple[Grid, ...]
    each_epoch: bool = False  # a trial reports each epoch of a network, not its end alone

    def fit_of(self, config: Mapping[str, Any]) -> CellFit:
        """The fit that a trial's config names."""
        key = tuple(config[name] for name in ("task", "model", "start"))
        (grid,) = [grid for grid in self.grids if grid.key == key]
        point = {name: config[name] for name in grid.search}
        return CellFit(Cell(grid, point), config["replicate"])

    def rows(self, task: Task) -> TaskData:
        """The rows of a task, in memory that all processes of a node share."""
        found: TaskData = ray.get(self.data[task])
        return found

    def estimator(self, cell: Cell) -> Estimator:
        """The model of a cell, on the device that Ray reserved for this process."""
        grid = cell.grid
        return estimator_of(grid.level, grid.model, cell.point, self.settings, reserved_device())


def run_trial(config: Mapping[str, Any], shared: Shared) -> dict[str, Any]:
    """One trial: makes the fit that its config names, and reports it."""
    fit = shared.fit_of(config)
    trials = fit.cell.grid.trials
    if trials.exists(fit.record):  # of another fit: it would vouch for the model below
        trials.delete(fit.record)
    files: dict[str, str] = {}
    row = _fitted(fit, shared, files)
    trials.write_record(fit.record, {"hash": fit.stamp.hash, "row": row, "files": files})
    return {"val_loss": row["val_loss"], "val_auroc": row["val_auroc"], "epoch": row["epochs"]}


class Reports:
    """Reports of a network's epochs to Tune.

    Where ASHA may stop the fit, it first leaves a record of what it is by then, without a model.
    ``ray.tune.report`` does not return if it is stopped.
    """

    def __init__(self, fit: CellFit, row: dict[str, Any], rungs: list[int]) -> None:
        self._fit, self._row, self._rungs = fit, row, rungs
        self._best = {"val_loss": float("inf")}

    def __call__(self, row: Mapping[str, Any]) -> bool:
        """Reports an epoch. Returns True: the fit goes on."""
        shown = {name: row[name] for name in ("loss", "val_loss", "val_auroc")}
        self._best = min(self._best, shown, key=lambda of: of["val_loss"])
        epochs, trials = row["epoch"] + 1, self._fit.cell.grid.trials
        if is_rung := epochs in self._rungs:
            best = {name: self._best[name] for name in ("val_loss", "val_auroc")}
            left = {**self._row, **best, "epochs": epochs, "status": STOPPED}
            trials.write_record(
                self._fit.record, {"hash": self._fit.stamp.hash, "row": left, "files": {}}
            )
        ray.tune.report({**shown, "epoch": epochs, "best_val_loss": self._best["val_loss"]})
        if is_rung:
            trials.delete(self._fit.record)
        return True


def first_rung(finetune: Finetune) -> int:
    """The epochs after which ASHA first compares a fit: those of early stopping's patience."""
    return min(finetune.patience, finetune.epochs)


def rungs(finetune: Finetune) -> list[int]:
    """All such numbers of epochs."""
    found = [first_rung(finetune)]
    while found[-1] * REDUCTION <= finetune.epochs:
        found.append(found[-1] * REDUCTION)
    return found


def _fitted(fit: CellFit, shared: Shared, files: dict[str, str]) -> dict[str, Any]:
    """Fits, writes the model, adds its SHA-256 to ``files``, and gives the row of
    ``trials.parquet``."""
    cell, grid, number = fit.cell, fit.cell.grid, fit.number
    estimator = shared.estimator(cell)
    finetune = shared.settings.finetune
    data = draw(shared.rows(grid.task), finetune.labels, number)
    row = {
        "cell": cell.name,
        "batch_size": cell.point.get("batch_size"),
        "lr": cell.point.get("learning_rate"),
        "seed": number,
        "val_loss": None,
        "base_loss": base_rate_loss(data),
        "val_auroc": None,
        "epochs": 0,
    }
    reports = None
    if shared.each_epoch:
        reports = Reports(fit, row, rungs(finetune) if grid.asha else [])
    try:
        result = estimator.fit(data, number, shared.starts[grid.begins(number)], reports)
    except Diverged:
        return {**row, "status": "diverged"}
    written = grid.trials.write_bytes(fit.model, estimator.save())
    files[written.name] = written.sha256
    return {
        **row,
        "val_loss": result.val_loss,
        "val_auroc": result.val_auroc,
        "epochs": len(result.metrics),
        "status": "finished",
        "arrived": result.arrived,
    }


def record_of(fit: CellFit, progress: Progress) -> Record | None:
    """The record of a fit that is sealed and its own; None where there is none. One that was
    stopped counts where the grid may stop fits."""
    trials = fit.cell.grid.trials
    if not trials.exists(fit.record):
        return None
    record = trials.read_record(fit.record)
    if record is None:
        progress.say(f"{trials / fit.record} is torn or altered; it is fitted again")
    if record is None or record["hash"] != fit.stamp.hash:
        return None
    return record if fit.cell.grid.asha or record["row"]["status"] != STOPPED else None


def model_of(fit: CellFit, record: Record) -> bytes | None:
    """The file of a fitted model; None where its bytes are not those that the record of the fit or
    of its cell names."""
    data = fit.cell.grid.trials.read_bytes(fit.model)
    return data if sha256(data).hexdigest() == record["files"].get(fit.model) else None


def together(records: list[Record]) -> Record:
    """The record of a cell, of those of its fits."""
    rows = [record["row"] for record in records]
    losses = [row["val_loss"] for row in rows]
    return {
        "rows": rows,
        "mean_val_loss": None if None in losses else float(np.mean(losses)),  # one diverged
        "mean_base_loss": float(np.mean([row["base_loss"] for row in rows])),
        "files": {name: of for record in records for name, of in record["files"].items()},
    }

"""Grids as Ray Tune trials: a trial is a cell with all its replicates.

A replicate draws everything anew: the labelled rows, the initial weights, the order of the rows
and, with ``pretrain_seeds`` above one, the pretraining that it begins from. The same replicate of
every model and start has the same labelled rows.

Cells of every task run in one Tuner on reused actors. A finished cell is ``trials/<cell>.json``,
sealed, with the SHA-256 of its fitted models, so a grid begun again, also with more values to
search, goes on with the cells that are missing, torn or altered. A cell is chosen by its mean
validation cross-entropy over the replicates. Only then does its fitted model score the test split,
once; its files stay.
"""

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

import numpy as np
import pyarrow as pa
import ray
import ray.tune
from ray.tune.execution import class_cache
from torch import Tensor

from medhmp.layout import PREDICTIONS, TRIAL_COLUMNS, TRIALS
from medhmp.legend import Task
from medhmp.model.catalog import MODELS
from medhmp.model.starts import load_start
from medhmp.progress import Pace, Progress
from medhmp.refusal import Refusal
from medhmp.replacing import room_for
from medhmp.shards.labelled import TaskData, draw
from medhmp.storage import Folder, Output, damaged, publish
from medhmp.train.device import reserved_device
from medhmp.train.finetune.estimators import (
    Estimator,
    FitSettings,
    base_rate_loss,
    estimator_of,
    predict_held_out,
)
from medhmp.train.finetune.search import Begin, Cell, Grid
from medhmp.train.loop import Diverged

GPU_SHARE: Final = 0.25
"""Share of a GPU that a trial reserves by default: one fit does not fill a GPU."""

Record = dict[str, Any]
"""A finished cell: the hash of its stamp, a row per replicate, its mean validation cross-entropy,
the mean of what the labelled rows' share of events has there, and the SHA-256 of each fitted model
by the name of its file."""


@dataclass(frozen=True)
class Shared:
    """Everything that all trials read."""

    data: Mapping[Task, TaskData]
    settings: FitSettings
    starts: Mapping[Begin, Mapping[str, Tensor] | None]  # tensors of each pretraining

    def estimator(self, cell: Cell) -> Estimator:
        """The model of a cell, on the device that Ray reserved for this process."""
        grid = cell.grid
        return estimator_of(grid.level, grid.model, cell.point, self.settings, reserved_device())


def pending(grid: Grid, overwrite: bool, progress: Progress) -> Grid | None:
    """The grid in the folder where it is to be made; None if it is published.

    Under ``overwrite`` one of another search is made anew beside it, and takes over the records and
    models of the cells that both searches have.
    """
    old = Output.of(grid.folder)
    room = room_for(grid.folder, grid.stamp, overwrite, resumes=True)
    if room is None:
        return None
    made = replace(grid, folder=room)
    if old and room != grid.folder and old.hash != grid.stamp.hash:
        for cell in made.cells:
            if not _is_finished(cell, progress):
                _adopt(cell, grid.trials)
    return made


def _adopt(cell: Cell, trials: Folder) -> None:
    """Copies what another grid's ``trials`` have of a cell, its record last."""
    record = trials.read_record(cell.record)
    if record is None or record["hash"] != cell.stamp.hash:
        return
    for name in (*filter(trials.exists, cell.files), cell.record):
        cell.grid.trials.write_bytes(name, trials.read_bytes(name))


def run_grids(grids: list[Grid], shared: Shared, gpus: float | None, progress: Progress) -> None:
    """Runs all missing cells of the grids in one Tuner; then chooses, scores and publishes each.

    ``gpus`` is the share of a GPU that a trial reserves, None for the default.
    """
    _check_starts(grids, shared)
    reserved = {"CPU": 1, "GPU": gpu_share(gpus)}
    while cells := [cell for grid in grids for cell in _to_fit(grid, progress)]:
        _tune(cells, shared, reserved, progress)
    reference = ray.put(shared)
    finish = ray.remote(_finish).options(num_cpus=reserved["CPU"], num_gpus=reserved["GPU"])
    for said in ray.get([finish.remote(grid, reference) for grid in grids]):
        if said:
            progress.say(said)


def gpu_share(given: float | None) -> float:
    """The share of a GPU that a trial reserves, 0 on a cluster without any.

    Raises ``Refusal`` for more than any node has: Tune would wait for such a node without a word.
    """
    most = max(
        (node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]), default=0
    )
    if given is None:
        return GPU_SHARE if most else 0.0
    if given > most:
        raise Refusal(
            f"tune.gpus_per_trial is {given:g} and no node of the cluster has more than {most:g} "
            "GPUs; give a smaller share, or start the nodes with GPUs first"
        )
    return given


def _check_starts(grids: list[Grid], shared: Shared) -> None:
    """Refuses pretrained weights that do not fit the model, here and not in every trial."""
    settings = shared.settings
    for grid in grids:
        if weights := shared.starts[grid.begins(0)]:
            beginner = MODELS[grid.model].beginner(grid.level)
            load_start(beginner(settings.widths, settings.model), weights)


def _to_fit(grid: Grid, progress: Progress) -> list[Cell]:
    """The cells without a record, or else the chosen one, if an earlier search, which published
    another, has dropped its fitted models, or one of them has changed."""
    if missing := [cell for cell in grid.cells if not _is_finished(cell, progress)]:
        return missing
    best, record = choose(_records(grid))
    there = [name for name in best.files if grid.trials.exists(name)]
    altered = [name for name in there if _model(best, record, name) is None]
    for name in altered:
        progress.say(f"{grid.trials / name} is not what was written; its cell is fitted again")
    return [best] if altered or len(there) < len(best.files) else []


def _is_finished(cell: Cell, progress: Progress) -> bool:
    trials = cell.grid.trials
    if not trials.exists(cell.record):
        return False
    record = trials.read_record(cell.record)
    if record is None:
        progress.say(f"{trials / cell.record} is torn or altered; its cell is fitted again")
    return record is not None and record["hash"] == cell.stamp.hash


def _records(grid: Grid) -> list[tuple[Cell, Record]]:
    """The record of every cell. Refuses one that has been torn since ``_is_finished``."""
    found = [(cell, grid.trials.read_record(cell.record)) for cell in grid.cells]
    for cell, record in found:
        if record is None:
            raise damaged(grid.folder, f"{TRIALS}/{cell.record}")
    return [(cell, record) for cell, record in found if record is not None]


def _model(cell: Cell, record: Record, name: str) -> bytes | None:
    """A fitted model's file; None where its bytes are not those that the record names."""
    data = cell.grid.trials.read_bytes(name)
    return data if sha256(data).hexdigest() == record["files"].get(name) else None


def _tune(
    cells: list[Cell], shared: Shared, reserved: dict[str, float], progress: Progress
) -> None:
    keep_credentials_here()
    trainable = ray.tune.with_resources(
        ray.tune.with_parameters(run_cell, cells=cells, shared=shared), reserved
    )
    space = {"number": ray.tune.grid_search(list(range(len(cells))))}
    # An error of a trial is raised below, and told once.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as scratch:  # Tune's own logs; results are in trials/
        results = ray.tune.Tuner(
            trainable,
            param_space=space,
            tune_config=ray.tune.TuneConfig(reuse_actors=True, trial_dirname_creator=_short_name),
            run_config=ray.tune.RunConfig(
                storage_path=scratch,
                name="grid",
                verbose=0,
                callbacks=[TrialLines(cells, progress.pace())],
            ),
        ).fit()
    if results.errors:
        raise results.errors[0]


def keep_credentials_here() -> None:
    """Takes the AWS variables from those that Tune copies out of this process into the runtime
    environment of trials, which Ray logs. Trials have the credentials of the node they run on."""
    propagated = class_cache.ENV_VARS_TO_PROPAGATE
    propagated -= {name for name in propagated if name.startswith("AWS_")}


class TrialLines(ray.tune.Callback):  # type: ignore[misc]
    """Lines about the cells that are finished: how many, the last one's loss, the time left."""

    def __init__(self, cells: list[Cell], pace: Pace) -> None:
        self._cells, self._pace = cells, pace
        self._done, self._begun = 0, time.perf_counter()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._done += 1
        if self._pace.is_due(milestone=True):
            cell = self._cells[trial.config["number"]]
            loss = trial.last_result["mean_val_loss"]
            seconds = time.perf_counter() - self._begun
            left = seconds / self._done * (len(self._cells) - self._done)
            self._say(
                f"{cell.grid.task} {cell.grid.model} {cell.grid.start} {cell.name}  "
                f"{'diverged' if loss is None else f'loss {loss:.4g}'}  {left:.0f} s left"
            )

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Called several times a second, also while no cell ends."""
        if self._pace.is_due():
            self._say(f"{time.perf_counter() - self._begun:.0f} s so far")

    def _say(self, text: str) -> None:
        self._pace.say(f"tune {self._done}/{len(self._cells)} cells  {text}")


def _short_name(trial: Any) -> str:
    return f"cell-{trial.trial_id}"


def run_cell(config: dict[str, int], cells: list[Cell], shared: Shared) -> dict[str, Any]:
    """One trial: every replicate of the cell. Its last write is ``trials/<cell>.json``."""
    cell = cells[config["number"]]
    trials = cell.grid.trials
    if trials.exists(cell.record):  # of another fit: it would vouch for the models below
        trials.delete(cell.record)
    files: dict[str, str] = {}
    rows = [_replicate(cell, seed, shared, files) for seed in range(cell.grid.replicates)]
    record = {
        "hash": cell.stamp.hash,
        "rows": rows,
        "mean_val_loss": _mean_loss(rows),
        "mean_base_loss": float(np.mean([row["base_loss"] for row in rows])),
        "files": files,
    }
    trials.write_record(cell.record, record)
    return {"mean_val_loss": record["mean_val_loss"]}


def _replicate(cell: Cell, seed: int, shared: Shared, files: dict[str, str]) -> dict[str, Any]:
    """Fits one replicate, writes its model, adds its SHA-256 to ``files``, and gives its row of
    ``trials.parquet``."""
    grid, estimator = cell.grid, shared.estimator(cell)
    data = draw(shared.data[grid.task], shared.settings.finetune.labels, seed)
    row = {
        "cell": cell.name,
        "batch_size": cell.point.get("batch_size"),
        "lr": cell.point.get("learning_rate"),
        "seed": seed,
        "val_loss": None,
        "base_loss": base_rate_loss(data),
        "val_auroc": None,
        "epochs": 0,
    }
    try:
        result = estimator.fit(data, seed, shared.starts[grid.begins(seed)])
    except Diverged:
        return {**row, "status": "diverged"}
    written = grid.trials.write_bytes(cell.files[seed], estimator.save())
    files[written.name] = written.sha256
    return {
        **row,
        "val_loss": result.val_loss,
        "val_auroc": result.val_auroc,
        "epochs": len(result.metrics),
        "status": "finished",
        "arrived": result.arrived,
    }


def _mean_loss(rows: list[dict[str, Any]]) -> float | None:
    """Mean over the replicates; None if one of them diverged."""
    losses = [row["val_loss"] for row in rows]
    return None if None in losses else float(np.mean(losses))


def choose(records: list[tuple[Cell, Record]]) -> tuple[Cell, Record]:
    """The cell of lowest mean validation cross-entropy. Refuses a grid whose cells all diverged."""
    usable = [pair for pair in records if pair[1]["mean_val_loss"] is not None]
    if not usable:
        grid = records[0][0].grid
        raise Refusal(
            f"every cell of {grid.task} {grid.model} {grid.start} diverged; give lower rates: "
            f"--tune.search {grid.model}.learning_rate=..."
        )
    return min(usable, key=lambda pair: pair[1]["mean_val_loss"])


def _finish(grid: Grid, shared: Shared) -> str:
    """Chooses the cell, scores validation and test once, publishes, drops the other cells' models
    and what an earlier search has left. Returns a line where the choice is no better than the base
    rate, else nothing."""
    records = _records(grid)
    best, record = choose(records)
    kept = [*(cell.record for cell in grid.cells), *best.files]
    rows = [row for _, record in records for row in record["rows"]]
    entries = [
        grid.folder.write_json("best.json", _best(best, record, records)),
        grid.folder.write_parquet("trials.parquet", _trials_table(rows)),
        grid.folder.write_parquet(PREDICTIONS, _predictions(best, record, shared)),
        *(grid.folder.entry(f"{TRIALS}/{name}") for name in kept),
    ]
    publish(grid.folder, grid.stamp, entries)
    for name in set(grid.trials.names()) - set(kept):  # not before: a choice repeated needs them
        grid.trials.delete(name)
    return _warning(grid, record)


def _warning(grid: Grid, record: Record) -> str:
    loss, base = record["mean_val_loss"], record["mean_base_loss"]
    if loss <= base:
        return ""
    return (
        f"tune {grid.task} {grid.model} {grid.start}: the validation loss {loss:.4g} of the best "
        f"cell is above the base rate's {base:.4g}"
    )


def _best(best: Cell, record: Record, records: list[tuple[Cell, Record]]) -> dict[str, Any]:
    return {
        "batch_size": None,
        "learning_rate": None,
        **best.point,
        "mean_val_loss": record["mean_val_loss"],
        "mean_base_loss": record["mean_base_loss"],
        "arrived": record["rows"][0].get("arrived", []),
        "cells": [{"cell": cell.name, "mean_val_loss": r["mean_val_loss"]} for cell, r in records],
    }


def _trials_table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = [{name: row[name] for name in TRIAL_COLUMNS.names} for row in rows]
    return pa.Table.from_pylist(columns, TRIAL_COLUMNS)


def _predictions(best: Cell, record: Record, shared: Shared) -> pa.Table:
    """The chosen cell's scores of the held-out splits, for every replicate. Refuses a model that is
    not the one that the record names."""
    data, tables = shared.data[best.grid.task], []
    for seed in range(best.grid.replicates):
        estimator = shared.estimator(best)
        model = _model(best, record, best.files[seed])
        if model is None:
            raise damaged(best.grid.folder, f"{TRIALS}/{best.files[seed]}")
        estimator.load(model)
        tables.append(predict_held_out(estimator, data, seed))
    return pa.concat_tables(tables)

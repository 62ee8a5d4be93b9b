"""The grid as Ray Tune trials: a cell is a model, start, batch size and learning rate, all seeds.

Cells of every task run in one Tuner on reused actors. A finished cell is ``trials/<cell>.json``, so
a grid begun again, also with more rates, goes on with the cells that are missing. A cell is chosen
by its mean validation cross-entropy over the seeds; only then is the test split scored, once, by
the chosen cell's models, whose weights stay.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.tune
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from medhmp.evaluate.discrimination import auroc
from medhmp.layout import TRIAL_COLUMNS
from medhmp.legend import LEVELS, ModelName, Start, Task, Widths
from medhmp.model.baselines.hist_gradient_boosting import fit_trees
from medhmp.model.heads import load_start
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run, fields_of
from medhmp.shards.labelled import Labelled, TaskData
from medhmp.shards.tabular import counted
from medhmp.storage import (
    COMPLETE,
    Folder,
    Output,
    Stamp,
    is_done,
    publish,
)
from medhmp.train.device import reserved_device
from medhmp.train.finetune.fit import (
    HELD_OUT,
    ROWS_READ_BY,
    FitSpec,
    fit,
    inputs_of,
    predictions_table,
    scores,
    start_weights,
)
from medhmp.train.loop import Diverged
from medhmp.train.objective import build_classifier, model_fields

GPU_SHARE = 0.25
"""Of a GPU, that a trial reserves where nothing else is said: one fit does not fill one."""


@dataclass(frozen=True)
class Grid:
    """All cells of one task, model and start, and where their results go."""

    task: Task
    model: ModelName
    start: Start
    folder: Folder
    fit: Stamp  # what every cell depends on beside its batch size and rate
    search: Mapping[str, Any]  # the fields that say which cells there are

    @property
    def stamp(self) -> Stamp:
        return Stamp({**self.fit.fields, **self.search}, self.fit.inputs)

    def cells(self, run: Run) -> list["Cell"]:
        if self.model == "hist_gradient_boosting":
            return [Cell(self, 0, 0.0)]
        tune = run.tune
        rates = tune.learning_rates if self.model == "medhmp" else tune.f_lstm_learning_rates
        if self.model == "medhmp" and self.start == "none":
            rates = tuple(dict.fromkeys((*rates, *run.tune.none_learning_rates)))
        return [Cell(self, b, lr) for b, lr in itertools.product(run.tune.batch_sizes, rates)]


@dataclass(frozen=True)
class Cell:
    """One point of a grid. Trees have neither a batch size nor a rate (0)."""

    grid: Grid
    batch_size: int
    learning_rate: float

    @property
    def name(self) -> str:
        return f"batch-{self.batch_size}-lr-{self.learning_rate:g}"

    @property
    def stamp(self) -> Stamp:
        """What its record depends on, whatever other cells the grid has."""
        point = {"batch_size": self.batch_size, "learning_rate": self.learning_rate}
        return Stamp({**self.grid.fit.fields, **point}, self.grid.fit.inputs)

    def seeds(self, run: Run) -> range:
        """One for trees: without subsampling and early stopping nothing in their fit is drawn."""
        return range(1 if self.grid.model == "hist_gradient_boosting" else run.tune.seeds)

    def spec(self, seed: int) -> FitSpec:
        grid = self.grid
        return FitSpec(grid.task, grid.model, grid.start, self.batch_size, self.learning_rate, seed)


def grids(run: Run, task: Task) -> list[Grid]:
    """The grids of a task: every start of MedHMP, and each baseline once."""
    level = LEVELS[task]
    found: list[tuple[ModelName, Start]] = []
    for model in run.tune.models:
        if model == "medhmp":
            # A patient task takes nothing from stage one: "stay" is "none", and not trained twice.
            found += [
                (model, s) for s in run.tune.starts if not (level == "patient" and s == "stay")
            ]
        elif model == "hist_gradient_boosting" or level == "stay":
            found.append((model, "none"))
    return [_grid(run, task, model, start) for model, start in found]


def _grid(run: Run, task: Task, model: ModelName, start: Start) -> Grid:
    fit = Stamp(_fit_fields(run, task, model), inputs_of(run, task, start))
    folder = Folder(run.out) / "tune" / task / model / start
    return Grid(task, model, start, folder, fit, fields_of(run, *_search(model, start)))


def _fit_fields(run: Run, task: Task, model: ModelName) -> dict[str, Any]:
    """The fields that a fit depends on, beside its batch size and rate."""
    rows = fields_of(run, "finetune.labels", *ROWS_READ_BY[LEVELS[task]])
    if model == "hist_gradient_boosting":
        return rows
    names = ("momentum", "weight_decay", "epochs", "patience")
    fields = fields_of(run, "tune.seeds", *(f"finetune.{name}" for name in names))
    return rows | fields | model_fields(run, "fit")


def _search(model: ModelName, start: Start) -> tuple[str, ...]:
    """The fields that say which cells a grid has."""
    if model == "hist_gradient_boosting":
        return ()
    if model == "f_lstm":
        return ("tune.batch_sizes", "tune.f_lstm_learning_rates")
    more = ("tune.none_learning_rates",) if start == "none" else ()
    return ("tune.batch_sizes", "tune.learning_rates", *more)


def is_whole(grid: Grid, overwrite: bool) -> bool:
    """Whether a grid is published. Under ``overwrite`` one of another search is opened again, and
    keeps the records of the cells that both searches have."""
    output = Output.of(grid.folder)
    if overwrite and output and output.hash != grid.stamp.hash:
        grid.folder.delete(COMPLETE)
        return False
    return is_done(grid.folder, grid.stamp, overwrite)


def run_grids(run: Run, pending: list[Grid], data: dict[Task, TaskData], widths: Widths) -> None:
    """Runs all missing cells of the grids in one Tuner; then chooses, scores and publishes each."""
    starts = {start: start_weights(run, start) for start in {grid.start for grid in pending}}
    _check_fit(run, pending, starts, widths)
    shared = {"run": run, "data": data, "widths": widths, "starts": starts}
    while cells := [cell for grid in pending for cell in _to_fit(run, grid)]:
        _tune(run, cells, shared)
    reference = ray.put(shared)
    finish = ray.remote(_finish).options(num_cpus=1, num_gpus=gpu_share(run))
    ray.get([finish.remote(reference, grid) for grid in pending])


def _to_fit(run: Run, grid: Grid) -> list[Cell]:
    """The cells without a record, or else the chosen one, if an earlier search, which published
    another, has dropped its weights."""
    cells = grid.cells(run)
    if missing := [cell for cell in cells if not _finished(cell)]:
        return missing
    best, _ = choose(_records(cells))
    trials = grid.folder / "trials"
    return [] if all(trials.exists(name) for name in _weights_names(run, best)) else [best]


def _records(cells: list[Cell]) -> list[tuple[Cell, dict[str, Any]]]:
    return [(c, (c.grid.folder / "trials").read_json(f"{c.name}.json")) for c in cells]


def gpu_share(run: Run) -> float:
    """The share of a GPU that a trial reserves, 0 on a cluster without any."""
    if run.tune.gpus_per_trial is not None:
        return run.tune.gpus_per_trial
    return GPU_SHARE if ray.cluster_resources().get("GPU", 0) else 0.0


def _check_fit(run: Run, pending: list[Grid], starts: dict[Start, Any], widths: Widths) -> None:
    """Refuses pretrained weights that do not fit the model, here and not in every trial."""
    for grid in pending:
        if weights := starts[grid.start]:
            load_start(build_classifier(grid.task, grid.model, run.model, widths).model, weights)


def _tune(run: Run, cells: list[Cell], shared: dict[str, Any]) -> None:
    trainable = ray.tune.with_resources(
        ray.tune.with_parameters(run_cell, cells=cells, **shared),
        {"CPU": 1, "GPU": gpu_share(run)},
    )
    space = {"number": ray.tune.grid_search(list(range(len(cells))))}
    with tempfile.TemporaryDirectory() as scratch:  # Tune's own logs; results are in trials/
        results = ray.tune.Tuner(
            trainable,
            param_space=space,
            tune_config=ray.tune.TuneConfig(reuse_actors=True, trial_dirname_creator=_short_name),
            run_config=ray.tune.RunConfig(
                storage_path=scratch,
                name="grid",
                verbose=0,
                callbacks=[TrialLines(cells)] if Progress(run.quiet).is_watched else [],
            ),
        ).fit()
    if results.errors:
        raise results.errors[0]


class TrialLines(ray.tune.Callback):  # type: ignore[misc]
    """A line for every finished cell: how many are done, its loss, the time that the rest needs."""

    def __init__(self, cells: list[Cell]) -> None:
        self._cells, self._done, self._begun = cells, 0, time.perf_counter()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._done += 1
        cell, loss = self._cells[trial.config["number"]], trial.last_result["mean_val_loss"]
        left = (time.perf_counter() - self._begun) / self._done * (len(self._cells) - self._done)
        print(
            f"tune {self._done}/{len(self._cells)} cells  "
            f"{cell.grid.task} {cell.grid.model} {cell.grid.start} {cell.name}  "
            f"{'diverged' if loss is None else f'loss {loss:.4g}'}  {left:.0f} s left",
            flush=True,
        )


def _short_name(trial: Any) -> str:
    return f"cell-{trial.trial_id}"


def run_cell(
    config: dict[str, int],
    cells: list[Cell],
    run: Run,
    data: dict[Task, TaskData],
    widths: Widths,
    starts: dict[Start, dict[str, Tensor] | None],
) -> dict[str, Any]:
    """One trial: every seed of the cell. Its last write is ``trials/<cell>.json``."""
    cell = cells[config["number"]]
    trials, rows = cell.grid.folder / "trials", []
    if trials.exists(f"{cell.name}.json"):  # of another fit: it would vouch for the weights below
        trials.delete(f"{cell.name}.json")
    for seed in cell.seeds(run):
        row, weights = _one_seed(run, cell, seed, data[cell.grid.task], widths, starts)
        rows.append(row)
        if weights is not None:
            trials.write_bytes(_weights_name(cell, seed), save_tensors(weights))
    record = {"hash": cell.stamp.hash, "rows": rows, "mean_val_loss": _mean_loss(rows)}
    trials.write_json(f"{cell.name}.json", record)
    return {"mean_val_loss": record["mean_val_loss"]}


def _one_seed(
    run: Run, cell: Cell, seed: int, data: TaskData, widths: Widths, starts: dict[Start, Any]
) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
    row: dict[str, Any] = {"batch_size": cell.batch_size, "lr": cell.learning_rate, "seed": seed}
    if cell.grid.model == "hist_gradient_boosting":
        part = data["validation"]
        score = _trees(data["train"], widths)(part)
        area = auroc(part.label.astype(int), score)
        return {**row, **_result(_cross_entropy(score, part), area, 1)}, None
    try:
        fitted = fit(run, cell.spec(seed), data, widths, starts[cell.grid.start], reserved_device())
    except Diverged:
        return {**row, **_result(None, None, 0), "status": "diverged"}, None
    result = _result(fitted.val_loss, fitted.val_auroc, fitted.epochs)
    return {**row, **result, "arrived": fitted.arrived}, fitted.weights


def _result(loss: float | None, area: float | None, epochs: int) -> dict[str, Any]:
    return {"val_loss": loss, "val_auroc": area, "epochs": epochs, "status": "finished"}


def _finished(cell: Cell) -> bool:
    """Whether an earlier run has left this cell's result."""
    name = f"{cell.name}.json"
    trials = cell.grid.folder / "trials"
    return trials.exists(name) and bool(trials.read_json(name)["hash"] == cell.stamp.hash)


def _finish(shared: dict[str, Any], grid: Grid) -> None:
    """Chooses the cell, scores validation and test once, publishes, drops the other cells' weights
    and what an earlier search has left."""
    run: Run = shared["run"]
    trials = grid.folder / "trials"
    records = _records(grid.cells(run))
    best, record = choose(records)
    kept = [*(f"{cell.name}.json" for cell, _ in records), *_weights_names(run, best)]
    rows = [row for _, r in records for row in r["rows"]]
    entries = [
        grid.folder.write_json("best.json", _best(best, record, records)),
        grid.folder.write_parquet("trials.parquet", _trials_table(rows)),
        grid.folder.write_parquet("predictions.parquet", _predictions(shared, best)),
        *(grid.folder.entry(f"trials/{name}") for name in kept),
    ]
    publish(grid.folder, grid.stamp, entries)
    for name in set(trials.names()) - set(kept):  # not before: a choice repeated needs them
        trials.delete(name)


def choose(records: list[tuple[Cell, dict[str, Any]]]) -> tuple[Cell, dict[str, Any]]:
    """The cell of lowest mean validation cross-entropy. Refuses a grid whose cells all diverged."""
    usable = [pair for pair in records if pair[1]["mean_val_loss"] is not None]
    if not usable:
        grid = records[0][0].grid
        rates = "f_lstm_learning_rates" if grid.model == "f_lstm" else "learning_rates"
        raise Refusal(
            f"every cell of {grid.task} {grid.model} {grid.start} diverged; lower tune.{rates}"
        )
    return min(usable, key=lambda pair: pair[1]["mean_val_loss"])


def _best(best: Cell, record: dict[str, Any], records: list[Any]) -> dict[str, Any]:
    return {
        "batch_size": best.batch_size,
        "learning_rate": best.learning_rate,
        "mean_val_loss": record["mean_val_loss"],
        "arrived": record["rows"][0].get("arrived", []),
        "cells": [{"cell": cell.name, "mean_val_loss": r["mean_val_loss"]} for cell, r in records],
    }


def _predictions(shared: dict[str, Any], best: Cell) -> pa.Table:
    data = shared["data"][best.grid.task]
    tables = []
    for seed in best.seeds(shared["run"]):
        score = _scorer(shared, best, seed)
        for split in HELD_OUT:
            tables.append(predictions_table(data[split], split, seed, score(data[split])))
    return pa.concat_tables(tables)


def _scorer(shared: dict[str, Any], cell: Cell, seed: int) -> Callable[[Labelled], Any]:
    """What gives the rows of a split their probabilities: a cell's fitted network, or its trees."""
    run, widths = shared["run"], shared["widths"]
    if cell.grid.model == "hist_gradient_boosting":
        return _trees(shared["data"][cell.grid.task]["train"], widths)
    weights = load_tensors((cell.grid.folder / "trials").read_bytes(_weights_name(cell, seed)))
    return lambda part: scores(run, cell.spec(seed), weights, part, widths, reserved_device())


def _trees(train: Labelled, widths: Widths) -> Callable[[Labelled], Any]:
    trees = fit_trees(counted(train.rows, widths), train.label)
    return lambda part: trees.predict_proba(counted(part.rows, widths))[:, 1]


def _cross_entropy(score: Any, part: Labelled) -> float:
    clipped = torch.from_numpy(np.clip(score, 1e-7, 1 - 1e-7))
    label = torch.from_numpy(part.label).double()
    return float(torch.nn.functional.binary_cross_entropy(clipped, label))


def _trials_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(
        [{k: r[k] for k in TRIAL_COLUMNS.names} for r in rows], TRIAL_COLUMNS
    )


def _mean_loss(rows: list[dict[str, Any]]) -> float | None:
    """Mean over the seeds; None if one of them diverged."""
    losses = [row["val_loss"] for row in rows]
    return None if None in losses else float(np.mean(losses))


def _weights_name(cell: Cell, seed: int) -> str:
    return f"{cell.name}-seed-{seed}.safetensors"


def _weights_names(run: Run, cell: Cell) -> list[str]:
    """Of every seed; trees, which are fitted again in no time, have none."""
    if cell.grid.model == "hist_gradient_boosting":
        return []
    return [_weights_name(cell, seed) for seed in cell.seeds(run)]

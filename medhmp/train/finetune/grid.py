"""Grids: what is still to fit, which cell is chosen, what is published.

Fits of every task run in one experiment of Ray Tune (``experiment.py``). A grid begun again, also
with more values to search or more replicates, goes on with the fits whose records are missing, torn
or altered. A cell is chosen by its mean validation cross-entropy over the replicates. Where its
rate is the lowest or highest searched, the grid may search one more beyond it. Only then do the
chosen cell's fitted models score the test split, once; their files stay.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import ray

from medhmp.layout import BEST, PREDICTIONS, TRIAL_COLUMNS, TRIAL_TABLE, TRIALS
from medhmp.model.catalog import MODELS
from medhmp.model.starts import load_start
from medhmp.progress import Progress
from medhmp.refusal import Refusal, counted
from medhmp.replacing import room_for
from medhmp.storage import Folder, Output, damaged, publish
from medhmp.train.finetune.estimators import predict_held_out
from medhmp.train.finetune.experiment import run_experiment
from medhmp.train.finetune.search import RATE, Cell, CellFit, Grid
from medhmp.train.finetune.trials import (
    STOPPED,
    Record,
    Shared,
    model_of,
    record_of,
    together,
)

GPU_SHARE: Final = 0.25
"""Share of a GPU that a trial reserves by default: one fit does not fill a GPU."""


def pending(grid: Grid, overwrite: bool, progress: Progress) -> Grid | None:
    """The grid in the folder where it is to be made; None if it is published.

    Under ``overwrite`` one of another search is made anew beside it, and takes over the records and
    models of the fits that both searches have.
    """
    old = Output.of(grid.folder)
    room = room_for(grid.folder, grid.stamp, overwrite, resumes=True)
    if room is None:
        return None
    made = replace(grid, folder=room)
    if old and room != grid.folder and old.hash != grid.stamp.hash:
        for fit in (fit for cell in made.cells for fit in cell.fits):
            if record_of(fit, progress) is None:
                _adopt(fit, grid.trials)
    return made


def _adopt(fit: CellFit, trials: Folder) -> None:
    """Copies what another grid's ``trials`` have of a fit, its record last."""
    record = trials.read_record(fit.record)
    if record is None or record["hash"] != fit.stamp.hash:
        return
    for name in (*filter(trials.exists, [fit.model]), fit.record):
        fit.cell.grid.trials.write_bytes(name, trials.read_bytes(name))


def run_grids(
    grids: list[Grid],
    shared: Shared,
    gpus: float | None,
    progress: Progress,
    callbacks: list[Any] | None = None,
) -> None:
    """Runs all missing fits of the grids in one experiment; then scores and publishes each grid.

    ``gpus`` is the share of a GPU that a trial reserves, None for the default; ``callbacks`` are
    those of trackers.
    """
    _check_starts(grids, shared)
    reserved = {"CPU": 1, "GPU": gpu_share(gpus)}
    known = {grid.key: grid for grid in grids}

    def go_on(grid: Grid) -> list[CellFit]:
        known[grid.key], fits = to_fit(known[grid.key], progress)
        return fits

    fits = [fit for grid in grids for fit in go_on(grid)]
    if fits:
        run_experiment(fits, shared, reserved, go_on, progress.pace(), callbacks)
    reference = ray.put(shared)
    finish = ray.remote(_finish).options(num_cpus=reserved["CPU"], num_gpus=reserved["GPU"])
    for said in ray.get([finish.remote(grid, reference) for grid in known.values()]):
        if said:
            progress.say(said)
    _say_stopped(known.values(), progress)
    _say_edges(known.values(), progress)


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


def to_fit(grid: Grid, progress: Progress) -> tuple[Grid, list[CellFit]]:
    """The grid, with a rate more if it is to search one, and the fits that it still needs.

    They are those without a record; or else those of the chosen cell that ASHA has stopped, whose
    models an earlier search, which published another choice, has dropped, or have changed; or else
    those at one more rate.
    """
    while True:
        fits = [fit for cell in grid.cells for fit in cell.fits]
        if missing := [fit for fit in fits if record_of(fit, progress) is None]:
            return grid, missing
        best, record = choose(_records(grid))
        if again := [fit for fit in best.fits if not _is_whole(fit, record, progress)]:
            return grid, again
        edge = grid.edge(best)
        if edge is None or len(grid.added) == grid.extend:
            return grid, []
        rate = grid.beyond(edge)
        progress.say(
            f"tune {grid.title}: the {edge} rate searched, {best.point[RATE]:g}, is the best; "
            f"searching {rate:g}, too"
        )
        grid = grid.wider(rate)


def _is_whole(fit: CellFit, record: Record, progress: Progress) -> bool:
    """True if a fit of the chosen cell was made to its end and its model is what was written."""
    trials = fit.cell.grid.trials
    if record["rows"][fit.number]["status"] == STOPPED or not trials.exists(fit.model):
        return False
    if model_of(fit, record) is None:
        progress.say(f"{trials / fit.model} is not what was written; it is fitted again")
        return False
    return True


def _records(grid: Grid) -> list[tuple[Cell, Record]]:
    """The record of every cell. Refuses one that has been torn since ``is_finished``."""
    found = []
    for cell in grid.cells:
        records = [grid.trials.read_record(fit.record) for fit in cell.fits]
        for fit, record in zip(cell.fits, records, strict=True):
            if record is None:
                raise damaged(grid.folder, f"{TRIALS}/{fit.record}")
        found.append((cell, together([record for record in records if record is not None])))
    return found


def choose(records: list[tuple[Cell, Record]]) -> tuple[Cell, Record]:
    """The cell of lowest mean validation cross-entropy. Refuses a grid whose cells all diverged."""
    usable = [pair for pair in records if pair[1]["mean_val_loss"] is not None]
    if not usable:
        grid = records[0][0].grid
        raise Refusal(
            f"every cell of {grid.title} diverged; give lower rates: "
            f"--tune.search {grid.model}.learning_rate=..."
        )
    return min(usable, key=lambda pair: pair[1]["mean_val_loss"])


def _finish(grid: Grid, shared: Shared) -> str:
    """Chooses the cell, scores validation and test once, publishes, drops the other cells' models
    and what an earlier search has left. Returns a line where the choice is no better than the base
    rate, else nothing."""
    records = _records(grid)
    best, record = choose(records)
    fits = [fit for cell in grid.cells for fit in cell.fits]
    kept = [*(fit.record for fit in fits), *(fit.model for fit in best.fits)]
    rows = [row for _, record in records for row in record["rows"]]
    entries = [
        grid.folder.write_json(BEST, _best(best, record, records)),
        grid.folder.write_parquet(TRIAL_TABLE, _trials_table(rows)),
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
        f"tune {grid.title}: the validation loss {loss:.4g} of the best "
        f"cell is above the base rate's {base:.4g}"
    )


def _say_stopped(grids: Iterable[Grid], progress: Progress) -> None:
    """Says which fits ASHA has stopped."""
    for grid in grids:
        rows = grid.folder.read_parquet(TRIAL_TABLE, ["cell", "status"]).to_pylist()
        stopped = Counter(row["cell"] for row in rows if row["status"] == STOPPED)
        if stopped:
            cells = ", ".join(f"{cell} ({n})" for cell, n in stopped.items())
            total = counted(len(rows), "fit")
            progress.say(f"tune {grid.title}: ASHA stopped {stopped.total()} of {total}: {cells}")


def _say_edges(grids: Iterable[Grid], progress: Progress) -> None:
    """Says of how many grids the chosen rate is an end of those searched."""
    networks = [grid for grid in grids if MODELS[grid.model].has_network]
    at_edge = [grid for grid in networks if grid.folder.read_json(BEST)["edge"]]
    if at_edge:
        more = max(grid.extend for grid in at_edge) + 2
        progress.say(
            f"tune: in {len(at_edge)} of {counted(len(networks), 'grid')} the chosen rate is the "
            f"lowest or highest searched; --tune.extend {more} searches beyond it"
        )


def _best(best: Cell, record: Record, records: list[tuple[Cell, Record]]) -> dict[str, Any]:
    return {
        "batch_size": None,
        "learning_rate": None,
        **best.point,
        "mean_val_loss": record["mean_val_loss"],
        "mean_base_loss": record["mean_base_loss"],
        "arrived": record["rows"][0].get("arrived", []),
        "edge": best.grid.edge(best),
        "cells": [{"cell": cell.name, "mean_val_loss": r["mean_val_loss"]} for cell, r in records],
    }


def _trials_table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = [{name: row[name] for name in TRIAL_COLUMNS.names} for row in rows]
    return pa.Table.from_pylist(columns, TRIAL_COLUMNS)


def _predictions(best: Cell, record: Record, shared: Shared) -> pa.Table:
    """The chosen cell's scores of the held-out splits, for every replicate. Refuses a model that is
    not the one that the record names."""
    data, tables = shared.rows(best.grid.task), []
    for fit in best.fits:
        estimator = shared.estimator(best)
        model = model_of(fit, record)
        if model is None:
            raise damaged(best.grid.folder, f"{TRIALS}/{fit.model}")
        estimator.load(model)
        tables.append(predict_held_out(estimator, data, fit.number))
    return pa.concat_tables(tables)

"""Predictions of the chosen cells, read back for scoring.

``tune/<task>/<model>/<start>/predictions.parquet`` holds the validation and test rows of every
seed.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl

from medhmp.evaluate.discrimination import Floats, Ints
from medhmp.layout import PREDICTION_COLUMNS, STARTED_FROM
from medhmp.legend import LEVELS, Start, Task
from medhmp.model import catalog
from medhmp.refusal import Refusal
from medhmp.shards.split import assert_disjoint
from medhmp.storage import Folder, Output, opened

TASKS = tuple(LEVELS)
MODELS = tuple(catalog.MODELS)
STARTS = get_args(Start)
Key = tuple[Task, str, Start]
"""What a grid is of."""


@dataclass(frozen=True)
class Rows:
    """One split of a task: n rows in order of row_id; ``scores`` is (seeds, n)."""

    subject: Ints
    row: Ints
    label: Ints
    scores: Floats

    @property
    def average(self) -> Floats:
        """Seed-averaged score, (n,)."""
        return np.asarray(self.scores.mean(axis=0))


@dataclass(frozen=True)
class Predictions:
    """Everything one task, model and start said about the validation and the test rows."""

    task: Task
    model: str
    start: Start
    seeds: Sequence[int]
    validation: Rows
    test: Rows
    chosen: dict[str, Any] | None
    """The cell of the grid that made them: batch_size, learning_rate, the rates searched, and
    at_edge, whether the rate is the lowest or highest of them. None for a model without a rate."""
    fields: Mapping[str, Any]
    """Of the run that made them, as the grid's own record has them."""


def place(task: str, model: str, start: str) -> str:
    """Where the grid leaves them, below the root of outputs."""
    return f"tune/{task}/{model}/{start}"


def found(names: Collection[str]) -> list[Key]:
    """Of each ``predictions.parquet`` among file names below the root, in the order of the legend.

    What an earlier run has left of a task that is now skipped does not count.
    """
    here = {
        n.removesuffix("/predictions.parquet") for n in names if n.endswith("/predictions.parquet")
    }
    without = set(skipped(names))
    return [
        (task, model, start)
        for task in TASKS
        if record(task) not in without
        for model in MODELS
        for start in STARTS
        if place(task, model, start) in here
    ]


def skipped(names: Iterable[str]) -> list[str]:
    """The ``skipped.json`` of each task that was not trained, in the order of the legend."""
    here = set(names)
    return [n for task in TASKS if (n := record(task)) in here]


def read_skipped(out: Folder, names: Iterable[str], shards: str) -> list[dict[str, Any]]:
    """What each ``skipped.json`` says. Refuses one of other shards than those with this
    fingerprint: the task may be one to train by now."""
    records = []
    for name in skipped(names):
        said = out.read_json(name)
        if said.pop("shards") != shards:
            raise Refusal(f"{out}/{name} is of other shards than this run's; run jobs.tune again")
        records.append(said)
    return records


def record(task: Task) -> str:
    """Where the grid says, below the root of outputs, that a task was not trained."""
    return f"tune/{task}/skipped.json"


def grids(
    out: Folder, names: Collection[str], shards: str, pretrainings: Mapping[str, Output]
) -> dict[Key, Output]:
    """The output of each grid that has predictions. Refuses one not whole, made from other shards
    than those with this fingerprint, or begun from other weights than the pretrainings have now."""
    every = {key: opened(out / place(*key), "tune") for key in found(names)}
    for (_, _, start), grid in every.items():
        begun = pretrainings.get(STARTED_FROM[start]) if start != "none" else None
        if grid.inputs.get("shards") != shards:
            raise _stale(grid, "was made from other shards than this run's")
        if begun and grid.inputs["start"] != begun.files["model.safetensors"].sha256:
            raise _stale(grid, f"began from other weights than {begun.folder} has now")
    return every


def _stale(grid: Output, why: str) -> Refusal:
    return Refusal(
        f"{grid.folder} {why}; run jobs.tune again with --overwrite, or delete that folder"
    )


def read(key: Key, grid: Output) -> Predictions:
    """Reads and checks one grid's. Refuses rows that differ between seeds, a split with one class
    only, a score outside [0, 1] and a patient in both splits."""
    table = pl.from_arrow(grid.read_parquet("predictions.parquet", PREDICTION_COLUMNS.names))
    assert isinstance(table, pl.DataFrame)
    assert_disjoint(table)
    where = f"{grid.folder}/predictions.parquet"
    seeds = table["seed"].unique().sort().to_list()
    validation = _rows(table, "validation", len(seeds), where)
    test = _rows(table, "test", len(seeds), where)
    return Predictions(*key, seeds, validation, test, _chosen(grid), grid.fields)


def _chosen(grid: Output) -> dict[str, Any] | None:
    best = grid.read_json("best.json")
    if not best["learning_rate"]:
        return None
    rates = sorted(set(grid.read_parquet("trials.parquet", ["lr"])["lr"].to_pylist()))
    edge = len(rates) > 1 and best["learning_rate"] in (rates[0], rates[-1])
    cell = {name: best[name] for name in ("batch_size", "learning_rate")}
    return {**cell, "rates": rates, "at_edge": edge}


def _rows(table: pl.DataFrame, split: str, seeds: int, where: str) -> Rows:
    part = table.filter(pl.col("split") == split).sort("seed", "row_id")
    n = len(part) // seeds if seeds else 0
    if n * seeds != len(part) or part["label"].n_unique() != 2:
        raise Refusal(
            f"{where} has {len(part)} {split} rows of {seeds} seeds and "
            f"{part['label'].n_unique()} classes; both classes and the same rows for every seed "
            "are needed: run jobs.tune again with --overwrite"
        )
    columns = {
        name: part[name].to_numpy().reshape(seeds, n) for name in ("subject_id", "row_id", "label")
    }
    scores = part["score"].to_numpy().astype(np.float64).reshape(seeds, n)
    same = all((c == c[0]).all() for c in columns.values())
    if not same or not ((scores >= 0) & (scores <= 1)).all():
        fault = "a score that is not a probability" if same else f"{split} rows that differ by seed"
        raise Refusal(f"{where} has {fault}; run jobs.tune again with --overwrite")
    subject, row, label = (c[0].astype(np.int64) for c in columns.values())
    return Rows(subject, row, label, scores)


def read_all(grids: Mapping[Key, Output]) -> list[Predictions]:
    """The predictions of every grid, in their order.

    Refuses those of one task that were not made for the same test rows and labels.
    """
    every = [read(key, grid) for key, grid in grids.items()]
    firsts: dict[str, Predictions] = {}
    for other in every:
        first = firsts.setdefault(other.task, other)
        if not (
            np.array_equal(first.test.row, other.test.row)
            and np.array_equal(first.test.label, other.test.label)
        ):
            raise Refusal(
                f"{place(other.task, other.model, other.start)} and "
                f"{place(first.task, first.model, first.start)} were scored on different test "
                "rows; run jobs.tune again with --overwrite"
            )
    return every

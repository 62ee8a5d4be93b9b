"""Predictions of the chosen cells, read back and checked before they are scored.

A grid's ``predictions.parquet`` holds the validation and test rows of every replicate, which the
column ``seed`` numbers.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, get_args

import numpy as np
import polars as pl

from medhmp.arrays import Floats, Ints
from medhmp.evaluate.operating import Operating
from medhmp.frames import frame_of
from medhmp.layout import (
    BEST,
    PREDICTION_COLUMNS,
    PREDICTIONS,
    TRIAL_TABLE,
    TUNE,
    WEIGHTS,
    grid_of,
    seeded,
    skipped_of,
    started_from,
    unseeded,
)
from medhmp.legend import LEVELS, Start, Task
from medhmp.model.catalog import MODELS
from medhmp.refusal import Refusal
from medhmp.shards.split import assert_disjoint
from medhmp.storage import COMPLETE, Folder, Output, opened

STARTS: Final[tuple[Start, ...]] = get_args(Start)
PUBLISHED: Final = (COMPLETE, PREDICTIONS, BEST, TRIAL_TABLE)
"""Files that a grid has once it has ended."""
GridKey = tuple[Task, str, Start]
"""The task, model and start of a grid."""


@dataclass(frozen=True)
class ScoredSplit:
    """One split of a task: n rows in order of row_id; ``scores`` is (R, n) of R replicates."""

    subject: Ints
    row: Ints
    label: Ints
    scores: Floats

    @property
    def average(self) -> Floats:
        """Mean score of the replicates, (n,)."""
        return np.asarray(self.scores.mean(axis=0))


@dataclass(frozen=True)
class Predictions:
    """Scores of one task, model and start for the validation and the test rows."""

    task: Task
    model: str
    start: Start
    seeds: Sequence[int]  # numbers of the replicates
    validation: ScoredSplit
    test: ScoredSplit
    chosen: dict[str, Any] | None
    """The cell of the grid that made them: batch_size (null of a model without), learning_rate, the
    other fields searched, the rates searched, and at_edge, true if the rate is the lowest or
    highest of them. None for a model without a rate."""
    validation_loss: float
    """Mean over the replicates of the cross-entropy of the validation rows."""
    base_rate_loss: float
    """The same, if each row has the share of events of the labelled training rows."""
    pretrainings: int
    """Pretrainings that the replicates began from, one after the other; 0 of a random start."""
    fields: Mapping[str, Any]
    """Of the run that made them, as the grid's own record has them."""
    decided: Operating | None = None
    """What other validation rows have decided: of a model on rows of elsewhere, which has none."""

    @cached_property
    def operating(self) -> Operating:
        """What validation rows decided: these, unless others did."""
        return self.decided or Operating.of(self.validation.label, self.validation.scores)


def find_grids(names: Collection[str]) -> list[GridKey]:
    """Grids that have published files among these names of files below the root, also where some
    of theirs are gone; one that has cells alone has not ended.

    In the order of ``_tasks``, then catalog.MODELS, then legend.Start. Predictions that an earlier
    run has left of a task that is now skipped do not count.
    """
    present, skipped = set(names), find_skipped(names)
    return [
        (task, model, start)
        for task in _tasks(names)
        if task not in skipped
        for model in MODELS
        for start in STARTS
        if present.intersection(f"{grid_of(task, model, start)}/{of}" for of in PUBLISHED)
    ]


def find_skipped(names: Collection[str]) -> list[Task]:
    """Tasks that were not trained, by the names of files below the root, in the order of
    ``_tasks``."""
    present = set(names)
    return [task for task in _tasks(names) if skipped_of(task) in present]


def _tasks(names: Collection[str]) -> list[Task]:
    """The tasks that have a folder of grids: the built-in ones in the order of legend.LEVELS, then
    others in that of their names."""
    found = {name.split("/")[1] for name in names if name.startswith(f"{TUNE}/")}
    return [*(task for task in LEVELS if task in found), *sorted(found - LEVELS.keys())]


def read_skipped(out: Folder, tasks: Collection[Task], shards: str) -> list[dict[str, Any]]:
    """The record of each of these tasks: why it was not trained.

    Refuses a record of other shards than those with this fingerprint: the task may be trainable by
    now.
    """
    records = []
    for task in tasks:
        record = out.read_record(skipped_of(task))
        if record is None or record.pop("shards") != shards:
            fault = "is torn or altered" if record is None else "is of other shards than this run's"
            raise Refusal(f"{out}/{skipped_of(task)} {fault}; run jobs.tune again")
        records.append(record)
    return records


def open_grids(
    out: Folder,
    keys: Collection[GridKey],
    shards: str,
    pretrainings: Mapping[str, Output],
    labels: Mapping[Task, str],
) -> dict[GridKey, Output]:
    """The output of each of these grids. Refuses one that is not whole, that was made from other
    shards than those with this fingerprint, or from other ``labels`` of a task of the run's own
    (their fingerprints), or that began from other weights than the pretrainings have now."""
    grids = {key: opened(out / grid_of(*key), "tune") for key in keys}
    for (task, model, start), grid in grids.items():
        if grid.inputs.get("shards") != shards:
            raise _stale(grid, "was made from other shards than this run's")
        if grid.inputs.get("labels") != labels.get(task):
            raise _stale(grid, "was made from other labels than the shards have now")
        for number in _begun_from(grid):
            place = started_from(start, MODELS[model].reads_numbers, number)
            begun = pretrainings.get(place)
            if begun and grid.inputs[seeded("start", number)] != begun.files[WEIGHTS].sha256:
                raise _stale(grid, f"began from other weights than {begun.folder} has now")
    return grids


def _begun_from(grid: Output) -> list[int]:
    """The numbers of the pretrainings whose weights a grid began from."""
    places = map(unseeded, grid.inputs)
    return [number for name, number in places if name == "start"]


def _stale(grid: Output, why: str) -> Refusal:
    return Refusal(
        f"{grid.folder} {why}; run jobs.tune again with --overwrite, or delete that folder"
    )


def read(key: GridKey, grid: Output) -> Predictions:
    """Reads and checks the predictions of one grid.

    Refuses rows that differ between replicates, a split with one class only, a score outside [0, 1]
    and a patient in both splits.
    """
    table = frame_of(grid.read_parquet(PREDICTIONS, PREDICTION_COLUMNS.names))
    assert_disjoint(table)
    file = f"{grid.folder}/{PREDICTIONS}"
    seeds = table["seed"].unique().sort().to_list()
    validation = scored_split(table, "validation", len(seeds), file)
    test = scored_split(table, "test", len(seeds), file)
    best = grid.read_json(BEST)
    return Predictions(
        *key,
        seeds,
        validation,
        test,
        chosen=_chosen(key[1], grid, best),
        validation_loss=best["mean_val_loss"],
        base_rate_loss=best["mean_base_loss"],
        pretrainings=len(_begun_from(grid)),
        fields=grid.fields,
    )


def _chosen(model: str, grid: Output, best: Mapping[str, Any]) -> dict[str, Any] | None:
    if not best["learning_rate"]:
        return None
    rates = sorted(set(grid.read_parquet(TRIAL_TABLE, ["lr"])["lr"].to_pylist()))
    edge = len(rates) > 1 and best["learning_rate"] in (rates[0], rates[-1])
    names = dict.fromkeys(["batch_size", "learning_rate", *MODELS[model].search])
    return {**{name: best.get(name) for name in names}, "rates": rates, "at_edge": edge}


def scored_split(table: pl.DataFrame, split: str, seeds: int, file: str) -> ScoredSplit:
    """The rows of a split, of ``layout.PREDICTION_COLUMNS``, by so many replicates.

    Refuses those of ``file`` as ``read`` does.
    """
    of_split = table.filter(pl.col("split") == split).sort("seed", "row_id")
    n = len(of_split) // seeds if seeds else 0
    if n * seeds != len(of_split) or of_split["label"].n_unique() != 2:
        raise Refusal(
            f"{file} has {len(of_split)} {split} rows of {seeds} replicates and "
            f"{of_split['label'].n_unique()} classes; both classes and the same rows for every "
            "replicate are needed: run jobs.tune again with --overwrite"
        )
    columns = {
        name: of_split[name].to_numpy().reshape(seeds, n)
        for name in ("subject_id", "row_id", "label")
    }
    scores = of_split["score"].to_numpy().astype(np.float64).reshape(seeds, n)
    same = all((c == c[0]).all() for c in columns.values())
    if not same or not ((scores >= 0) & (scores <= 1)).all():
        fault = (
            "a score that is not a probability"
            if same
            else f"{split} rows that differ by replicate"
        )
        raise Refusal(f"{file} has {fault}; run jobs.tune again with --overwrite")
    subject, row, label = (c[0].astype(np.int64) for c in columns.values())
    return ScoredSplit(subject, row, label, scores)


def read_all(grids: Mapping[GridKey, Output]) -> list[Predictions]:
    """The predictions of every grid, in their order.

    Refuses those of one task that were not made for the same test rows and labels.
    """
    predictions = [read(key, grid) for key, grid in grids.items()]
    firsts: dict[Task, Predictions] = {}
    for other in predictions:
        first = firsts.setdefault(other.task, other)
        if not (
            np.array_equal(first.test.row, other.test.row)
            and np.array_equal(first.test.label, other.test.label)
        ):
            raise Refusal(
                f"{grid_of(other.task, other.model, other.start)} and "
                f"{grid_of(first.task, first.model, first.start)} were scored on different test "
                "rows; run jobs.tune again with --overwrite"
            )
    return predictions

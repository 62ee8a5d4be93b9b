"""The labels of every task, in the order of the shards, with the counts that explain them."""

import graphlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from medhmp import layout
from medhmp.legend import LEVELS, SPLITS, Task
from medhmp.run import Run
from medhmp.shards.build.index import Index
from medhmp.shards.manifest import TaskCounts
from medhmp.shards.split import assert_disjoint
from medhmp.storage import Entry, Folder
from medhmp.tables.schema import Source
from medhmp.tasks import cohort

_NO_LABELS: Final = pl.DataFrame(
    schema={
        "subject_id": pl.Int64,
        "row_id": pl.Int64,
        "label": pl.Int8,
        "prediction_time": pl.Datetime("ms"),
        "source": pl.String,
    }
)


def write_labels(
    run: Run,
    sources: Sequence[Source],
    onsets: Mapping[str, pl.DataFrame],
    index: Index,
    shards: Folder,
) -> tuple[list[Entry], dict[Task, TaskCounts]]:
    """Writes ``labels/<task>.parquet`` in the order of the shards, and counts them.

    A task that no source can have gets a table without rows, and its counts say why. Sources that
    ``cohort.label_sources`` leaves out are for pretraining alone.
    """
    chosen = run.cohort.label_sources
    sources = [source for source in sources if not chosen or source.name in chosen]
    order = index.patients.with_row_index("place").select("source", "subject_id", "split", "place")
    entries, counted = [], {}
    for task in LEVELS:
        able = [s for s in sources if task not in s.unlabelled]
        labels = [
            cohort.label(task, s, onsets[s.name], run.cohort, run.features.icd == "icd9_only")
            for s in able
        ]
        rows = pl.concat(
            [
                _NO_LABELS,
                *(
                    of.rows.with_columns(source=pl.lit(s.name))
                    for s, of in zip(able, labels, strict=True)
                ),
            ]
        )
        rows = rows.join(order, on=["source", "subject_id"]).sort(
            "place", "prediction_time", "row_id"
        )
        assert_disjoint(index.patients, rows)
        table = rows.select(layout.LABEL_COLUMNS.names).to_arrow(
            compat_level=pl.CompatLevel.oldest()
        )
        entries.append(
            shards.write_parquet(f"labels/{task}.parquet", table.cast(layout.LABEL_COLUMNS))
        )
        why = [f"{s.name}: {s.unlabelled[task]}" for s in sources if task in s.unlabelled]
        unavailable = "" if able else "not available from " + ", ".join(why)
        counted[task] = _counts([of.steps for of in labels], rows, unavailable)
    return entries, counted


def _counts(
    steps: Sequence[Sequence[tuple[str, int]]], rows: pl.DataFrame, unavailable: str
) -> TaskCounts:
    """Steps added up over sources, and rows and positives of each split."""
    splits = {split: rows.filter(pl.col("split") == split) for split in SPLITS}
    return TaskCounts(
        steps=added(steps),
        rows={split: own.height for split, own in splits.items()},
        positives={split: int(own["label"].sum()) for split, own in splits.items()},
        unavailable=unavailable,
    )


def added(steps: Sequence[Sequence[tuple[str, int]]]) -> list[tuple[str, int]]:
    """What each rule left of all sources together, in an order that keeps each source's own.

    A source without a step counts there with what its steps before that one left.
    """
    order: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for of in steps:
        order.add(of[0][0])
        for (before, _), (after, _) in itertools.pairwise(of):
            order.add(after, before)
    totals = dict.fromkeys(order.static_order(), 0)
    for of in steps:
        own, left = dict(of), of[0][1]
        for name in totals:
            left = own.get(name, left)
            totals[name] += left
    return list(totals.items())

"""The labels of every task, in the order of the shards, with the counts that explain them."""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from medhmp.legend import LEVELS, SPLITS, Task
from medhmp.run import Run
from medhmp.shards import schema
from medhmp.shards.index import Index
from medhmp.shards.manifest import TaskCounts
from medhmp.shards.split import assert_disjoint
from medhmp.storage import Entry, Folder
from medhmp.tables import cohort
from medhmp.tables.schema import Source

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

    A task that no source can have gets a table without rows, and its counts say why.
    """
    order = index.patients.with_row_index("place").select("source", "subject_id", "split", "place")
    entries, counted = [], {}
    for task in LEVELS:
        able = [s for s in sources if task not in s.unlabelled]
        labels = [cohort.label(task, s, onsets[s.name], run) for s in able]
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
        table = rows.select(schema.LABELS.names).to_arrow(compat_level=pl.CompatLevel.oldest())
        entries.append(shards.write_parquet(f"labels/{task}.parquet", table.cast(schema.LABELS)))
        why = [f"{s.name}: {s.unlabelled[task]}" for s in sources if task in s.unlabelled]
        unavailable = "" if able else "not available from " + ", ".join(why)
        counted[task] = _counts([of.steps for of in labels], rows, unavailable)
    return entries, counted


def _counts(
    steps: Sequence[Sequence[tuple[str, int]]], rows: pl.DataFrame, unavailable: str
) -> TaskCounts:
    """Steps added up over sources, and rows and positives of each split."""
    names = [name for name, _ in steps[0]] if steps else []
    total = [sum(of[i][1] for of in steps) for i in range(len(names))]
    splits = {split: rows.filter(pl.col("split") == split) for split in SPLITS}
    return TaskCounts(
        steps=list(zip(names, total, strict=True)),
        rows={split: own.height for split, own in splits.items()},
        positives={split: int(own["label"].sum()) for split, own in splits.items()},
        unavailable=unavailable,
    )

"""The labels of every task in the order of the shards, whom they are of, and counts of both."""

import graphlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.frames import frame_of
from medhmp.layout import ATTRIBUTE_COLUMNS, LABEL_COLUMNS, attributes_of, labels_of
from medhmp.legend import LEVELS, SPLITS, Level, Task
from medhmp.run import Cohort, Splits
from medhmp.shards.build.index import Index
from medhmp.shards.manifest import TaskCounts
from medhmp.shards.split import Group, assert_disjoint, nearest_shares
from medhmp.storage import Entry, Folder
from medhmp.tables.schema import Source
from medhmp.tasks.attributes import attributes
from medhmp.tasks.cohort import label

_NO_LABELS: Final = pl.DataFrame(
    schema={
        "subject_id": pl.Int64,
        "row_id": pl.Int64,
        "label": pl.Int8,
        "prediction_time": pl.Datetime("ms"),
        "source": pl.String,
    }
)
_NOBODY: Final = frame_of(ATTRIBUTE_COLUMNS.empty_table())


def write_labels(
    cohort: Cohort,
    icd9_only: bool,
    sources: Sequence[Source],
    onsets: Mapping[str, pl.DataFrame],
    index: Index,
    shards: Folder,
) -> tuple[list[Entry], dict[Task, TaskCounts]]:
    """Writes the labels and the attributes of every task, in the order of the shards; counts rows.

    The counts of a table without rows say why: no source can have the task, or a step of the task
    left none. Sources that ``cohort.label_sources`` leaves out are for pretraining alone.

    Args:
        cohort: the rules of the tasks.
        icd9_only: rows of tasks that read codes have codes of ICD-9 alone.
        sources: all sources of the shards.
        onsets: source -> the table of ``Source.onsets`` once all its streams are read.
        index: the order of the rows.
        shards: where the files go.
    """
    chosen = cohort.label_sources
    sources = [source for source in sources if not chosen or source.name in chosen]
    entries, counted = [], {}
    for task in LEVELS:
        able = [s for s in sources if task not in s.unlabelled]
        labels = [label(task, s, onsets[s.name], cohort, icd9_only) for s in able]
        rows = ordered(able, [of.rows for of in labels], index)
        entries.append(shards.write_parquet(labels_of(task), table_of(rows, LABEL_COLUMNS)))
        people = people_of(LEVELS[task], able, rows)
        entries.append(
            shards.write_parquet(attributes_of(task), table_of(people, ATTRIBUTE_COLUMNS))
        )
        why = [f"{s.name}: {s.unlabelled[task]}" for s in sources if task in s.unlabelled]
        lacking = "not available from " + ", ".join(why) if why else ""
        counted[task] = counts_of([of.steps for of in labels], rows, lacking, index.splits)
    return entries, counted


def ordered(
    sources: Sequence[Source], of_sources: Sequence[pl.DataFrame], index: Index
) -> pl.DataFrame:
    """The labelled rows of all sources in the order of the shards, with the ``source``, ``split``
    and ``drawn`` of their patients."""
    order = index.patients.with_row_index("place").select(
        "source", "subject_id", "split", "drawn", "place"
    )
    named = [
        rows.with_columns(source=pl.lit(s.name))
        for s, rows in zip(sources, of_sources, strict=True)
    ]
    rows = pl.concat([_NO_LABELS, *named], how="diagonal").join(order, on=["source", "subject_id"])
    rows = rows.sort("place", "prediction_time", "row_id")
    assert_disjoint(index.patients, rows)
    return rows


def people_of(level: Level, sources: Sequence[Source], rows: pl.DataFrame) -> pl.DataFrame:
    """The attributes of ``ordered`` rows, in their order."""
    of_sources = (attributes(level, s, rows.filter(source=s.name)) for s in sources)
    people = pl.concat([_NOBODY, *of_sources])
    return rows.select("row_id").join(people, on="row_id", maintain_order="left")


def table_of(rows: pl.DataFrame, columns: pa.Schema) -> pa.Table:
    """A frame's columns of these names as Arrow's, in these types."""
    table = rows.select(columns.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(columns)


def counts_of(
    of_sources: Sequence[Sequence[tuple[str, int]]],
    rows: pl.DataFrame,
    lacking: str,
    shares: Splits,
) -> TaskCounts:
    """Adds up the steps over sources, and counts rows and positives of each split.

    ``lacking`` says which sources cannot have the task, and why. Where a split lacks a class, finds
    the shares that would give it one, if any do.
    """
    splits = {split: rows.filter(pl.col("split") == split) for split in SPLITS}
    steps = added(of_sources)
    if steps and steps[-1][1] != rows.height:
        steps.append(("of patients in the shards", rows.height))
    emptied = _emptied(steps) + (f"; {lacking}" if lacking else "")
    counts = TaskCounts(
        steps=steps,
        rows={split: own.height for split, own in splits.items()},
        positives={split: int(own["label"].sum()) for split, own in splits.items()},
        unavailable="" if of_sources else lacking,
        emptied=emptied if of_sources and rows.is_empty() else "",
    )
    if not counts.lacking or rows["label"].n_unique() < 2 or not rows["drawn"].count():
        return counts
    groups = [_group(rows.filter(pl.col("label") == label)) for label in (0, 1)]
    return replace(counts, shares=list(nearest_shares(groups, shares) or ()))


def _group(rows: pl.DataFrame) -> Group:
    """The draws of the rows' patients; the splits that a source's own patients are in."""
    settled = rows.filter(pl.col("drawn").is_null())["split"].unique().to_list()
    return rows["drawn"].drop_nulls().to_numpy(), settled


def _emptied(steps: Sequence[tuple[str, int]]) -> str:
    """The first step that left no row, and how many there were before it."""
    before = 0
    for step, left in steps:
        if not left:
            of = f"the step '{step}' left none of {before:,}" if before else f"there are no {step}"
            return f"no rows: {of}"
        before = left
    return ""


def added(steps: Sequence[Sequence[tuple[str, int]]]) -> list[tuple[str, int]]:
    """Adds up the rows that each rule left over all sources, in an order that keeps each source's.

    A source without a rule adds what its last rule before that one left.
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

"""The labels of a run's own tasks, each an output beside the tables of the shards.

A task more makes neither the shards nor what was pretrained on them anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import polars as pl

from medhmp.layout import (
    ATTRIBUTE_COLUMNS,
    COUNTS,
    CUT,
    CUT_COLUMNS,
    OWN_ATTRIBUTES,
    OWN_LABEL_COLUMNS,
    OWN_LABELS,
    own_task_of,
)
from medhmp.legend import Task
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.replacing import move_in, room_for
from medhmp.run import Run
from medhmp.shards.build.index import Index
from medhmp.shards.build.labels import counts_of, ordered, people_of, table_of
from medhmp.shards.manifest import TaskCounts, own_fields
from medhmp.storage import Folder, Output, Stamp, made_elsewhere, publish
from medhmp.tables.schema import ID_COLUMNS, IDS, Source
from medhmp.tasks.label_table import SOURCE, LabelTable
from medhmp.tasks.own import OwnLabels, match


def make_own_tasks(
    run: Run, shards: Output, sources: Callable[[], Sequence[Source]], progress: Progress
) -> dict[Task, TaskCounts]:
    """Makes the labels of each of the run's own tasks that is not whole; returns their counts.

    ``sources`` opens the sources of the shards, and is called if any task is to be made.
    """
    made: dict[Task, TaskCounts] = {}
    for task, own in run.cohort.own_tasks().items():
        table, folder = LabelTable.find(task, own), shards.folder / own_task_of(task)
        inputs = {"shards": shards.fingerprint, "labels": table.fingerprint}
        stamp = Stamp(own_fields(task, own.level), inputs)
        room = room_for(folder, stamp, run.overwrite)
        if room is None:
            progress.say(f"labels of {task}: whole already{made_elsewhere(folder)}, {folder}")
            continue
        made[task] = _make(run, table, sources(), room, stamp)
        move_in(folder)
    return made


def _make(
    run: Run, table: LabelTable, sources: Sequence[Source], room: Folder, stamp: Stamp
) -> TaskCounts:
    """Matches the labels of one task and publishes them."""
    index = Index.of(sources, run.splits, run.shards.bucket_stays, run.features.icd == "icd9_only")
    chosen, rows = run.cohort.label_sources, table.read()
    _refuse_unknown(table, rows, [s.name for s in sources])
    able = [s for s in sources if not chosen or s.name in chosen]
    labels: list[OwnLabels] = []
    for source in able:
        own = _of_source(table, rows, source, sources, len(able) > 1)
        inside = _within_shards(source, index)
        labels.append(match(table.level, own, inside, run.cohort, run.features.dt))
    found = ordered(able, [of.rows for of in labels], index)
    counts = counts_of([of.steps for of in labels], found, "", index.splits)
    cut = pl.concat([of.cut for of in labels])
    people = people_of(table.level, able, found)
    entries = [
        room.write_parquet(OWN_LABELS, table_of(found, OWN_LABEL_COLUMNS)),
        room.write_parquet(OWN_ATTRIBUTES, table_of(people, ATTRIBUTE_COLUMNS)),
        room.write_parquet(CUT, table_of(cut, CUT_COLUMNS)),
        room.write_json(COUNTS, asdict(counts)),
    ]
    publish(room, stamp, entries)
    return counts


def _refuse_unknown(table: LabelTable, rows: pl.DataFrame, names: Sequence[str]) -> None:
    if SOURCE not in rows.columns:
        return
    unknown = rows.filter(~pl.col(SOURCE).is_in(names).fill_null(False)).height
    if unknown:
        raise Refusal(
            f"cohort.tasks has {table.task}, whose table has {unknown:,} rows of a {SOURCE} that "
            f"is none of {', '.join(names)}; give each row the name of its source"
        )


def _of_source(
    table: LabelTable, rows: pl.DataFrame, source: Source, every: Sequence[Source], several: bool
) -> pl.DataFrame:
    """The labels of one source, with the identifiers that it has in this run.

    Of several sources, refuses a table that does not say which of them a row is of.
    """
    if SOURCE in rows.columns:
        rows = rows.filter(pl.col(SOURCE) == source.name)
    elif several:
        raise Refusal(
            f"cohort.tasks has {table.task}, whose table has no column {SOURCE}, and the run "
            "labels several sources; add it, with their names, or give one --cohort.label-sources"
        )
    by = [s.name for s in every].index(source.name) * IDS
    return rows.with_columns(pl.col(name) + by for name in ID_COLUMNS if name in rows.columns)


def _within_shards(source: Source, index: Index) -> Source:
    """The source without the admissions and stays that the shards leave out."""
    admissions = index.admissions.filter(source=source.name)["hadm_id"]
    stays = index.stays.filter(source=source.name)["stay_id"]
    return replace(
        source,
        admissions=source.admissions.filter(pl.col("hadm_id").is_in(admissions.implode())),
        stays=source.stays.filter(pl.col("stay_id").is_in(stays.implode())),
    )

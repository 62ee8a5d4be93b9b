"""The rows of shards that a model scores, cut into parts, and one part read.

Rows of a source that the model was trained on keep their split, so that nobody takes training rows
for others. The rows of all other sources are one group. Within a group rows come in the order of
the shards, in parts of whole batches: so a row is scored in the same company, and with the same
last bits, whether the run scores it, one worker or many.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medhmp.layout import TIME
from medhmp.legend import LEVELS, ROW_ID, SPLITS, Level, Task
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.shards.labelled import (
    TABLE_OF,
    Labelled,
    labels_of_rows,
    noted_admissions,
    rows_in,
)
from medhmp.shards.manifest import FROZEN, VARIABLES, OpenShards
from medhmp.shards.row_groups import filtered
from medhmp.shards.row_notes import NotesRead, read_row_notes

ELSEWHERE: Final = "labelled"
"""The group of labelled rows of sources that the model has not seen."""
UNLABELLED: Final = "unlabelled"
"""The group of rows of sources without labels of the task."""
TIMED_BY: Final[dict[Level, str]] = {
    "stay": "intime",
    "admission": "discharged",
    "patient": "visits",
}
"""The column of a shard table that has the time at which a row without a label is predicted."""


@dataclass(frozen=True)
class Part:
    """Rows that a worker holds at a time."""

    group: str  # a split, ``ELSEWHERE`` or ``UNLABELLED``
    number: int
    files: tuple[str, ...]  # of the table of the level, that have the rows
    labels: pa.Table  # LABEL_COLUMNS of the rows (n), in their order; more of an own task

    @property
    def name(self) -> str:
        return f"{self.group}/part-{self.number:05}.parquet"


def known_sources(shards: OpenShards, sources: Mapping[str, str]) -> set[str]:
    """The sources of the shards that are among these (name -> hash of the raw tables)."""
    hashes = set(sources.values())
    inputs = shards.output.inputs
    return {n for n, h in inputs.items() if h in hashes and n not in (FROZEN, VARIABLES)}


def parts_of(
    shards: OpenShards, task: Task, known: Collection[str], run: Run
) -> tuple[list[Part], int]:
    """The parts of all rows that can be predicted, in an order that depends on the shards alone.

    Of a source that has labels of the task, those are the rows that have one, as the rules of the
    task decide. Of a source that has none, all rows are, at the time that a label would have.

    Args:
        shards: have the labels of the task.
        task: decides the level.
        known: sources that the model was trained on.
        run: ``apply.rows`` is the size of a part, ``cohort.hours`` the hour of a stay's prediction.

    Returns:
        The parts, and the rows of sources without labels that have no time to predict at.

    Raises:
        Refusal: the shards have no labels of the task, or a file is damaged.
    """
    if task not in LEVELS and task not in shards.own:
        raise Refusal(
            f"the model predicts {task}, a task of its run's own, of which {shards.folder} has no "
            f"rows; give them with --cohort.tasks {task}=LEVEL:URI"
        )
    labels, level = shards.labels(task), shards.level(task)
    index = _index(shards, level, run.cohort.hours)
    rows = index["row_id"]
    split, source = (index[c].to_numpy(zero_copy_only=False) for c in ("split", "source"))
    has_label = np.isin(rows.to_numpy(), labels["row_id"].to_numpy())
    without = ~np.isin(source, np.unique(source[has_label]))
    untimed = without & index["prediction_time"].is_null().to_numpy()
    group = np.where(np.isin(source, list(known)), split, ELSEWHERE).astype(object)
    group[without] = UNLABELLED
    group[(~has_label & ~without) | untimed] = None
    names, files = sorted(shards.manifest.tables[TABLE_OF[level]]), index["file"].to_numpy()
    parts = []
    for one in (*SPLITS, ELSEWHERE, UNLABELLED):
        of_group = np.flatnonzero(group == one)
        for number, at in enumerate(range(0, len(of_group), run.apply.rows)):
            taken = of_group[at : at + run.apply.rows]
            own = tuple(names[i] for i in np.unique(files[taken]))
            labelled = one != UNLABELLED
            of_rows = labels_of_rows(labels, rows.take(taken)) if labelled else index.take(taken)
            parts.append(Part(one, number, own, of_rows))
    return parts, int(untimed.sum())


def _index(shards: OpenShards, level: Level, hours: int) -> pa.Table:
    """LABEL_COLUMNS of every row, without a label, its source, and the number of its file.

    The prediction time is hour ``hours`` of a stay, else the (last) discharge.
    """
    table, found = TABLE_OF[level], []
    columns = [*dict.fromkeys((ROW_ID[level], "subject_id")), "source", "split", TIMED_BY[level]]
    for number, name in enumerate(sorted(shards.manifest.tables[table])):
        of_file = shards.output.read_parquet(f"{table}/{name}", columns)
        time = of_file[TIMED_BY[level]].combine_chunks()
        if level == "stay":
            time = pc.add(time, pa.scalar(timedelta(hours=hours), pa.duration("s")))
        elif level == "patient":
            time = _last_discharge(time)
        found.append(
            pa.table(
                {
                    "subject_id": of_file["subject_id"],
                    "row_id": of_file[ROW_ID[level]],
                    "split": of_file["split"],
                    "label": pa.nulls(len(of_file), pa.int8()),
                    "prediction_time": time.cast(TIME),
                    "source": of_file["source"],
                    "file": pa.array(np.full(len(of_file), number, np.int32)),
                }
            )
        )
    return pa.concat_tables(found)


def _last_discharge(visits: pa.Array) -> pa.Array:
    """The last discharge of each patient; null of one without any."""
    flat = pa.table(
        {
            "patient": pc.list_parent_indices(visits),
            "discharged": pc.list_flatten(visits).field("discharged"),
        }
    )
    last = flat.group_by("patient").aggregate([("discharged", "max")])
    place = pc.index_in(pa.array(range(len(visits)), pa.int64()), last["patient"].combine_chunks())
    return last["discharged_max"].combine_chunks().take(place)


def read_part(
    shards: OpenShards, task: Task, run: Run, notes: NotesRead | None, part: Part
) -> Labelled:
    """Reads the rows of a part as ``read_task`` reads those of a split.

    Args:
        shards: they are the same as ``parts_of`` had.
        task: decides the level, and the codes that are hidden.
        run: its ``cohort`` and ``model`` shape the rows.
        notes: what the model reads of notes; none: nothing.
        part: of ``parts_of``.
    """
    level = shards.level(task)
    folder, key = shards.folder / TABLE_OF[level], ROW_ID[level]
    sha = {name: of.sha256 for name, of in shards.manifest.tables[TABLE_OF[level]].items()}
    wanted = part.labels["row_id"].combine_chunks()
    table = pa.concat_tables(
        found for name in part.files for found in filtered(folder, name, sha[name], key, wanted)
    )
    label = part.labels["label"].fill_null(0).to_numpy().astype(np.float32)
    rows = rows_in(shards, task, run.cohort, run.model, table, part.labels)
    if notes is None or level == "patient":
        return Labelled(rows, label)
    return Labelled(
        rows, label, read_row_notes(shards, noted_admissions(table, part.labels), notes)
    )

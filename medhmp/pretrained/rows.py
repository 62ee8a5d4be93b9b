"""The rows of shards that a model scores, cut into parts, and one part read.

Rows of a source that the model was trained on keep their split, so that nobody takes training rows
for others. The rows of all other sources are one group. Within a group rows come in the order of
the shards, in parts of whole batches: so a row is scored in the same company, and with the same
last bits, whether the run scores it, one worker or many.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from medhmp.layout import labels_of
from medhmp.legend import LEVELS, ROW_ID, SPLITS, Level, Task
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.shards.labelled import TABLE_OF, Labelled, labels_of_rows, rows_in
from medhmp.shards.manifest import FROZEN, VARIABLES, OpenShards
from medhmp.shards.row_groups import rows_of
from medhmp.shards.row_notes import NotesRead, read_row_notes

ELSEWHERE: Final = "labelled"
"""The group of rows of sources that the model has not seen."""


@dataclass(frozen=True)
class Part:
    """Rows that a worker holds at a time."""

    group: str  # a split, or ``ELSEWHERE``
    number: int
    files: tuple[str, ...]  # of the table of the level, that have the rows
    labels: pa.Table  # LABEL_COLUMNS of the rows (n), in their order

    @property
    def name(self) -> str:
        return f"{self.group}/part-{self.number:05}.parquet"


def known_sources(shards: OpenShards, sources: Mapping[str, str]) -> set[str]:
    """The sources of the shards that are among these (name -> hash of the raw tables)."""
    hashes = set(sources.values())
    inputs = shards.output.inputs
    return {n for n, h in inputs.items() if h in hashes and n not in (FROZEN, VARIABLES)}


def parts_of(shards: OpenShards, task: Task, known: Collection[str], size: int) -> list[Part]:
    """The parts of all rows of a task, in an order that depends on the shards alone.

    Args:
        shards: have the labels of the task.
        task: decides the level.
        known: sources that the model was trained on.
        size: rows of a part, a multiple of ``run.SCORED_AT_ONCE``.

    Raises:
        Refusal: the shards have no labels of the task, or a file is damaged.
    """
    name, level = labels_of(task), LEVELS[task]
    if name not in shards.output.files:
        raise Refusal(
            f"{shards.folder}/labels has no {task}.parquet; run jobs.featurize for this task first"
        )
    labels, index = shards.read_parquet(name), _index(shards, level)
    files, rows = index["file"].to_numpy(), index[ROW_ID[level]]
    split, source = (index[c].to_numpy(zero_copy_only=False) for c in ("split", "source"))
    group = np.where(np.isin(source, list(known)), split, ELSEWHERE).astype(object)
    group[~np.isin(rows.to_numpy(), labels["row_id"].to_numpy())] = None
    names = sorted(shards.manifest.tables[TABLE_OF[level]])
    parts = []
    for one in (*SPLITS, ELSEWHERE):
        of_group = np.flatnonzero(group == one)
        for number, at in enumerate(range(0, len(of_group), size)):
            taken = of_group[at : at + size]
            own = tuple(names[i] for i in np.unique(files[taken]))
            parts.append(Part(one, number, own, labels_of_rows(labels, rows.take(taken))))
    return parts


def _index(shards: OpenShards, level: Level) -> pa.Table:
    """Identifier, source, split and the number of the file of every row, in order."""
    table, columns = TABLE_OF[level], [ROW_ID[level], "source", "split"]
    found = []
    for number, name in enumerate(sorted(shards.manifest.tables[table])):
        of_file = shards.output.read_parquet(f"{table}/{name}", columns)
        place = pa.array(np.full(len(of_file), number, np.int32))
        found.append(of_file.append_column("file", place))
    return pa.concat_tables(found)


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
    level = LEVELS[task]
    folder, key = shards.folder / TABLE_OF[level], ROW_ID[level]
    sha = {name: of.sha256 for name, of in shards.manifest.tables[TABLE_OF[level]].items()}
    wanted = part.labels["row_id"].combine_chunks()
    table = pa.concat_tables(
        found for name in part.files for found in rows_of(folder, name, sha[name], key, wanted)
    )
    label = part.labels["label"].to_numpy().astype(np.float32)
    rows = rows_in(shards, task, run.cohort, run.model, table, part.labels)
    if notes is None or level == "patient":
        return Labelled(rows, label)
    return Labelled(rows, label, read_row_notes(shards, table["hadm_id"].to_numpy(), notes))

"""The labelled rows of one task, by split, in memory."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from medhmp.arrays import Floats32, Ints
from medhmp.batch import LABEL
from medhmp.layout import labels_of
from medhmp.legend import LEVELS, ROW_ID, SPLITS, Level, Split, Task
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Model
from medhmp.shards.manifest import OpenShards
from medhmp.shards.note_vectors import read_notes
from medhmp.shards.row_notes import NotesRead, read_row_notes
from medhmp.shards.rows import Admissions, Batch, NoteVectors, Patients, RowNotes, Stays
from medhmp.shards.split import assert_disjoint, splits_in
from medhmp.tasks.patients import target_codes

TABLE_OF: Final[dict[Level, str]] = {
    "stay": "stays",
    "admission": "admissions",
    "patient": "patients",
}
"""The shard table that has the rows of a level."""


@dataclass(frozen=True)
class Labelled:
    """Rows of a task in one split, with their labels."""

    rows: Stays | Admissions | Patients
    label: Floats32  # (n) in {0, 1}
    notes: RowNotes | None = None  # what models read of notes that the rows do not have

    def __len__(self) -> int:
        return len(self.label)

    def batch(self, rows: Ints) -> Batch:
        """The keys of the level for the given rows, and ``label``."""
        notes = self.notes.batch(rows) if self.notes else {}
        return {**self.rows.batch(rows), **notes, LABEL: torch.from_numpy(self.label[rows])}

    def take(self, rows: Ints) -> "Labelled":
        """Copies the given rows."""
        notes = self.notes.take(rows) if self.notes else None
        return Labelled(self.rows.take(rows), self.label[rows], notes)


TaskData = dict[Split, Labelled]


def read_task(
    shards: OpenShards,
    task: Task,
    cohort: Cohort,
    model: Model,
    notes: NotesRead | None = None,
) -> TaskData:
    """Reads all splits of a task, rows in the order of the shards.

    Args:
        shards: holds the rows and the labels.
        task: decides the level of the rows.
        cohort: its ``max_visits`` and the target codes of the task shape the rows of patients.
        model: its ``max_stays`` shapes the rows of admissions.
        notes: what models read of the notes of stays and admissions, beside the vectors that
            admissions have; none: nothing.

    Raises:
        Refusal: the task has no labels, a file is damaged, a patient is in two splits, or the text
            of notes is gone.
    """
    name = labels_of(task)
    if name not in shards.output.files:
        raise Refusal(
            f"{shards.folder}/labels has no {task}.parquet; run jobs.featurize for this task first"
        )
    labelled = shards.read_parquet(name)
    rows = _labelled_rows(shards, LEVELS[task], labelled)
    assert_disjoint(splits_in(shards, "patients"), labelled, rows)
    data: TaskData = {}
    for split in SPLITS:
        table = rows.filter(pc.equal(rows["split"], split))
        own = labels_of_rows(labelled, table[ROW_ID[LEVELS[task]]])
        label = own["label"].to_numpy().astype(np.float32)
        data[split] = Labelled(rows_in(shards, task, cohort, model, table, own), label)
        if notes and LEVELS[task] != "patient":
            hadm = table["hadm_id"].to_numpy()
            data[split] = replace(data[split], notes=read_row_notes(shards, hadm, notes))
    return data


def draw(data: TaskData, labels: int | None, seed: int) -> TaskData:
    """The task with ``labels`` labelled training rows; none: all of them.

    The seed puts the training patients in an order, and rows are taken patient by patient.
    """
    train = data["train"]
    if labels is None or labels >= len(train):
        return data
    patients, patient = np.unique(train.rows.subject_id, return_inverse=True)
    place = np.random.default_rng([seed, labels]).permutation(len(patients))
    taken = np.argsort(place[patient], kind="stable")[:labels]
    return {**data, "train": train.take(np.sort(taken))}


def counts(data: TaskData) -> dict[str, dict[str, int]]:
    """Rows and positives of each split."""
    return {
        split: {"rows": len(part), "positive": int(part.label.sum())}
        for split, part in data.items()
    }


def hindrance(shards: OpenShards, task: Task, data: TaskData) -> str:
    """Says why a task cannot be trained and scored, and what would help.

    No source has it, a split lacks a class, or the training rows drawn do. Empty if the task can.
    """
    whole = shards.manifest.tasks[task]
    found = counts(data)
    read = replace(
        whole,
        rows={split: of["rows"] for split, of in found.items()},
        positives={split: of["positive"] for split, of in found.items()},
    )
    rows, positives = read.rows["train"], read.positives["train"]
    if whole.hindrance or rows == whole.rows["train"] or 0 < positives < rows:
        return read.hindrance
    return (
        f"the {rows:,} labelled training rows that were drawn are all of one class "
        f"({whole.positives['train']:,} of {whole.rows['train']:,} are positive); "
        "give a larger --finetune.labels"
    )


def _labelled_rows(shards: OpenShards, level: Level, labels: pa.Table) -> pa.Table:
    """The rows that have a label, in the order of the shards."""
    wanted, key = labels["row_id"].combine_chunks(), ROW_ID[level]
    tables = shards.read_table(TABLE_OF[level])
    return pa.concat_tables([table.filter(pc.is_in(table[key], wanted)) for table in tables])


def labels_of_rows(labels: pa.Table, rows: pa.ChunkedArray) -> pa.Table:
    """The label of each of ``rows`` (identifiers, n), in their order: a table of n rows."""
    known = labels["row_id"].to_numpy()
    order = np.argsort(known)
    return labels.take(order[np.searchsorted(known, rows.to_numpy(), sorter=order)])


def rows_in(
    shards: OpenShards, task: Task, cohort: Cohort, model: Model, table: pa.Table, labels: pa.Table
) -> Any:
    """Rows of the task's level, of a shard table (n) and the labels of its rows (n)."""
    level = LEVELS[task]
    if level == "stay":
        return Stays.from_arrow(table)
    if level == "admission":
        hadm = table["hadm_id"].to_numpy()
        notes = read_notes(shards.note_embeddings, hadm) if len(table) else NoteVectors.none()
        return Admissions.from_arrow(table, model.max_stays, notes)
    targets = target_codes(task, cohort)
    diagnoses = shards.manifest.diagnoses
    hidden = [i for i, code in enumerate(diagnoses) if code.startswith(targets)]
    until = labels["prediction_time"].to_numpy()
    return Patients.from_arrow(table, until, cohort.max_visits, np.array(hidden, np.int64))

"""The labelled rows of one task, by split, in memory."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from medhmp.arrays import Floats32, Ints
from medhmp.batch import LABEL, TARGETS
from medhmp.layout import CUT
from medhmp.legend import ROW_ID, SPLITS, Level, Split, Task
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

NO_ADMISSION: Final = np.iinfo(np.int64).min
"""An identifier of no admission: whose note was not written yet, is read as having none."""

Rows = Stays | Admissions | Patients


@dataclass(frozen=True)
class Labelled:
    """Rows of a task in one split, with their labels."""

    rows: Rows
    label: Floats32  # (n) in {0, 1}
    notes: RowNotes | None = None  # what models read of notes that the rows do not have
    targets: Floats32 | None = None  # (n, K) of training stays alone, NaN where unknown

    def __len__(self) -> int:
        return len(self.label)

    def batch(self, rows: Ints) -> Batch:
        """The keys of the level for the given rows, and ``label``."""
        notes = self.notes.batch(rows) if self.notes else {}
        batch = {**self.rows.batch(rows), **notes, LABEL: torch.from_numpy(self.label[rows])}
        if self.targets is not None:
            batch[TARGETS] = torch.from_numpy(self.targets[rows])
        return batch

    def take(self, rows: Ints) -> "Labelled":
        """Copies the given rows."""
        notes = self.notes.take(rows) if self.notes else None
        targets = None if self.targets is None else self.targets[rows]
        return Labelled(self.rows.take(rows), self.label[rows], notes, targets)


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
    labelled, level = shards.labels(task), shards.level(task)
    rows = _labelled_rows(shards, level, labelled)
    assert_disjoint(splits_in(shards, "patients"), labelled, rows)
    data: TaskData = {}
    for split in SPLITS:
        table = rows.filter(pc.equal(rows["split"], split))
        own = labels_of_rows(labelled, table[ROW_ID[level]])
        label = own["label"].to_numpy().astype(np.float32)
        data[split] = Labelled(rows_in(shards, task, cohort, model, table, own), label)
        if notes and level != "patient":
            hadm = noted_admissions(table, own)
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


def noted_admissions(table: pa.Table, labels: pa.Table) -> Ints:
    """The admission of each row whose note may be read: ``NO_ADMISSION`` where it was not over at
    the time of prediction."""
    return np.where(_over(labels), table["hadm_id"].to_numpy(), NO_ADMISSION)


def _as_known(
    shards: OpenShards, task: Task, rows: Stays | Admissions, labels: pa.Table
) -> Stays | Admissions:
    """The rows of a task without what lies after their prediction times; the built-in tasks
    predict where what their rows hold ends."""
    if task not in shards.own:
        return rows
    cut = shards.own[task].read_parquet(CUT)
    if isinstance(rows, Stays):
        return rows.until(_bins_known(rows, cut))
    return rows.until(_bins_known(rows.stays, cut), _over(labels))


def _bins_known(stays: Stays, cut: pa.Table) -> Ints:
    """Bins of each stay (n) that had ended by the prediction time; ``cut`` has those of less than
    all."""
    bins = np.full(len(stays), stays.hours_per_stay, np.int64)
    here = cut.filter(pc.is_in(cut["stay_id"], pa.array(stays.row_id)))
    order = np.argsort(stays.row_id)
    place = np.searchsorted(stays.row_id, here["stay_id"].to_numpy(), sorter=order)
    bins[order[place]] = here["bins"].to_numpy()
    return bins


def _over(labels: pa.Table) -> npt.NDArray[np.bool_]:
    """The rows whose admission was over at the prediction time, as far as a task asks."""
    if "over" not in labels.column_names:
        return np.ones(len(labels), np.bool_)
    return np.asarray(labels["over"].to_numpy(), np.bool_)


def rows_in(
    shards: OpenShards, task: Task, cohort: Cohort, model: Model, table: pa.Table, labels: pa.Table
) -> Rows:
    """Rows of the task's level, of a shard table (n) and the labels of its rows (n)."""
    level = shards.level(task)
    if level == "stay":
        return _as_known(shards, task, Stays.from_arrow(table), labels)
    if level == "admission":
        hadm = table["hadm_id"].to_numpy()
        notes = read_notes(shards.note_embeddings, hadm) if len(table) else NoteVectors.none()
        admissions = Admissions.from_arrow(table, model.max_stays, notes)
        return _as_known(shards, task, admissions, labels)
    targets = target_codes(task, cohort)
    diagnoses = shards.manifest.diagnoses
    hidden = [i for i, code in enumerate(diagnoses) if code.startswith(targets)]
    until = labels["prediction_time"].to_numpy()
    return Patients.from_arrow(table, until, cohort.max_visits, np.array(hidden, np.int64))

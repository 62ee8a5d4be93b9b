"""The labelled rows of one task, by split, in memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from medhmp.legend import (
    LEVELS,
    ROW_ID,
    SPLITS,
    Level,
    Split,
    Task,
)
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Model, Run
from medhmp.shards.csr import Ints
from medhmp.shards.manifest import Manifest, OpenShards
from medhmp.shards.rows import Admissions, Batch, Patients, Stays
from medhmp.shards.split import assert_disjoint, splits_in
from medhmp.shards.stream import read_notes
from medhmp.storage import Folder
from medhmp.tasks.patients import target_codes

TABLES: dict[Level, str] = {"stay": "stays", "admission": "admissions", "patient": "patients"}


@dataclass(frozen=True)
class Labelled:
    """Rows of a task in one split, with their labels."""

    rows: Stays | Admissions | Patients
    label: npt.NDArray[np.float32]  # (n) in {0, 1}

    def __len__(self) -> int:
        return len(self.label)

    def batch(self, rows: Ints) -> Batch:
        return {**self.rows.batch(rows), "label": torch.from_numpy(self.label[rows])}


TaskData = dict[Split, Labelled]


def read_task(
    shards: OpenShards, task: Task, cohort: Cohort, model: Model, labels: int | None
) -> TaskData:
    """All splits of a task; of the training split the first ``labels`` rows, or all if none.

    Rows are in the order of the shards, a hash of the patient: the first n are of random patients.
    """
    name = f"labels/{task}.parquet"
    if name not in shards.output.files:
        raise Refusal(
            f"{shards.folder}/labels has no {task}.parquet; run jobs.featurize for this task first"
        )
    table = shards.output.read_parquet(name)
    rows = _labelled_rows(shards.folder, shards.manifest, LEVELS[task], table)
    assert_disjoint(splits_in(shards.folder, shards.manifest, "patients"), table, rows)
    return {
        split: _split(shards, task, cohort, model, labels, table, rows, split) for split in SPLITS
    }


def counts(data: TaskData) -> dict[str, dict[str, int]]:
    """Rows and positives of each split."""
    return {
        split: {"rows": len(part), "positive": int(part.label.sum())}
        for split, part in data.items()
    }


def hindrance(shards: OpenShards, task: Task, data: TaskData) -> str:
    """Why a task cannot be trained and scored: no source has it, or a split lacks a class. Empty
    if it can."""
    if unavailable := shards.manifest.tasks[task].unavailable:
        return unavailable
    return "a split has no positive or no negative row" if lacks_a_class(data) else ""


def lacks_a_class(data: TaskData) -> bool:
    """Whether a split has no positive or no negative row: nothing can be learnt or scored there."""
    return not all(0 < part.label.sum() < len(part) for part in data.values())


def _labelled_rows(shards: Folder, manifest: Manifest, level: Level, labels: pa.Table) -> pa.Table:
    """The rows that have a label, in the order of the shards."""
    name, key = TABLES[level], ROW_ID[level]
    wanted = labels["row_id"].combine_chunks()
    files = [(shards / name).read_parquet(file) for file in sorted(manifest.tables[name])]
    return pa.concat_tables([table.filter(pc.is_in(table[key], wanted)) for table in files])


def _split(
    shards: OpenShards,
    task: Task,
    cohort: Cohort,
    model: Model,
    kept: int | None,
    labels: pa.Table,
    rows: pa.Table,
    split: Split,
) -> Labelled:
    key = ROW_ID[LEVELS[task]]
    wanted = labels.filter(pc.equal(labels["split"], split))
    table = rows.filter(pc.equal(rows["split"], split))
    if split == "train" and kept is not None:
        table = table.slice(0, kept)
    at = _positions(wanted["row_id"].to_numpy(), table[key].to_numpy())
    label = wanted["label"].to_numpy()[at].astype(np.float32)
    return Labelled(_rows(shards, task, cohort, model, table, wanted.take(at)), label)


def _rows(
    shards: OpenShards, task: Task, cohort: Cohort, model: Model, table: pa.Table, wanted: pa.Table
) -> Any:
    level = LEVELS[task]
    if level == "stay":
        return Stays.from_arrow(table)
    if level == "admission":
        return Admissions.from_arrow(table, model.max_stays, read_notes(shards.folder))
    targets = target_codes(task, Run(cohort=cohort))
    hidden = [i for i, code in enumerate(shards.manifest.diagnoses) if code.startswith(targets)]
    until = wanted["prediction_time"].to_numpy()
    return Patients.from_arrow(table, until, cohort.max_visits, np.array(hidden, np.int64))


def _positions(keys: npt.NDArray[Any], of: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Index into ``keys`` of each element of ``of``."""
    order = np.argsort(keys)
    return np.asarray(order[np.searchsorted(keys, of, sorter=order)])

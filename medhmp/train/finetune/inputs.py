"""Outputs of earlier jobs that a fit reads: the shards, the notes, the weights it begins from."""

import functools
from collections.abc import Iterable
from typing import Any, Final

from torch import Tensor

from medhmp.layout import seeded, started_from
from medhmp.legend import Level, Start, Task
from medhmp.model.catalog import MODELS
from medhmp.notes.encoder import check_trainable
from medhmp.refusal import Refusal
from medhmp.run import Notes, Run, fields_of
from medhmp.shards.labelled import TaskData, read_task
from medhmp.shards.manifest import OpenShards
from medhmp.shards.targets import open_targets, with_targets
from medhmp.storage import Folder
from medhmp.train.checkpoint import PATIENTS, pretrained, read_weights
from medhmp.train.finetune.notes import notes_read
from medhmp.train.objective import model_fields
from medhmp.train.stage import Stage, stage_of

ROWS_READ_BY: Final[dict[Level, tuple[str, ...]]] = {
    "stay": (),
    "admission": ("model.max_stays",),
    "patient": ("cohort.max_visits",),
}
"""Fields of a run that decide how much of a labelled row is read, whatever the model."""


class FitInputs:
    """Fingerprints of what the fits of a run read. Each output is opened once."""

    def __init__(self, run: Run, shards: OpenShards) -> None:
        self._run, self._shards = run, shards
        self._start = functools.cache(self._fingerprint_of)

    def of(
        self,
        task: Task,
        start: Start,
        model: str,
        notes: Notes,
        numbers: Iterable[int] = (0,),
    ) -> dict[str, str]:
        """The inputs of fits that begin from the pretrainings of these numbers.

        Refuses parts not whole, or pretrained on other shards.
        """
        inputs, entry = {"shards": self._shards.fingerprint}, MODELS[model]
        if own := self._shards.own.get(task):
            inputs["labels"] = own.fingerprint
        if (entry.statistics or entry.reads_numbers) and not self._shards.manifest.numbers:
            raise Refusal(
                f"{model} reads numbers, and the shards in {self._shards.folder} have none; "
                "run jobs.featurize with --features.numbers, or leave the model out"
            )
        if family := entry.text_read(notes.fine_tune):
            inputs[f"notes.{family}"] = _fingerprint(getattr(notes, family), family)
        if self._shards.level(task) == "admission" or entry.vectors_read(notes.fine_tune):
            inputs["note_embeddings"] = self._shards.note_embeddings.fingerprint
        if reads_targets(self._shards.level(task), model):
            inputs["targets"] = open_targets(Folder(self._run.out), self._shards).fingerprint
        if start != "none":
            inputs |= {
                seeded("start", number): self._start(start, entry.reads_numbers, number)
                for number in numbers
            }
        return inputs

    def weights(self, start: Start, number: int, numbers: bool = False) -> dict[str, Tensor] | None:
        """The tensors of a start's pretraining of this number, of MedHMP-S with ``numbers``; None
        for *none*."""
        if start == "none":
            return None
        stage = self._stage(start, numbers, number)
        return read_weights(Folder(stage.folder), stage.job)

    def _stage(self, start: Start, numbers: bool, number: int) -> Stage:
        return stage_of(self._run, self._shards, started_from(start, numbers), number)

    def _fingerprint_of(self, start: Start, numbers: bool, number: int) -> str:
        stage = self._stage(start, numbers, number)
        patients = fields_of(self._run, *PATIENTS)
        return pretrained(Folder(stage.folder), stage.job, self._shards.fingerprint, patients)


def fit_fields(run: Run, task: Task, model: str) -> dict[str, Any]:
    """The fields of a run that a fit depends on, beside those that are searched."""
    rows = fields_of(run, "finetune.labels", *ROWS_READ_BY[run.cohort.level(task)])
    if MODELS[model].text:
        rows |= fields_of(run, "notes.fine_tune", "notes.max_tokens")
    if MODELS[model].is_floor:
        return rows
    if MODELS[model].embedders:
        return rows | model_fields(run, "fit")
    return rows | fields_of(run, "finetune") | model_fields(run, "fit")


def reads_targets(level: Level, model: str) -> bool:
    """True if the fit of a model on rows of this level trains on auxiliary targets."""
    entry = MODELS[model]
    return entry.reads_numbers and entry.has_network and level == "stay"


def read_data(run: Run, shards: OpenShards, task: Task, models: Iterable[str]) -> TaskData:
    """The rows of a task in all splits, with what these models read beside them.

    Refuses what ``read_task`` refuses, and auxiliary targets of other shards.
    """
    models, level = tuple(models), run.cohort.level(task)
    data = read_task(shards, task, run.cohort, run.model, notes_read(run, level, models))
    if any(reads_targets(level, model) for model in models):
        data = with_targets(data, open_targets(Folder(run.out), shards))
    return data


_fingerprint = functools.cache(check_trainable)

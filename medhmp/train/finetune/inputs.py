"""Outputs of earlier jobs that a fit reads: the shards, the notes, the weights it begins from."""

import functools
from collections.abc import Iterable
from typing import Any, Final

from torch import Tensor

from medhmp.layout import STARTED_FROM, seeded
from medhmp.legend import LEVELS, Level, Start, Task
from medhmp.model.catalog import MODELS
from medhmp.notes.encoder import check_trainable, load_trainable
from medhmp.run import Notes, Run, fields_of
from medhmp.shards.manifest import OpenShards
from medhmp.shards.row_notes import NotesRead
from medhmp.storage import Folder
from medhmp.train.checkpoint import PATIENTS, pretrained, read_weights
from medhmp.train.objective import model_fields
from medhmp.train.pretrain.stage import Stage, stage_of

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
        if family := entry.text_read(notes.fine_tune):
            inputs[f"notes.{family}"] = _fingerprint(getattr(notes, family), family)
        if LEVELS[task] == "admission" or entry.vectors_read(notes.fine_tune):
            inputs["note_embeddings"] = self._shards.note_embeddings.fingerprint
        if start != "none":
            inputs |= {seeded("start", number): self._start(start, number) for number in numbers}
        return inputs

    def weights(self, start: Start, number: int) -> dict[str, Tensor] | None:
        """The tensors of a start's pretraining of this number; None for *none*."""
        if start == "none":
            return None
        stage = self._stage(start, number)
        return read_weights(Folder(stage.folder), stage.name)

    def _stage(self, start: Start, number: int) -> Stage:
        return stage_of(self._run, self._shards, STARTED_FROM[start], number)

    def _fingerprint_of(self, start: Start, number: int) -> str:
        stage, patients = self._stage(start, number), fields_of(self._run, *PATIENTS)
        return pretrained(Folder(stage.folder), stage.name, self._shards.fingerprint, patients)


def fit_fields(run: Run, task: Task, model: str) -> dict[str, Any]:
    """The fields of a run that a fit depends on, beside those that are searched."""
    rows = fields_of(run, "finetune.labels", *ROWS_READ_BY[LEVELS[task]])
    if MODELS[model].text:
        rows |= fields_of(run, "notes.fine_tune", "notes.max_tokens")
    if not MODELS[model].is_network:
        return rows
    return rows | fields_of(run, "finetune") | model_fields(run, "fit")


def notes_read(run: Run, task: Task, models: Iterable[str]) -> NotesRead | None:
    """What the models of a task read of notes; None where they read none."""
    entries = [MODELS[model] for model in models if LEVELS[task] in MODELS[model].builders]
    fine_tune = run.notes.fine_tune
    families = {family for entry in entries if (family := entry.text_read(fine_tune))}
    vectors = any(entry.vectors_read(fine_tune) for entry in entries)
    if not families and not vectors:
        return None
    encoders = {family: _encoder(getattr(run.notes, family), family) for family in sorted(families)}
    return NotesRead(vectors, encoders, run.notes.max_tokens)


_encoder = functools.cache(load_trainable)
_fingerprint = functools.cache(check_trainable)

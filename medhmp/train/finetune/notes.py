"""What models read of notes, apart from other inputs of a fit: a loaded model has no Ray."""

import functools
from collections.abc import Iterable

from medhmp.legend import Level
from medhmp.model.catalog import MODELS
from medhmp.notes.encoder import load_trainable
from medhmp.run import Run
from medhmp.shards.row_notes import NotesRead


def notes_read(run: Run, level: Level, models: Iterable[str]) -> NotesRead | None:
    """What the models of a task of this level read of notes; None where they read none."""
    entries = [MODELS[model] for model in models if level in MODELS[model].builders]
    fine_tune = run.notes.fine_tune
    families = {family for entry in entries if (family := entry.text_read(fine_tune))}
    vectors = any(entry.vectors_read(fine_tune) for entry in entries)
    if not families and not vectors:
        return None
    encoders = {family: _encoder(getattr(run.notes, family), family) for family in sorted(families)}
    return NotesRead(vectors, encoders, run.notes.max_tokens)


_encoder = functools.cache(load_trainable)

"""Embeds the discharge notes with a frozen T5 or BERT encoder, then deletes their text.

    python -m jobs.embed_notes smoke --out runs/demo
    python -m jobs.embed_notes paper --out s3://bucket/run --notes.model s3://bucket/clinical-t5

Reads   OUT/shards/notes/*.parquet (hadm_id, note_hash, text)
Writes  OUT/shards/note_embeddings/*.parquet (hadm_id, embedding float32[E]), by hadm_id
Deletes OUT/shards/notes/ unless --notes.keep-text

One actor per GPU of the cluster, or per CPU where there is none. A text that several admissions
share is embedded once. The driver holds the vectors (3 kB a note) and never a text. Their width E
is the encoder's, 768 without one, and pretraining takes it from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run, fields_of

if TYPE_CHECKING:
    from medhmp.storage import Folder, Stamp

READS: Final = ("out", "overwrite", "quiet", "private", "notes")
"""Sections and fields of a run that this job reads."""


def embed_notes(run: Run) -> None:
    """Embeds the notes of a run and publishes their vectors. Ray must be initialized."""
    from medhmp.layout import NOTE_EMBEDDINGS, NOTE_WIDTH_FIELD, NOTES
    from medhmp.legend import NOTE_WIDTH
    from medhmp.notes.embed import write_embeddings
    from medhmp.notes.encoder import check_encoder, width_of
    from medhmp.replacing import move_in
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import COMPLETE, Stamp, made_elsewhere, opened, publish

    shards, progress = open_shards(run), Progress(run.quiet)
    notes, out = shards.folder / NOTES, shards.folder / NOTE_EMBEDDINGS
    fields, width = fields_of(run, "notes.model", "notes.max_tokens"), width_of(run.notes.model)
    if width != NOTE_WIDTH:
        fields[NOTE_WIDTH_FIELD] = width
    stamp = Stamp(
        fields=fields,
        inputs={
            "shards": shards.fingerprint,
            "notes.model": check_encoder(run.notes.model),
        },
    )
    room = _room(notes, out, stamp, shards.manifest.notes, run.overwrite)
    if room is None:
        progress.say(f"notes: {out} is whole{made_elsewhere(out)}; skipped")
    else:
        # The folder of a run without notes may be deleted already.
        is_gone = not shards.manifest.notes and not notes.exists(COMPLETE)
        text = None if is_gone else opened(notes, "featurize")
        entries = write_embeddings(text, room, run.notes, run.shards.row_group, progress)
        publish(room, stamp, entries)
        move_in(out)
        progress.say(f"notes: vectors in {out}")
    if not run.notes.keep_text:
        notes.remove()


def _room(
    notes: Folder, out: Folder, stamp: Stamp, expected: int, overwrite: bool
) -> Folder | None:
    """As ``room_for``, but keeps vectors whose text is gone: none could be made again."""
    from medhmp.replacing import room_for

    if not expected or notes.names():
        return room_for(out, stamp, overwrite)
    try:
        if room_for(out, stamp) is None:
            return None
    except Refusal:
        if not overwrite:
            raise
    raise Refusal(
        f"{notes} is gone, as text is deleted once it is embedded, so {out} cannot be made again; "
        "remove the shards and run jobs.featurize first, and keep the text with --notes.keep-text"
    )


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, embed_notes, READS)


if __name__ == "__main__":
    main()

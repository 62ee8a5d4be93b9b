"""The notes of labelled rows: their frozen vectors, or the tokens of their text.

A stay has the note of its admission. The text is in ``notes/`` until it is embedded; it is cut into
tokens here and kept nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medhmp.arrays import Ints
from medhmp.layout import NOTES
from medhmp.legend import TextFamily
from medhmp.notes.encoder import Encoder, chunk
from medhmp.refusal import Refusal
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.manifest import OpenShards
from medhmp.shards.note_vectors import read_notes
from medhmp.shards.rows import RowNotes
from medhmp.storage import opened


@dataclass(frozen=True)
class NotesRead:
    """What models read of notes."""

    vectors: bool = False  # the frozen vectors
    encoders: Mapping[TextFamily, Encoder] = field(default_factory=dict)  # cut the text into tokens
    max_tokens: int = 512  # of a text, as ``notes.max_tokens``; what is longer loses its end


def read_row_notes(shards: OpenShards, hadm: Ints, notes: NotesRead) -> RowNotes:
    """The notes of the admissions ``hadm`` (n), in their order; one may come several times.

    An admission without a note has no vector, and an empty text.

    Raises:
        Refusal: text is read and the shards have none, or no longer.
    """
    vectors = read_notes(shards.note_embeddings, hadm).of(hadm) if notes.vectors else None
    tokens: dict[str, Csr] = {}
    if notes.encoders:
        check_text(shards)
    for family, encoder in notes.encoders.items():
        tokens[family] = _tokens(shards, hadm, encoder, notes.max_tokens)
    return RowNotes(vectors, tokens)


def check_text(shards: OpenShards) -> None:
    """Refuses shards without the text of their notes."""
    folder = shards.folder / NOTES
    if not shards.manifest.notes:
        raise Refusal(
            f"{shards.folder} has no notes, whose text a model of this run reads; leave it out, "
            "or featurize tables that have notes"
        )
    if not any(name.endswith(".parquet") for name in folder.names()):
        raise Refusal(
            f"{folder} is gone, as text is deleted once it is embedded, and a model of this run "
            f"reads it; remove {shards.folder}, which jobs.featurize makes again, and run "
            "jobs.embed_notes with --notes.keep-text"
        )


def _tokens(shards: OpenShards, hadm: Ints, encoder: Encoder, max_tokens: int) -> Csr:
    """The first tokens of each row's text, opened and closed as the encoder knows a text."""
    most = encoder.tokens_per_chunk(max_tokens)
    known, place = np.unique(hadm, return_inverse=True)
    ids = [np.array(chunk((), most, encoder.end, encoder.begin)[0], np.int64)] * len(known)
    text = opened(shards.folder / NOTES, "featurize")
    for name in text.files:
        with text.open(name) as source:
            file = pq.ParquetFile(source)
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, ["hadm_id", "text"])
                rows = rows.filter(pc.is_in(rows["hadm_id"], pa.array(known)))
                for at, cut in zip(
                    np.searchsorted(known, rows["hadm_id"].to_numpy()),
                    _cut(encoder, rows["text"].to_pylist(), most, f"{text.folder}/{name}"),
                    strict=True,
                ):
                    ids[at] = np.array(cut, np.int64)
    lengths = np.array([len(of) for of in ids], np.int64)
    every = np.concatenate(ids) if ids else np.zeros(0, np.int64)
    return Csr(from_lengths(lengths), every).take(place)


def _cut(encoder: Encoder, texts: list[str], most: int, place: str) -> list[list[int]]:
    try:
        coded = encoder.tokenize(texts) if texts else []
    except Exception as error:  # its message may hold a note
        raise RuntimeError(f"reading {place} failed: {type(error).__name__}") from None
    return [chunk(ids, most, encoder.end, encoder.begin)[0] for ids in coded]

"""The notes of a run embedded by a pool of actors, and their vectors written in order of hadm_id.

A note's text stays inside the actor that reads it: no log, no error and no message to the driver
holds it. The driver holds the vectors, 3 kB a note.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch

from medhmp.arrays import Floats32
from medhmp.frames import frame_of
from medhmp.layout import note_embedding_columns
from medhmp.legend import NOTE_WIDTH
from medhmp.notes.encoder import embed, load_encoder
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Notes
from medhmp.storage import Entry, Folder, Output

NOTES_PER_PIECE: Final = 512
ROWS_PER_FILE: Final = 1 << 16
"""Vectors of a file, 200 MB."""
INDEX: Final = {
    "hadm_id": pl.Int64,
    "note_hash": pl.String,
    "file": pl.String,
    "row_group": pl.Int64,
    "row": pl.Int64,
}


@dataclass(frozen=True)
class Piece:
    """The notes that an actor embeds at a time: ``rows`` of one row group."""

    file: str
    row_group: int
    rows: Sequence[int]


def write_embeddings(
    notes: Output | None, out: Folder, settings: Notes, row_group: int, progress: Progress
) -> list[Entry]:
    """Embeds all notes of a folder; a text that several admissions share, once.

    Args:
        notes: files of ``NOTE_COLUMNS``, as published; None: there are none.
        out: gets files of ``note_embedding_columns``, by hadm_id; without notes, one of no rows.
        settings: the encoder.
        row_group: rows of a row group.
        progress: is told how far the work is.

    Returns:
        The entries of the files.
    """
    index = read_index(notes) if notes else pl.DataFrame(schema=INDEX)
    width = _try(settings, progress)
    if settings.model is None and len(index):
        progress.say("notes: without notes.model, the vectors of a tiny random T5 carry little")
    unique = index.unique("note_hash", keep="first", maintain_order=True)
    vectors = np.empty((len(unique), width), np.float32)
    if notes:
        _embed_into(vectors, notes, settings, unique, progress)
    slot = unique.select("note_hash").with_row_index("slot")
    rows = index.join(slot, on="note_hash").sort("hadm_id").select("hadm_id", "slot")
    if len(rows):
        progress.say(f"notes: {len(rows):,}, {len(unique):,} different")
    else:
        progress.say("notes: this run has none; going on without")
    starts = range(0, max(len(rows), 1), ROWS_PER_FILE)
    return [_write(out, at, rows, vectors, row_group) for at in starts]


def read_index(notes: Output) -> pl.DataFrame:
    """Locates each note: hadm_id, note_hash, file, row_group and row within it. Reads no text."""
    parts = [pl.DataFrame(schema=INDEX)]
    for name in (n for n in notes.files if n.endswith(".parquet")):
        with notes.open(name) as source:
            file = pq.ParquetFile(source)
            for group in range(file.num_row_groups):
                ids = frame_of(file.read_row_group(group, ["hadm_id", "note_hash"]))
                where = {"file": pl.lit(name), "row_group": pl.lit(group, pl.Int64)}
                row = pl.int_range(pl.len(), dtype=pl.Int64).alias("row")
                parts.append(ids.with_columns(row, **where).select(*INDEX))
    return pl.concat(parts)


def _try(settings: Notes, progress: Progress) -> int:
    """Loads the encoder and returns its width, as a refusal from an actor reaches no user."""
    if settings.model is None:
        return NOTE_WIDTH
    encoder = load_encoder(settings.model)
    tokens = encoder.tokens_per_chunk(settings.max_tokens)
    if tokens < settings.max_tokens:
        progress.say(f"notes: chunks of {tokens} tokens, which is all that notes.model takes")
    if encoder.remark:
        progress.say(f"notes: {encoder.remark}")
    return encoder.width


def _embed_into(
    vectors: Floats32, notes: Output, settings: Notes, unique: pl.DataFrame, progress: Progress
) -> None:
    """Computes the vectors (U, E) of the U different notes."""
    slot = {note_hash: at for at, note_hash in enumerate(unique["note_hash"])}
    done, start = 0, time.perf_counter()
    for embedded in _embedded(notes, settings, list(_pieces(unique))):
        at = [slot[note_hash] for note_hash in embedded["note_hash"].to_pylist()]
        flat = embedded["embedding"].combine_chunks().flatten().to_numpy()
        vectors[at] = flat.reshape(-1, vectors.shape[1])
        done += len(at)
        if progress.is_watched:
            rate = done / (time.perf_counter() - start)
            left = f"{(len(unique) - done) / rate:,.0f} s left"
            progress.say(f"notes: {done:,} of {len(unique):,}, {rate:,.0f}/s, {left}")


def _pieces(unique: pl.DataFrame) -> Iterator[Piece]:
    """Cuts the work into pieces. They, and so the bytes, depend on the notes alone."""
    for (file, group), part in unique.group_by(["file", "row_group"], maintain_order=True):
        rows = part["row"].to_list()
        for at in range(0, len(rows), NOTES_PER_PIECE):
            yield Piece(str(file), int(group), rows[at : at + NOTES_PER_PIECE])


def _embedded(notes: Output, settings: Notes, pieces: Sequence[Piece]) -> Iterator[pa.Table]:
    """Yields the result of ``Embedder.embed`` for each piece, as they come.

    The pool has an actor for each GPU of the cluster, or for each CPU where there is none. An actor
    that is ready gets the next piece, so no piece waits for an actor that has no room yet. The
    actor of a lost node starts again on another, with its piece. One without a next piece ends,
    which makes room.
    """
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    actor = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=-1, max_task_retries=-1)(
        Embedder
    )
    begun: dict[Any, Any] = {}
    for _ in range(min(len(pieces), gpus or max(1, int(resources.get("CPU", 1))))):
        embedder = actor.remote(notes, settings)
        begun[embedder.__ray_ready__.remote()] = embedder
    next_pieces, missing = iter(pieces), len(pieces)
    while missing:
        (ended,), _ = ray.wait(list(begun))
        embedder, result = begun.pop(ended), ray.get(ended)
        if piece := next(next_pieces, None):
            begun[embedder.embed.remote(piece)] = embedder
        del embedder  # the last reference of one without a next piece, which ends it
        if isinstance(result, pa.Table):
            missing -= 1
            yield result


class Embedder:
    """An actor with an encoder.

    Its results depend on the piece alone, so the number of actors leaves no trace.
    """

    def __init__(self, notes: Output, settings: Notes) -> None:
        self._notes, self._settings = notes, settings
        self._encoder = load_encoder(settings.model)
        if torch.cuda.is_available():
            self._encoder.model.to("cuda")

    def embed(self, piece: Piece) -> pa.Table:
        """Table of ``note_hash`` and ``embedding`` (E) of the piece's rows."""
        try:
            with self._notes.open(piece.file) as source:
                file = pq.ParquetFile(source)
                group = file.read_row_group(piece.row_group, ["note_hash", "text"])
            picked = group.take(piece.rows)
            vectors = embed(self._encoder, picked["text"].to_pylist(), self._settings)
        except Refusal:  # of a file that has changed
            raise
        except Exception as error:  # its text or arguments may hold a note
            where = _where(error)
            raise RuntimeError(f"embedding the notes of {piece.file} failed: {where}") from None
        return pa.table({"note_hash": picked["note_hash"], "embedding": _as_lists(vectors)})


def _write(out: Folder, at: int, rows: pl.DataFrame, vectors: Floats32, row_group: int) -> Entry:
    part = rows.slice(at, ROWS_PER_FILE)
    columns = [pa.array(part["hadm_id"].to_numpy()), _as_lists(vectors[part["slot"].to_numpy()])]
    table = pa.Table.from_arrays(columns, schema=note_embedding_columns(vectors.shape[1]))
    name = f"part-{at // ROWS_PER_FILE:05}.parquet"
    # Random mantissas gain nothing from a dictionary.
    return out.write_parquet(name, table, row_group_size=row_group, use_dictionary=False)


def _as_lists(vectors: Floats32) -> pa.Array:
    """Converts vectors (N, E) to a column of ``note_embedding_columns``."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def _where(error: BaseException) -> str:
    """Class of an error and the line that raised it, without its message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown line"
    return f"{type(error).__name__} at {place}"

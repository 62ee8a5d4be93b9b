"""The text of discharge notes, in files of their own that embedding reads and then deletes.

Only their owner can read the files. No log and no error holds the text.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.frames import frame_of
from medhmp.layout import NOTE_COLUMNS
from medhmp.storage import Entry, Folder
from medhmp.tables.schema import Source

PER_GROUP: Final = 1024
"""Notes of a row group."""
PER_FILE: Final = 8 * PER_GROUP
"""Notes of a file, some 80 MB of text: as many are in memory at a time."""


def write_notes(
    sources: Sequence[Source], admissions: pl.DataFrame, folder: Folder
) -> tuple[list[Entry], dict[str, int], dict[str, dict[str, int]]]:
    """Writes the notes of some admissions as files of ``NOTE_COLUMNS``.

    Args:
        sources: read one after the other.
        admissions: (source, hadm_id) the admissions whose notes are kept.
        folder: where the files go.

    Returns:
        The entries of the files; the notes written of each source; its counts of rows read, which
        reading the notes has added to.
    """
    if folder.is_local:
        os.makedirs(folder.path(), mode=0o700, exist_ok=True)
    entries, counts = [], dict.fromkeys((source.name for source in sources), 0)
    for number, table in enumerate(_tables(_read(sources, admissions, counts))):
        name = f"part-{number:05}.parquet"
        entries.append(folder.write_parquet(name, table, row_group_size=PER_GROUP))
        if folder.is_local:
            os.chmod(folder.path(name), 0o600)
    return entries, counts, {source.name: source.counts for source in sources}


def _read(
    sources: Sequence[Source], admissions: pl.DataFrame, counts: dict[str, int]
) -> Iterator[pl.DataFrame]:
    for source in sources:
        own = admissions.filter(pl.col("source") == source.name).select("hadm_id")
        for batch in source.notes():
            kept = frame_of(batch).drop_nulls("text").join(own, on="hadm_id", how="semi")
            counts[source.name] += kept.height
            yield kept


def _tables(notes: Iterator[pl.DataFrame]) -> Iterator[pa.Table]:
    """Cuts the rows into tables of ``PER_FILE`` rows, the last one shorter."""
    held: list[pl.DataFrame] = []
    for frame in notes:
        held.append(frame)
        while sum(f.height for f in held) >= PER_FILE:
            rows = pl.concat(held)
            yield _table(rows.head(PER_FILE))
            held = [rows.slice(PER_FILE)]
    rows = pl.concat(held) if held else pl.DataFrame()
    if rows.height:
        yield _table(rows)


def _table(rows: pl.DataFrame) -> pa.Table:
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in rows["text"]]
    frame = rows.with_columns(note_hash=pl.Series(hashes)).select(NOTE_COLUMNS.names)
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(NOTE_COLUMNS).combine_chunks()

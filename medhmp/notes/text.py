"""The discharge notes, apart from the shards: files that embedding reads and then deletes.

Readable by their owner only. Their text is in no log and no error.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa

from medhmp.shards import schema
from medhmp.storage import Entry, Folder
from medhmp.tables.schema import Source

PER_GROUP: Final = 1024
PER_FILE: Final = 8 * PER_GROUP
"""Some 80 MB of text: what is held at a time."""


def write_notes(
    sources: Sequence[Source], admissions: pl.DataFrame, folder: Folder
) -> tuple[list[Entry], dict[str, int], dict[str, dict[str, int]]]:
    """Writes ``schema.NOTES`` of these admissions; entries, and per source notes and counts."""
    if folder.is_local:
        os.makedirs(folder.resolve()[1], mode=0o700, exist_ok=True)
    entries, counts = [], dict.fromkeys((source.name for source in sources), 0)
    for number, table in enumerate(_tables(_read(sources, admissions, counts))):
        name = f"part-{number:05}.parquet"
        entries.append(folder.write_parquet(name, table, row_group_size=PER_GROUP))
        if folder.is_local:
            os.chmod(folder.resolve(name)[1], 0o600)
    return entries, counts, {source.name: source.counts for source in sources}


def _read(
    sources: Sequence[Source], admissions: pl.DataFrame, counts: dict[str, int]
) -> Iterator[pl.DataFrame]:
    for source in sources:
        own = admissions.filter(pl.col("source") == source.name).select("hadm_id")
        for batch in source.notes():
            frame: Any = pl.from_arrow(batch)
            kept = frame.drop_nulls("text").join(own, on="hadm_id", how="semi")
            counts[source.name] += kept.height
            yield kept


def _tables(notes: Iterator[pl.DataFrame]) -> Iterator[pa.Table]:
    """The same rows as tables of ``PER_FILE`` rows, the last one shorter."""
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
    frame = rows.with_columns(note_hash=pl.Series(hashes)).select(schema.NOTES.names)
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(schema.NOTES).combine_chunks()

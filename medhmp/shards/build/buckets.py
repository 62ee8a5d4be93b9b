"""Events of every source, streamed into one Parquet file per patient bucket."""

import functools
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from medhmp.frames import frame_of
from medhmp.shards.build.index import Index
from medhmp.shards.build.journal import Journal
from medhmp.shards.build.pool import SPOKEN, Pool
from medhmp.storage import Folder
from medhmp.tables.schema import Source

EVENTS: Final = pa.schema(
    {
        "id": pa.int64(),  # place of the stay in the order of the shards
        "t": pa.float64(),
        "variable": pa.string(),
        "number": pa.float64(),
        "text": pa.string(),
        "repeats": pa.string(),
    }
)
HELD: Final = 1 << 19
"""Rows that wait in memory for their files, so that row groups are long with many buckets too."""


@dataclass(frozen=True)
class Bucket:
    """The intermediate files of one bucket: a file ``name`` in each folder below ``work``."""

    work: Folder
    number: int
    parts: tuple[str, ...] = ()  # folders with its events, in the order of sources and streams

    @property
    def name(self) -> str:
        return file_name(self.number)

    def events(self) -> pl.DataFrame:
        """Reads ``EVENTS`` of all sources, each in the order it was read."""
        empty = frame_of(EVENTS.empty_table())
        return pl.concat([empty, *(self.read(part) for part in self.parts)])

    def read(self, folder: str) -> pl.DataFrame:
        """Reads the bucket's file in a folder."""
        return frame_of((self.work / folder).read_parquet(self.name))

    def write(self, folder: str, table: pa.Table) -> int:
        """Writes the bucket's file in a folder; returns its rows."""
        (self.work / folder).write_parquet(self.name, table)
        return int(table.num_rows)


def file_name(bucket: int) -> str:
    return f"{bucket:05}.parquet"


@dataclass(frozen=True)
class StreamRead:
    """The results of reading one stream, beside the files of its events."""

    onsets: Mapping[str, list[Any]]  # stay_id, arf, shock
    counts: Mapping[str, int]  # those that it added
    rows: Mapping[str, int]  # number of a bucket that has any -> rows


@dataclass(frozen=True)
class SourceRead:
    """The results of reading all streams of one source."""

    onsets: pl.DataFrame  # as ``Source.onsets`` gives them
    counts: Mapping[str, int]
    events: int

    @staticmethod
    def of(source: Source, parts: Sequence[StreamRead]) -> "SourceRead":
        """Merges the results of the source's streams."""
        onset = {"stay_id": pl.Int64, "arf": pl.Float64, "shock": pl.Float64}
        shown = pl.concat(pl.DataFrame(dict(part.onsets), schema=onset) for part in parts)
        first = shown.group_by("stay_id").agg(pl.col("arf", "shock").min())
        onsets = source.stays.select("stay_id").join(
            first, on="stay_id", how="left", maintain_order="left"
        )
        counts = dict(source.counts)
        for part in parts:
            for name, n in part.counts.items():
                counts[name] = counts.get(name, 0) + n
        return SourceRead(onsets, counts, sum(sum(part.rows.values()) for part in parts))


def scatter(
    sources: Sequence[Source], index: Index, journal: Journal, pool: Pool, is_watched: bool
) -> tuple[dict[str, SourceRead], list[Bucket]]:
    """Writes the events of every stream of every source by bucket; a Ray task reads a stream."""
    of = {source.name: source for source in sources}
    places = {name: index.place_of(name) for name in of}
    items = [
        (name, stream, f"events/{name}/{number:03}")
        for name, source in of.items()
        for number, stream in enumerate(source.streams)
    ]
    one = functools.partial(_scatter_stream, of, places, journal.folder, is_watched)
    found = [StreamRead(**result) for result in journal.each("scatter", pool, one, items)]
    parts = [(part, stream) for (_, _, part), stream in zip(items, found, strict=True)]
    buckets = [
        Bucket(journal.folder, number, tuple(part for part, at in parts if str(number) in at.rows))
        for number in range(index.buckets)
    ]
    read: dict[str, list[StreamRead]] = {name: [] for name in of}
    for (name, _, _), result in zip(items, found, strict=True):
        read[name].append(result)
    return {name: SourceRead.of(of[name], streams) for name, streams in read.items()}, buckets


def _scatter_stream(
    sources: Mapping[str, Source],
    places: Mapping[str, pl.DataFrame],
    work: Folder,
    is_watched: bool,
    name: str,
    stream: str,
    part: str,
) -> dict[str, Any]:
    """Writes ``work/<part>/<bucket>.parquet``; returns the fields of ``StreamRead``.

    ``places`` of a source have the ``id`` and ``bucket`` of each ``stay_id``. Holds a block of the
    raw table and ``HELD`` rows at a time.
    """
    source, place = sources[name], places[name]
    begun = spoken = time.monotonic()
    before, rows = dict(source.counts), 0
    with ExitStack() as stack:
        files = _BucketFiles(work / part, stack)
        for batch in source.streams[stream]():
            events = frame_of(batch).rename({"hours": "t"})
            own = events.join(place, on="stay_id", maintain_order="left")
            files.add(own.select(*EVENTS.names, "bucket"))
            rows += own.height
            now = time.monotonic()
            if is_watched and now - spoken >= SPOKEN:
                spoken = now
                share = source.shares.get(stream)
                print(f"  {stream}: {progress(rows, now - begun, share)}", flush=True)
        files.flush()
    shown = source.onsets().filter(pl.any_horizontal(pl.col("arf", "shock").is_not_null()))
    added = {name: n - before.get(name, 0) for name, n in source.counts.items()}
    return {
        "onsets": shown.to_dict(as_series=False),
        "counts": {name: n for name, n in added.items() if n or name not in before},
        "rows": {str(number): n for number, n in files.rows.items()},
    }


def progress(rows: int, seconds: float, share: float | None) -> str:
    """Formats events read so far, their rate, and the time left if the share read is known."""
    left = f"  {seconds * (1 - share) / share:.0f} s left" if share else ""
    return f"{rows:,} events read  {rows / seconds:,.0f} rows/s{left}"


@dataclass
class _BucketFiles:
    """One Parquet file per bucket that has rows; closing the stack closes and so names them."""

    folder: Folder
    stack: ExitStack
    rows: dict[int, int] = field(default_factory=dict)
    writers: dict[int, pq.ParquetWriter] = field(default_factory=dict)
    held: list[pl.DataFrame] = field(default_factory=list)

    def add(self, frame: pl.DataFrame) -> None:
        self.held.append(frame)
        if sum(f.height for f in self.held) >= HELD:
            self.flush()

    def flush(self) -> None:
        if not self.held:
            return
        parts = pl.concat(self.held).partition_by("bucket", as_dict=True, include_key=False)
        self.held = []
        for (number,), part in parts.items():
            table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
            self._writer(number).write_table(table.cast(EVENTS))
            self.rows[number] = self.rows.get(number, 0) + part.height

    def _writer(self, number: int) -> pq.ParquetWriter:
        if number not in self.writers:
            sink = self.stack.enter_context(self.folder.create(file_name(number)))
            writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), EVENTS, compression="zstd")
            self.writers[number] = self.stack.enter_context(writer)
        return self.writers[number]

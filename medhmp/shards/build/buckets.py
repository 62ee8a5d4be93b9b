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

from medhmp.shards.build.index import Index
from medhmp.shards.build.journal import Work
from medhmp.shards.build.pool import SPOKEN, Tasks
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
"""Rows in memory before they go to their files: row groups are long, however many buckets."""


@dataclass(frozen=True)
class Bucket:
    """Where one bucket's intermediate files are: a file ``name`` in each folder below ``work``.

    ``parts`` are the folders with events of the bucket, in the order of sources and streams.
    """

    work: Folder
    number: int
    parts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return file_name(self.number)

    def events(self) -> pl.DataFrame:
        """``EVENTS`` of all sources, each in the order it was read."""
        empty = pl.from_arrow(EVENTS.empty_table())
        assert isinstance(empty, pl.DataFrame)
        return pl.concat([empty, *(self.read(part) for part in self.parts)])

    def read(self, folder: str) -> pl.DataFrame:
        frame = pl.from_arrow((self.work / folder).read_parquet(self.name))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def write(self, folder: str, table: pa.Table) -> int:
        """Writes the bucket's file; returns its rows."""
        (self.work / folder).write_parquet(self.name, table)
        return int(table.num_rows)


def file_name(bucket: int) -> str:
    return f"{bucket:05}.parquet"


@dataclass(frozen=True)
class Scattered:
    """What reading one stream taught: onsets that it shows, counts it added, rows per bucket."""

    onsets: Mapping[str, list[Any]]  # stay_id, arf, shock
    counts: Mapping[str, int]
    rows: Mapping[str, int]  # number of the bucket -> rows; those without any are left out


@dataclass(frozen=True)
class Read:
    """What reading one source taught beside its events."""

    onsets: pl.DataFrame
    counts: Mapping[str, int]
    events: int

    @staticmethod
    def of(source: Source, parts: Sequence[Scattered]) -> "Read":
        """What its streams taught together."""
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
        return Read(onsets, counts, sum(sum(part.rows.values()) for part in parts))


def scatter(
    sources: Sequence[Source], index: Index, work: Work, tasks: Tasks, show: bool
) -> tuple[dict[str, Read], list[Bucket]]:
    """Events of every stream of every source, by bucket; a task reads a stream."""
    of = {source.name: source for source in sources}
    places = {name: index.place_of(name) for name in of}
    items = [
        (name, stream, f"events/{name}/{number:03}")
        for name, source in of.items()
        for number, stream in enumerate(source.streams)
    ]
    one = functools.partial(_scatter_stream, of, places, work.folder, show)
    found = [Scattered(**result) for result in work.each("scatter", tasks, one, items)]
    parts = [(part, scattered) for (_, _, part), scattered in zip(items, found, strict=True)]
    buckets = [
        Bucket(work.folder, number, tuple(part for part, at in parts if str(number) in at.rows))
        for number in range(index.buckets)
    ]
    read: dict[str, list[Scattered]] = {name: [] for name in of}
    for (name, _, _), scattered in zip(items, found, strict=True):
        read[name].append(scattered)
    return {name: Read.of(of[name], streams) for name, streams in read.items()}, buckets


def _scatter_stream(
    sources: Mapping[str, Source],
    places: Mapping[str, pl.DataFrame],
    work: Folder,
    show: bool,
    name: str,
    stream: str,
    part: str,
) -> dict[str, Any]:
    """Writes ``work/<part>/<bucket>.parquet``; returns the fields of ``Scattered``.

    ``places`` say of each ``stay_id`` its ``id`` and ``bucket``. Holds a block of the raw table and
    ``HELD`` rows at a time.
    """
    source, place = sources[name], places[name]
    begun = spoken = time.monotonic()
    before, rows = dict(source.counts), 0
    with ExitStack() as stack:
        files = _Files(work / part, stack)
        for batch in source.streams[stream]():
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            own = frame.rename({"hours": "t"}).join(place, on="stay_id", maintain_order="left")
            files.add(own.select(*EVENTS.names, "bucket"))
            rows += own.height
            now = time.monotonic()
            if show and now - spoken >= SPOKEN:
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
    """Events read so far, their rate and, where the share of the file is known, the time left."""
    left = f"  {seconds * (1 - share) / share:.0f} s left" if share else ""
    return f"{rows:,} events read  {rows / seconds:,.0f} rows/s{left}"


@dataclass
class _Files:
    """One Parquet file per bucket that has rows; they are closed, and so named, by the stack."""

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

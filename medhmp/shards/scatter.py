"""Events of a source, streamed into one Parquet file per patient bucket."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from medhmp.shards.tasks import SPOKEN
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


@dataclass(frozen=True)
class Bucket:
    """Where one bucket's intermediate files are: a file ``name`` in each folder below ``work``."""

    work: Folder
    number: int
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.number:05}.parquet"

    def events(self) -> pl.DataFrame:
        """``EVENTS`` of all sources, each in the order it was read."""
        return pl.concat([self.read(f"events/{source}") for source in self.sources])

    def read(self, folder: str) -> pl.DataFrame:
        frame = pl.from_arrow((self.work / folder).read_parquet(self.name))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def write(self, folder: str, table: pa.Table) -> int:
        """Writes the bucket's file; returns its rows."""
        (self.work / folder).write_parquet(self.name, table)
        return int(table.num_rows)


def scatter(
    source: Source, stays: pl.DataFrame, work: Folder, buckets: int, show: bool
) -> tuple[pl.DataFrame, Mapping[str, int], int]:
    """Writes ``work/events/<source>/<bucket>.parquet``; holds a block of the raw tables at a time.

    ``stays`` says of each ``stay_id`` its ``id`` and ``bucket``. Returns the source's onsets, its
    counts of rows read and left out, and the number of events.
    """
    place = stays.filter(pl.col("source") == source.name).select("stay_id", "id", "bucket")
    folder, rows, begun = work / "events" / source.name, 0, time.monotonic()
    spoken = begun
    with ExitStack() as stack:
        writers = []
        for number in range(buckets):
            sink = stack.enter_context(folder.create(Bucket(work, number, ()).name))
            writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), EVENTS, compression="zstd")
            writers.append(stack.enter_context(writer))
        for batch in source.events():
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            own = frame.rename({"hours": "t"}).join(place, on="stay_id", maintain_order="left")
            for (number,), part in own.partition_by("bucket", as_dict=True).items():
                table = part.select(EVENTS.names).to_arrow(compat_level=pl.CompatLevel.oldest())
                writers[number].write_table(table.cast(EVENTS))
            rows += own.height
            now = time.monotonic()
            if show and now - spoken >= SPOKEN:  # how many are left, raw tables do not say
                spoken = now
                speed = rows / (now - begun)
                print(f"  {source.name}: {rows:,} events read  {speed:,.0f} rows/s", flush=True)
    return source.onsets(), dict(source.counts), rows

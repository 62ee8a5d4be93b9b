"""Shard files as a source of Ray Data: one read task per part of a file, of rows of some splits.

``ray.data.read_parquet`` would first sample files, in tasks of a whole CPU that other ranks may
hold, or start actors that read their footers. The manifest says all that already.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from medhmp.storage import Folder


@dataclass(frozen=True)
class Part:
    """Rows of a file, counted among those of the splits that are read."""

    name: str
    start: int
    stop: int  # behind the last

    @property
    def rows(self) -> int:
        return self.stop - self.start


def rows_in(parts: Iterable[Part]) -> int:
    """Rows of all parts together."""
    return sum(part.rows for part in parts)


class ShardFiles(Datasource):  # type: ignore[misc]
    """The rows of some splits and sources (none: of all), part after part; ``sha256`` is that of
    each file by its name."""

    def __init__(
        self,
        folder: Folder,
        parts: Sequence[Part],
        sha256: Mapping[str, str],
        splits: Sequence[str],
        sources: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._folder, self._parts = folder, parts
        self._kept = {"split": splits, **({"source": sources} if sources else {})}
        self._sha256 = {part.name: sha256[part.name] for part in parts}

    def estimate_inmemory_data_size(self) -> None:
        """Unknown; it decides nothing where the number of blocks is given."""

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        unknown = BlockMetadata(None, None, None, None)
        return [
            ReadTask(
                functools.partial(rows_of, self._folder, part, self._sha256[part.name], self._kept),
                unknown,
            )
            for part in self._parts
        ]


def rows_of(
    folder: Folder, part: Part, sha256: str, kept: Mapping[str, Sequence[str]]
) -> Iterator[pa.Table]:
    """Reads a part's rows that have in each column of ``kept`` one of its values, one row group
    after the other.

    Refuses a file of another SHA-256.
    """
    at = 0
    with folder.open_published(part.name, sha256) as source:
        file = pq.ParquetFile(source, pre_buffer=True)
        for group in range(file.num_row_groups):
            if at >= part.stop:
                return
            if at < part.start:  # of a group before the part a few columns tell enough
                rows = _kept(file.read_row_group(group, list(kept)), kept).num_rows
                if at + rows <= part.start:
                    at += rows
                    continue
            table = _kept(file.read_row_group(group), kept)
            start, stop = max(part.start - at, 0), min(part.stop - at, table.num_rows)
            at += table.num_rows
            yield table.slice(start, stop - start)


def _kept(table: pa.Table, kept: Mapping[str, Sequence[str]]) -> pa.Table:
    for column, values in kept.items():
        table = table.filter(pc.is_in(table[column], pa.array(values)))
    return table

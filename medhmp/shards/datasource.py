"""Shard files as a source of Ray Data: one read task per file, of the rows of some splits.

``ray.data.read_parquet`` would first sample files, in tasks of a whole CPU that other ranks may
hold, or start actors that read their footers. The manifest says all that already.
"""

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from medhmp.storage import ATTEMPTS, Folder


class ShardFiles(Datasource):  # type: ignore[misc]
    """The rows of some splits and sources (none: of all), in the order of ``files`` (name ->
    SHA-256) and of each file."""

    def __init__(
        self,
        folder: Folder,
        files: Mapping[str, str],
        splits: Sequence[str],
        sources: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._folder, self._files = folder, files
        self._kept = {"split": splits, **({"source": sources} if sources else {})}

    def estimate_inmemory_data_size(self) -> None:
        """Unknown; it decides nothing where the number of blocks is given."""

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        unknown = BlockMetadata(None, None, None, None)
        return [
            ReadTask(functools.partial(rows_of, self._folder, name, sha, self._kept), unknown)
            for name, sha in self._files.items()
        ]


def rows_of(
    folder: Folder, name: str, sha256: str, kept: Mapping[str, Sequence[str]]
) -> Iterator[pa.Table]:
    """Reads a file's rows that have in each column of ``kept`` one of its values, one row group
    after the other.

    A bucket that many ranks read from fails at times: reading then goes on at the same row group.
    Refuses a file of another SHA-256.
    """
    done = failed = 0
    while True:
        try:
            with folder.open_published(name, sha256) as source:
                file = pq.ParquetFile(source)
                for group in range(done, file.num_row_groups):
                    table = file.read_row_group(group)
                    for column, values in kept.items():
                        table = table.filter(pc.is_in(table[column], pa.array(values)))
                    yield table
                    done, failed = group + 1, 0
            return
        except OSError:
            failed += 1
            if folder.is_local or failed == ATTEMPTS:
                raise
            time.sleep(2**failed)

"""Shard files as a source of Ray Data: one read task per file, of the rows of some splits.

``ray.data.read_parquet`` would first sample files, in tasks of a whole CPU that other ranks may
hold, or start actors that read their footers. The manifest says all that already.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from medhmp.storage import Folder


class ShardFiles(Datasource):  # type: ignore[misc]
    """The rows of some splits, in the order of ``files`` (name -> SHA-256) and of each file."""

    def __init__(self, folder: Folder, files: Mapping[str, str], splits: Sequence[str]) -> None:
        super().__init__()
        self._folder, self._files, self._splits = folder, files, splits

    def estimate_inmemory_data_size(self) -> None:
        """Unknown; it decides nothing where the number of blocks is given."""

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        unknown = BlockMetadata(None, None, None, None)
        return [
            ReadTask(functools.partial(rows_of, self._folder, name, sha, self._splits), unknown)
            for name, sha in self._files.items()
        ]


def rows_of(folder: Folder, name: str, sha256: str, splits: Sequence[str]) -> Iterator[pa.Table]:
    """Reads a file's rows of some splits, one row group after the other.

    Refuses a file of another SHA-256.
    """
    with folder.open_published(name, sha256) as source:
        file = pq.ParquetFile(source, pre_buffer=True)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            yield table.filter(pc.is_in(table["split"], pa.array(splits)))

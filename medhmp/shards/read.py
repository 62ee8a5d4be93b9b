"""Shard files as a source of Ray Data: a reader for each file, of the rows that are wanted.

``ray.data.read_parquet`` would first sample files, in tasks of a whole CPU that other ranks may
hold, or start actors for their footers: of our files the manifest has told all that before.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from medhmp.storage import Folder


class Files(Datasource):  # type: ignore[misc]
    """The rows of some splits, in the order of ``names`` and of each file."""

    def __init__(self, folder: Folder, names: Sequence[str], splits: Sequence[str]) -> None:
        self._folder, self._names, self._splits = folder, names, splits

    def estimate_inmemory_data_size(self) -> None:
        """Not known, and nothing asks for it: the number of readers is given."""

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        unknown = BlockMetadata(None, None, None, None)
        return [
            ReadTask(functools.partial(_rows, self._folder, name, self._splits), unknown)
            for name in self._names
        ]


def _rows(folder: Folder, name: str, splits: Sequence[str]) -> Iterator[pa.Table]:
    """A row group after the other, so that no reader holds a whole file."""
    with folder.open(name) as source:
        file = pq.ParquetFile(source)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            yield table.filter(pc.is_in(table["split"], pa.array(splits)))

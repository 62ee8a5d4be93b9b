"""Shard files as a source of Ray Data: one read task per file, of the rows of some splits.

``ray.data.read_parquet`` would first sample files, in tasks of a whole CPU that other ranks may
hold, or start actors that read their footers. The manifest says all that already.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from medhmp.shards.row_groups import rows_of
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
        wanted = pa.array(self._splits)
        return [
            ReadTask(functools.partial(rows_of, self._folder, name, sha, "split", wanted), unknown)
            for name, sha in self._files.items()
        ]

"""A shard file read row group by row group, so that not all of it is in memory."""

import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medhmp.storage import ATTEMPTS, Folder


def rows_of(
    folder: Folder, name: str, sha256: str, column: str, wanted: pa.Array | None
) -> Iterator[pa.Table]:
    """Reads a file's rows whose ``column`` is among ``wanted``, one row group after the other.

    ``wanted`` None: all rows.

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
                    yield table if wanted is None else _kept(table, column, wanted)
                    done, failed = group + 1, 0
            return
        except OSError:
            failed += 1
            if folder.is_local or failed == ATTEMPTS:
                raise
            time.sleep(2**failed)


def _kept(table: pa.Table, column: str, wanted: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table[column], wanted))

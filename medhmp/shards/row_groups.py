"""A shard file read row group by row group, so that not all of it is in memory."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medhmp.storage import Folder


def filtered(
    folder: Folder, name: str, sha256: str, column: str, wanted: pa.Array | None
) -> Iterator[pa.Table]:
    """Yields a file's rows whose ``column`` is among ``wanted`` (none: all), in their order.

    Refuses a file of another SHA-256.
    """
    with folder.open_published(name, sha256) as source:
        file = pq.ParquetFile(source, pre_buffer=True)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            yield table if wanted is None else table.filter(pc.is_in(table[column], wanted))

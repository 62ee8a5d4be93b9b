"""A patient's split, and the order of rows: hashes of subject_id and a salt.

Nothing else decides them. So a patient keeps the split whatever else is in the tables, and rows
come in the same order whoever writes them.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from medhmp.arrays import Ints
from medhmp.frames import frame_of
from medhmp.legend import SPLITS
from medhmp.refusal import Refusal
from medhmp.run import Splits
from medhmp.shards.manifest import OpenShards

SPLIT_COLUMNS: Final = ("subject_id", "split")
_UNIT: Final = 2.0**-64


def order_key(subject_ids: Iterable[int], salt: str) -> npt.NDArray[np.uint64]:
    """Hashes each patient to the 64 bits by which rows ascend."""
    return _hashed(subject_ids, salt, b"order")


def split_of(subject_ids: Iterable[int], splits: Splits) -> list[str]:
    """Assigns each patient the split in whose share a hash in [0, 1) falls."""
    place = _hashed(subject_ids, splits.salt, b"split") * _UNIT
    bounds = np.cumsum([splits.train, splits.validation])
    return [SPLITS[i] for i in np.searchsorted(bounds, place, side="right")]


def bucket_of(keys: npt.NDArray[np.uint64], buckets: int) -> Ints:
    """Assigns each order key to one of ``buckets`` contiguous ranges of equal width."""
    return np.minimum((keys * _UNIT * buckets).astype(np.int64), buckets - 1)


def splits_in(shards: OpenShards, table: str) -> pl.DataFrame:
    """Reads ``subject_id`` and ``split`` of every row of a shard table."""
    folder, files = shards.folder / table, shards.manifest.tables[table]
    columns = [folder.read_parquet(name, list(SPLIT_COLUMNS)) for name in files]
    return _pairs(pa.concat_tables(columns))


def assert_disjoint(*tables: pl.DataFrame | pa.Table) -> None:
    """Refuses tables (``subject_id``, ``split``) that put one patient into two splits."""
    pairs = pl.concat([_pairs(table) for table in tables]).unique()
    shared = len(pairs) - pairs["subject_id"].n_unique()
    if shared:
        raise Refusal(
            f"{shared} patients are in more than one split; "
            "run jobs.featurize again with --overwrite"
        )


def _pairs(table: pl.DataFrame | pa.Table) -> pl.DataFrame:
    pairs = table.select(SPLIT_COLUMNS)  # before the rest of a table is converted for nothing
    return frame_of(pairs) if isinstance(pairs, pa.Table) else pairs


def _hashed(subject_ids: Iterable[int], salt: str, purpose: bytes) -> npt.NDArray[np.uint64]:
    digests = (
        hashlib.blake2b(f"{salt}:{subject}".encode(), digest_size=8, person=purpose).digest()
        for subject in subject_ids
    )
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)

"""Who lands where: a patient's split, and the order of rows, are hashes of subject_id and a salt.

Nothing else counts, so a patient keeps the split whatever else is in the tables, and rows come in
the same order whoever writes them.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from medhmp.legend import SPLITS
from medhmp.refusal import Refusal
from medhmp.run import Splits
from medhmp.shards.manifest import Manifest
from medhmp.storage import Folder

SPLIT_COLUMNS: Final = ("subject_id", "split")
_UNIT: Final = 2.0**-64


def order_key(subject_ids: Iterable[int], salt: str) -> npt.NDArray[np.uint64]:
    """64 hashed bits per patient; rows ascend by them."""
    return _hashed(subject_ids, salt, b"order")


def split_of(subject_ids: Iterable[int], splits: Splits) -> list[str]:
    """The split of each patient: where a hash in [0, 1) falls among the shares."""
    place = _hashed(subject_ids, splits.salt, b"split") * _UNIT
    bounds = np.cumsum([splits.train, splits.validation])
    return [SPLITS[i] for i in np.searchsorted(bounds, place, side="right")]


def bucket_of(keys: npt.NDArray[np.uint64], buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each order key: ``buckets`` contiguous ranges of equal width."""
    return np.minimum((keys * _UNIT * buckets).astype(np.int64), buckets - 1)


def splits_in(shards: Folder, manifest: Manifest, table: str) -> pl.DataFrame:
    """``subject_id`` and ``split`` of every row of a shard table."""
    files = [
        (shards / table).read_parquet(name, list(SPLIT_COLUMNS)) for name in manifest.tables[table]
    ]
    return _pairs(pa.concat_tables(files))


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
    frame = pl.from_arrow(pairs) if isinstance(pairs, pa.Table) else pairs
    assert isinstance(frame, pl.DataFrame)
    return frame


def _hashed(subject_ids: Iterable[int], salt: str, purpose: bytes) -> npt.NDArray[np.uint64]:
    digests = (
        hashlib.blake2b(f"{salt}:{subject}".encode(), digest_size=8, person=purpose).digest()
        for subject in subject_ids
    )
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)

"""A patient's split, and the order of rows: hashes of subject_id and a salt.

Nothing else decides them. So a patient keeps the split whatever else is in the tables, and rows
come in the same order whoever writes them.
"""

import hashlib
import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from medhmp.arrays import Floats, Ints
from medhmp.frames import frame_of
from medhmp.legend import SPLITS
from medhmp.refusal import Refusal
from medhmp.run import Splits
from medhmp.shards.manifest import OpenShards

SPLIT_COLUMNS: Final = ("subject_id", "split")
_UNIT: Final = 2.0**-64
Group = tuple[Floats, Collection[str]]
"""Draws (n,) of patients, and the splits in which others, of a source's own splits, are."""


def order_key(subject_ids: Iterable[int], salt: str) -> npt.NDArray[np.uint64]:
    """Hashes each patient to the 64 bits by which rows ascend."""
    return _hashed(subject_ids, salt, b"order")


def split_of(subject_ids: Iterable[int], splits: Splits) -> list[str]:
    """Assigns each patient the split in whose share a hash in [0, 1) falls.

    Of folds, which are equal shares of that hash, one is the test split; a second hash deals the
    others between train and validation. So a patient's fold depends on no other patient. It is not
    stratified: that would need everybody's outcome, and moves an estimate over all folds by less
    than its standard error.
    """
    subject_ids = list(subject_ids)
    draws = draw_of(subject_ids, splits.salt)
    if not splits.folds:
        bounds = np.cumsum([splits.train, splits.validation])
        return [SPLITS[i] for i in np.searchsorted(bounds, draws, side="right")]
    fold = (draws * splits.folds).astype(np.int64)
    share = splits.train / (splits.train + splits.validation)
    is_train = _hashed(subject_ids, splits.salt, b"fold") * _UNIT < share
    dealt = np.where(is_train, SPLITS[0], SPLITS[1])
    return [str(split) for split in np.where(fold == splits.fold, SPLITS[2], dealt)]


def draw_of(subject_ids: Iterable[int], salt: str) -> Floats:
    """Hashes each patient to the number in [0, 1) whose place among the shares is the split."""
    return np.asarray(_hashed(subject_ids, salt, b"split") * _UNIT)


def nearest_shares(groups: Sequence[Group], splits: Splits) -> tuple[float, float, float] | None:
    """Finds the shares, in hundredths, nearest to those of ``splits`` that give every group a
    member in every split; None if no shares do with this salt."""
    was = (splits.train, splits.validation, splits.test)

    def change(shares: Sequence[float]) -> float:
        return round(sum(abs(new - old) for new, old in zip(shares, was, strict=True)), 9)

    hundredths = itertools.product(range(1, 99), repeat=2)
    every = [(a / 100, b / 100, (100 - a - b) / 100) for a, b in hundredths if a + b < 100]
    ordered = [(np.sort(draws), settled) for draws, settled in groups]
    do = (s for s in sorted(every, key=change) if all(_fills(s, *group) for group in ordered))
    return next(do, None)


def _fills(shares: Sequence[float], draws: Floats, settled: Collection[str]) -> bool:
    """Tells whether ascending draws fall into every split that is not ``settled`` without."""
    first = np.searchsorted(draws, np.cumsum(shares[:2]))
    rows = np.diff(first, prepend=0, append=len(draws))
    return all(n or split in settled for split, n in zip(SPLITS, rows.tolist(), strict=True))


def bucket_of(keys: npt.NDArray[np.uint64], buckets: int) -> Ints:
    """Assigns each order key to one of ``buckets`` contiguous ranges of equal width."""
    return np.minimum((keys * _UNIT * buckets).astype(np.int64), buckets - 1)


def splits_in(shards: OpenShards, table: str) -> pl.DataFrame:
    """Reads ``subject_id`` and ``split`` of every row of a shard table."""
    names = [f"{table}/{name}" for name in shards.manifest.tables[table]]
    columns = [shards.output.read_parquet(name, list(SPLIT_COLUMNS)) for name in names]
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

"""Every patient, admission and stay of a run's sources, in the order of the shards.

Rows ascend by hash(salt, subject_id), then admission time, then stay_id. Buckets are contiguous
ranges of that hash: they bound memory, and concatenated in order they are the whole again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from medhmp.run import Run
from medhmp.shards.split import assert_disjoint, bucket_of, order_key, split_of
from medhmp.tables.schema import IDS, Source


@dataclass(frozen=True)
class Index:
    """Frames with ``source``, ``subject_id``, ``split``, ``bucket`` and what their table needs.

    ``stays`` has ``id``, a stay's place in the whole order, by which events and features name it.
    """

    patients: pl.DataFrame
    admissions: pl.DataFrame
    stays: pl.DataFrame
    buckets: int

    @staticmethod
    def of(sources: Sequence[Source], run: Run) -> "Index":
        """Leaves out admissions with neither a stay nor a diagnosis: nothing is known of them."""
        stays = _all(sources, "stays").select("source", "hadm_id", "stay_id", "intime")
        buckets = max(1, -(-stays.height // run.shards.bucket_stays))
        patients = _placed(_all(sources, "patients").select("source", "subject_id"), run, buckets)
        codes = _all(sources, "codes").filter(pl.col("kind") == "diagnosis")
        known = pl.concat([frame.select("source", "hadm_id") for frame in (stays, codes)]).unique()
        admissions = (
            _all(sources, "admissions")
            .select("source", "subject_id", "hadm_id", "admitted", "discharged")
            .join(known, on=["source", "hadm_id"], how="semi", maintain_order="left")
            .join(patients, on=["source", "subject_id"], maintain_order="left")
            .sort("key", "source", "subject_id", "admitted", "hadm_id")
        )
        stays = (
            admissions.join(stays, on=["source", "hadm_id"])
            .sort("key", "source", "subject_id", "admitted", "hadm_id", "stay_id")
            .with_row_index("id")
            .with_columns(pl.col("id").cast(pl.Int64))
        )
        assert_disjoint(patients, admissions, stays)
        return Index(patients.sort("key", "source", "subject_id"), admissions, stays, buckets)

    def place_of(self, source: str) -> pl.DataFrame:
        """``stay_id``, ``id`` and ``bucket`` of each stay of a source."""
        own = self.stays.filter(pl.col("source") == source)
        return own.select("stay_id", "id", "bucket")


def _all(sources: Sequence[Source], table: str) -> pl.DataFrame:
    frames: list[pl.DataFrame] = [
        getattr(s, table).with_columns(source=pl.lit(s.name)) for s in sources
    ]
    return pl.concat(frames)


def _placed(patients: pl.DataFrame, run: Run, buckets: int) -> pl.DataFrame:
    """Adds each patient's ``split``, order ``key`` and ``bucket``.

    They are those of the source's own identifier, whatever other sources the run has.
    """
    ids = patients["subject_id"] % IDS
    keys = order_key(ids, run.splits.salt)
    return patients.with_columns(
        split=pl.Series(split_of(ids, run.splits), dtype=pl.String),
        key=pl.Series(keys, dtype=pl.UInt64),
        bucket=pl.Series(bucket_of(keys, buckets), dtype=pl.Int64),
    )

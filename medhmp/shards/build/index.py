"""Every patient, admission and stay of a run's sources, in the order of the shards.

Rows ascend by hash(salt, subject_id), then admission time, then stay_id. Buckets are contiguous
ranges of that hash: they bound memory, and joined in their order they are all rows again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from medhmp import icd
from medhmp.refusal import Refusal
from medhmp.run import Splits
from medhmp.shards.split import assert_disjoint, bucket_of, draw_of, order_key, split_of
from medhmp.tables.schema import IDS, Source


@dataclass(frozen=True)
class Index:
    """Frames with ``source``, ``subject_id``, ``split``, ``bucket`` and what their table needs."""

    patients: pl.DataFrame  # ``drawn``: the hash that decided the split; null: the source did
    admissions: pl.DataFrame
    # ``id``: a stay's place in the order, its name in events and features; ``observed``: hours
    stays: pl.DataFrame
    buckets: int
    left_out: Mapping[str, Mapping[str, int]]  # source -> rule of the run -> admissions
    splits: Splits  # what the hash of a patient decides

    @staticmethod
    def of(
        sources: Sequence[Source], splits: Splits, bucket_stays: int, icd9_only: bool = False
    ) -> "Index":
        """Orders all rows. Leaves out admissions with neither a stay nor a diagnosis, which say
        nothing.

        Args:
            sources: their identifiers differ.
            splits: the salt of the order, and the shares.
            bucket_stays: stays of a bucket, on average.
            icd9_only: also leaves out admissions without a diagnosis or with one of ICD-10, as the
                paper (Appendix A), but not their stays, as the paper's 100,563 are all stays.
        """
        if splits.folds and any(source.splits is not None for source in sources):
            raise Refusal(
                "splits.folds divides the patients anew, and a source brings its own splits; "
                "leave out --splits.folds"
            )
        hours = (pl.col("outtime") - pl.col("intime")).dt.total_minutes() / 60
        stays = _all(sources, "stays").select(
            "source", "hadm_id", "stay_id", "intime", observed=hours
        )
        buckets = max(1, -(-stays.height // bucket_stays))
        patients = _placed(sources, splits, buckets)
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
        every = admissions
        if icd9_only:
            nine = icd.of_icd9_alone(codes)
            admissions = every.join(
                nine, on=["source", "hadm_id"], how="semi", maintain_order="left"
            )
        assert_disjoint(patients, every, stays)
        patients = patients.sort("key", "source", "subject_id")
        left_out = _left_out(sources, every, admissions)
        return Index(patients, admissions, stays, buckets, left_out, splits)

    def place_of(self, source: str) -> pl.DataFrame:
        """The stays of a source: ``stay_id``, ``id`` and ``bucket``."""
        own = self.stays.filter(pl.col("source") == source)
        return own.select("stay_id", "id", "bucket")


def _all(sources: Sequence[Source], table: str) -> pl.DataFrame:
    frames: list[pl.DataFrame] = [
        getattr(s, table).with_columns(source=pl.lit(s.name)) for s in sources
    ]
    return pl.concat(frames)


def _left_out(
    sources: Sequence[Source], every: pl.DataFrame, kept: pl.DataFrame
) -> dict[str, dict[str, int]]:
    gone = every.join(kept, on=["source", "hadm_id"], how="anti")["source"].to_list()
    name = "admissions without diagnoses of ICD-9 alone"
    return {s.name: {name: gone.count(s.name)} if gone.count(s.name) else {} for s in sources}


def _placed(sources: Sequence[Source], splits: Splits, buckets: int) -> pl.DataFrame:
    """Gives every patient its ``split``, order ``key`` and ``bucket``.

    A source that brings splits decides them, else a hash does. Hashes are of the source's own
    identifier, whatever other sources the run has.
    """
    patients = _all(sources, "patients").select("source", "subject_id")
    ids = patients["subject_id"] % IDS
    keys = order_key(ids, splits.salt)
    none = pl.DataFrame(schema={"subject_id": pl.Int64, "split": pl.String})
    brought = [(none if s.splits is None else s.splits, s.name) for s in sources]
    own = pl.concat([frame.with_columns(source=pl.lit(name)) for frame, name in brought])
    hashed = pl.Series(split_of(ids, splits), dtype=pl.String)
    drawn = pl.Series(None if splits.folds else draw_of(ids, splits.salt), dtype=pl.Float64)
    return patients.join(
        own, on=["source", "subject_id"], how="left", maintain_order="left"
    ).with_columns(
        drawn=pl.when(pl.col("split").is_null()).then(drawn),
        split=pl.col("split").fill_null(hashed),
        key=pl.Series(keys, dtype=pl.UInt64),
        bucket=pl.Series(bucket_of(keys, buckets), dtype=pl.Int64),
    )

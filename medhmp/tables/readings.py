"""What readers have in common once rows are frames: batches, counted exclusions, onsets."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import polars as pl
import pyarrow as pa

_NO_ONSET: Final = pl.DataFrame(
    schema={"stay_id": pl.Int64, "kind": pl.String, "hours": pl.Float64}
)


def batches(frame: pl.DataFrame, target: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The columns of a schema (EVENTS, NOTES) as record batches."""
    yield from as_table(frame, target).to_batches()


def as_table(frame: pl.DataFrame, target: pa.Schema) -> pa.Table:
    """The columns of a schema, in its types."""
    table = frame.select(target.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(target)


def filled(frame: pl.DataFrame, target: pa.Schema) -> pl.DataFrame:
    """The columns of a schema; what ``frame`` lacks is null."""
    blank = [pl.lit(None).alias(name) for name in target.names if name not in frame.columns]
    made = pl.from_arrow(as_table(frame.with_columns(blank), target))
    assert isinstance(made, pl.DataFrame)
    return made


EPOCH: Final = datetime(2000, 1, 1)  # noqa: DTZ001  # naive, as the times of sources
"""When a stay begins where a source has no dates. No two stays are then of one patient, so that
nothing compares them."""


def named_by_stay(frame: pl.DataFrame) -> pl.DataFrame:
    """Where a source knows stays alone, each is an admission and a patient of the same id."""
    return frame.with_columns(subject_id="stay_id", hadm_id="stay_id")


def distinct_codes(rows: pl.DataFrame, kind: str, code: pl.Expr) -> pl.DataFrame:
    """``subject_id``, ``hadm_id``, ``kind`` and ``code`` of each row, each once, in their order."""
    own = rows.select("subject_id", "hadm_id", kind=pl.lit(kind), code=code)
    return own.unique(maintain_order=True)


def count(counts: dict[str, int], reason: str, rows: int) -> None:
    """Adds rows that are left out for a reason."""
    counts[reason] = counts.get(reason, 0) + rows


def kept(block: pl.DataFrame, rules: Mapping[str, pl.Expr], counts: dict[str, int]) -> pl.DataFrame:
    """The rows that all rules let pass, one after the other; counts the others by reason."""
    for reason, rule in rules.items():
        passed = block.filter(rule)
        count(counts, reason, block.height - passed.height)
        block = passed
    return block


def first_onsets(stays: pl.DataFrame, seen: list[pl.DataFrame]) -> pl.DataFrame:
    """(stay_id, arf, shock): the first hour of each in ``seen`` (stay_id, kind, hours), or null."""
    first = pl.concat([_NO_ONSET, *seen]).group_by("stay_id", "kind").agg(pl.col("hours").min())
    frame = stays.select("stay_id")
    for kind in ("arf", "shock"):
        own = first.filter(pl.col("kind") == kind).select("stay_id", pl.col("hours").alias(kind))
        frame = frame.join(own, on="stay_id", how="left", maintain_order="left")
    return frame


def no_notes() -> Iterator[pa.RecordBatch]:
    """The notes of a source that has none."""
    return iter(())

"""The time axis of a stay: hours between two times, and the bin of an hour.

An hour at the edge of two bins belongs to the later one, exactly.
"""

from typing import Final

import polars as pl

YEAR: Final = 8766
"""Hours of a year of 365.25 days."""


def until_discharge() -> pl.Expr:
    """``until``: hours from ``intime`` to ``discharged``, the last usable hour; infinite where
    either is unknown."""
    return hours_between("discharged", "intime").fill_null(float("inf")).alias("until")


def hours_between(later: str, earlier: str) -> pl.Expr:
    """Hours from the column ``earlier`` to the column ``later``."""
    return in_hours((pl.col(later) - pl.col(earlier)).dt.total_seconds(), 3600)


def in_hours(count: pl.Expr, per_hour: int) -> pl.Expr:
    """Converts whole units to hours; ``per_hour`` units make one hour (3600 for seconds).

    Polars divides by a constant through its reciprocal, which may put a reading just before the
    edge of its bin; so whole hours are split off first.
    """
    return count // per_hour + (count % per_hour) / per_hour


def bin_of(hours: pl.Expr, dt: float) -> pl.Expr:
    """The bin k with k dt <= hours < (k + 1) dt, found by comparing with these very products."""
    k = (hours / dt).floor()
    k = k - (k * dt > hours).cast(pl.Float64) + ((k + 1) * dt <= hours).cast(pl.Float64)
    return k.cast(pl.Int64)

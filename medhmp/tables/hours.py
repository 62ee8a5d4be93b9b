"""The time axis of a stay: hours between two times, and the bin of an hour.

An hour at the edge of a bin belongs to the bin that it begins, to the last bit.
"""

from typing import Final

import polars as pl

YEAR: Final = 8766
"""Hours of a year, a leap day every four."""


def until_discharge() -> pl.Expr:
    """``until``: hours from ``intime`` to ``discharged``, after which nothing of a stay is read;
    infinite where that is not known."""
    return hours_between("discharged", "intime").fill_null(float("inf")).alias("until")


def hours_between(later: str, earlier: str) -> pl.Expr:
    """Hours from one time column to another."""
    return in_hours((pl.col(later) - pl.col(earlier)).dt.total_seconds(), 3600)


def in_hours(count: pl.Expr, per_hour: int) -> pl.Expr:
    """Hours of a whole number of seconds, or of whatever an hour has ``per_hour`` of.

    Whole hours are split off first, since Polars divides by a constant through its reciprocal: a
    reading at the edge of a bin must not fall short of it.
    """
    return count // per_hour + (count % per_hour) / per_hour


def bin_of(hours: pl.Expr, dt: float) -> pl.Expr:
    """k with k dt <= hours < (k + 1) dt, by comparing with the products themselves."""
    k = (hours / dt).floor()
    k = k - (k * dt > hours).cast(pl.Float64) + ((k + 1) * dt <= hours).cast(pl.Float64)
    return k.cast(pl.Int64)

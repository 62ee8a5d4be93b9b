"""Several values of a variable at one time, resolved before FIDDLE, which refuses them.

Each event says how (``repeats``). "sum": amounts given in one bin add up. "indicators": a charted
variable that is not all numbers and has repeats becomes ``variable: value`` = 1, one row per value,
and ``variable`` = 1. "apart", and what is left of "indicators": the r-th reading of a moment moves
r millionths of an hour later. "named", if all values of a moment are: they stay, for FIDDLE names
each of several texts; else as "apart". "median": the median of the numbers. "first": the first row,
in the order read, and none beside a median. Which variables become indicators is decided on
training stays and then holds for all. Rows alike in everything count once, but for sums and
medians.

A bucket has all events of its stays, so a moment is whole here however a source sorts its tables.
"""

from typing import Final

import polars as pl

from medhmp.features.events import MOMENT, SCHEMA, first_of_each, number_texts, repeated

APART: Final = 1e-6
"""Hours between readings charted at one moment."""


def survey(events: pl.DataFrame) -> pl.DataFrame:
    """(variable, textual, repeated) of the "indicators" variables of one bucket's events."""
    rows = events.filter(pl.col("repeats") == "indicators")
    several = _distinct(rows.filter(repeated(rows)))
    again = several.filter(repeated(several))["variable"].unique()
    return (
        rows.group_by("variable")
        .agg(textual=pl.col("text").is_not_null().any())
        .with_columns(repeated=pl.col("variable").is_in(again.implode()))
    )


def decide(surveys: list[pl.DataFrame]) -> list[str]:
    """The variables that become indicators, sorted, from the surveys of all buckets."""
    merged = pl.concat(surveys).group_by("variable").agg(pl.col("textual", "repeated").any())
    return sorted(merged.filter(pl.col("textual") & pl.col("repeated"))["variable"])


def resolve(events: pl.DataFrame, indicated: list[str]) -> pl.DataFrame:
    """Events of one bucket as FIDDLE takes them: one row per (id, t, variable), or only texts."""
    way, number = pl.col("repeats"), pl.col("number")
    totals = _reduced(events.filter(way == "sum"), number.sum())
    medians = _reduced(events.filter(way == "median"), number.median())
    first = pl.concat([medians, events.filter(way == "first").select(list(SCHEMA))])
    rows = events.filter(~way.is_in(["sum", "median", "first"]))
    several = repeated(rows)
    rows = pl.concat([rows.filter(~several), _distinct(rows.filter(several))])
    spelled = pl.col("variable").is_in(indicated)
    apart = _apart(rows.filter(~spelled)).select(list(SCHEMA))
    indicators = _indicators(rows.filter(spelled))
    return pl.concat([apart, totals, first_of_each(first, MOMENT), indicators])


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    """The first of rows alike in everything, in their order."""
    return rows.unique(list(SCHEMA), keep="first", maintain_order=True)


def _reduced(rows: pl.DataFrame, number: pl.Expr) -> pl.DataFrame:
    """One number for each moment."""
    one = rows.group_by(MOMENT, maintain_order=True).agg(number)
    return one.with_columns(text=pl.lit(None, pl.String)).select(list(SCHEMA))


def _apart(rows: pl.DataFrame) -> pl.DataFrame:
    several = repeated(rows) & rows["t"].is_not_null()
    named = (pl.col("repeats") == "named").all().over(MOMENT)
    place = pl.when(named).then(0).otherwise(pl.int_range(pl.len()).over(MOMENT))
    later = rows.filter(several).with_columns(t=pl.col("t") + place * APART)
    return pl.concat([rows.filter(~several), later])


def _indicators(rows: pl.DataFrame) -> pl.DataFrame:
    value = pl.coalesce("text", number_texts(rows))
    one = {"number": pl.lit(1.0), "text": pl.lit(None, pl.String)}
    values = rows.filter(value.is_not_null()).with_columns(
        variable=pl.col("variable") + ": " + value, **one
    )
    both = pl.concat([values, rows.with_columns(**one)])
    return first_of_each(both.select(list(SCHEMA)), MOMENT)

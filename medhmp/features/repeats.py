"""Several values of a variable at one moment, resolved before FIDDLE, which refuses them.

The column ``repeats`` of an event names the policy:

sum         amounts given in one bin add up
indicators  a charted variable that is not all numbers and has repeats becomes ``variable: value``
            = 1, one row per value, and ``variable`` = 1; any other is treated as "apart"
apart       the r-th reading of a moment moves r millionths of an hour later
named       texts stay, as FIDDLE itself names each of several texts, if all rows of the moment are
            "named"; else as "apart"
median      the median of the numbers
first       the first row, in the order read, and none beside a median

Training stays decide which variables become indicators; the decision then holds for all stays.
Rows alike in everything count once, except in sums and medians. A bucket has all events of its
stays, so it has all rows of a moment, however a source sorts its tables.
"""

from typing import Final

import polars as pl

from medhmp.features.events import MOMENT, SCHEMA, first_of_each, is_repeated, number_texts

APART: Final = 1e-6
"""Hours between readings charted at one moment."""


def find_repeats(events: pl.DataFrame) -> pl.DataFrame:
    """Finds repeats of the "indicators" variables in one bucket: (variable, textual, repeated)."""
    rows = events.filter(pl.col("repeats") == "indicators")
    several = _distinct(rows.filter(is_repeated(rows)))
    again = several.filter(is_repeated(several))["variable"].unique()
    return (
        rows.group_by("variable")
        .agg(textual=pl.col("text").is_not_null().any())
        .with_columns(repeated=pl.col("variable").is_in(again.implode()))
    )


def choose_indicators(found: list[pl.DataFrame]) -> list[str]:
    """Chooses the variables that become indicators, sorted, from what all buckets found."""
    merged = pl.concat(found).group_by("variable").agg(pl.col("textual", "repeated").any())
    return sorted(merged.filter(pl.col("textual") & pl.col("repeated"))["variable"])


def resolve(events: pl.DataFrame, indicated: list[str]) -> pl.DataFrame:
    """Resolves the events of one bucket: each (id, t, variable) has one row, or only texts."""
    way, number = pl.col("repeats"), pl.col("number")
    totals = _reduced(events.filter(way == "sum"), number.sum())
    medians = _reduced(events.filter(way == "median"), number.median())
    first = pl.concat([medians, events.filter(way == "first").select(list(SCHEMA))])
    rows = events.filter(~way.is_in(["sum", "median", "first"]))
    several = is_repeated(rows)
    rows = pl.concat([rows.filter(~several), _distinct(rows.filter(several))])
    spelled = pl.col("variable").is_in(indicated)
    apart = _apart(rows.filter(~spelled)).select(list(SCHEMA))
    indicators = _indicators(rows.filter(spelled))
    return pl.concat([apart, totals, first_of_each(first, MOMENT), indicators])


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    """Keeps the first of rows alike in everything, in their order."""
    return rows.unique(list(SCHEMA), keep="first", maintain_order=True)


def _reduced(rows: pl.DataFrame, number: pl.Expr) -> pl.DataFrame:
    """Reduces each moment to one number."""
    one = rows.group_by(MOMENT, maintain_order=True).agg(number)
    return one.with_columns(text=pl.lit(None, pl.String)).select(list(SCHEMA))


def _apart(rows: pl.DataFrame) -> pl.DataFrame:
    several = is_repeated(rows) & rows["t"].is_not_null()
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

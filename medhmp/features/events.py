"""FIDDLE's input: one row per recording, with columns id, t, variable, number, text.

``t`` is in hours, null for a value that holds always. A value is a ``number`` or, if it does not
parse as one, a ``text``; with both null the variable was recorded without a value.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

Ids = npt.NDArray[np.int64]

SCHEMA: Final = {
    "id": pl.Int64(),
    "t": pl.Float64(),
    "variable": pl.String(),
    "number": pl.Float64(),
    "text": pl.String(),
}

MOMENT: Final = ("id", "t", "variable")
"""The columns in which two readings must differ."""


def number_text(number: float) -> str:
    """The shortest text of a number: 5.0 is "5", 1.5 is "1.5"."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e16 else repr(number)


def number_texts(rows: pl.DataFrame) -> pl.Expr:
    """The shortest text of each ``number``; null where that is null."""
    numbers = rows["number"].drop_nulls().unique().to_list()
    texts = [number_text(number) for number in numbers]
    return pl.col("number").replace_strict(numbers, texts, default=None, return_dtype=pl.String)


def in_window(events: pl.DataFrame, ids: Ids, hours: float) -> pl.DataFrame:
    """Keeps the rows of ``ids`` (ascending) with 0 <= t < ``hours`` or without a time, in order."""
    inside = pl.col("t").is_null() | ((pl.col("t") >= 0) & (pl.col("t") < hours))
    return events.filter(inside & pl.col("id").is_in(pl.Series(ids).implode()))


def is_repeated(rows: pl.DataFrame, names: Sequence[str] = MOMENT) -> pl.Series:
    """True for each row (n) that another row equals in all columns ``names``; nulls are equal.

    Few rows have an equal. A hash of the columns, which is cheap to compare, finds candidates; only
    these are compared in full.
    """
    several = rows.select(pl.struct(names).hash().is_duplicated()).to_series()
    if not several.any():
        return several
    found = several.to_numpy(writable=True)
    found[found] = rows.filter(several).select(pl.struct(names).is_duplicated()).to_series()
    return pl.Series(found)


def first_of_each(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Keeps the first of the rows that are equal in all columns ``names``.

    Rows without an equal come first; both groups stay in their order.
    """
    several = is_repeated(rows, names)
    some = rows.filter(several).unique(names, keep="first", maintain_order=True)
    return pl.concat([rows.filter(~several), some])


def ascending(ids: npt.ArrayLike) -> Ids:
    """Sorts the ids, each once: the order of the output rows."""
    return np.unique(np.asarray(ids, dtype=np.int64))

"""How often each column holds which value: additive over buckets, and of bounded size.

A column's distinct numbers are counted one by one, so its quantiles are exact. Beyond
``MOST_DISTINCT`` of them its numbers lose low bits of their mantissa, four at a time, until they
are so few again: a quantile is then off by less than 2^(bits - 52) of itself, bits being those
lost, and the lowest and the highest number stay exact. Numbers cut short once are cut short further
as if they had not been, so the result depends on the multiset alone, not on how buckets divide it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]

NUMBERS: Final = {"column": pl.Int64(), "number": pl.Float64(), "cells": pl.Int64()}
MOST_DISTINCT: Final = 1 << 17
"""Distinct numbers of one column that are counted apart."""
STEP: Final = 4
"""Bits that numbers lose at a time."""


@dataclass(frozen=True)
class Tally:
    """Distinct numbers and texts of each column of one table, and how many cells hold each.

    ``ends`` are the lowest and highest number of each column, and the bits that ``numbers`` lost.
    """

    numbers: pl.DataFrame
    texts: pl.DataFrame
    ends: pl.DataFrame

    def __add__(self, other: "Tally") -> "Tally":
        texts = pl.concat([self.texts, other.texts]).group_by("column", "text").sum()
        ends = pl.concat([self.ends, other.ends]).group_by("column")
        merged = ends.agg(pl.col("low").min(), pl.col("high").max(), pl.col("bits").max())
        return _bounded(pl.concat([self.numbers, other.numbers]), texts, merged)


def tally(cells: pl.DataFrame, dense: Iterable[tuple[int, Floats]] = ()) -> Tally:
    """Counts the values of one bucket: of its long cells, and of dense columns (NaN is missing)."""
    by_number = cells.filter(pl.col("number").is_not_null()).group_by("column", "number")
    by_text = cells.filter(pl.col("text").is_not_null()).group_by("column", "text")
    counted = [by_number.agg(cells=pl.len().cast(pl.Int64))]
    for column, values in dense:
        number, count = np.unique(values[~np.isnan(values)], return_counts=True)
        frame = {"column": np.full(len(number), column), "number": number, "cells": count}
        counted.append(pl.DataFrame(frame, schema=NUMBERS))
    numbers = pl.concat(counted)
    ends = numbers.group_by("column").agg(
        low=pl.col("number").min(), high=pl.col("number").max(), bits=pl.lit(0, pl.Int64)
    )
    return _bounded(numbers, by_text.agg(cells=pl.len().cast(pl.Int64)), ends)


def _bounded(numbers: pl.DataFrame, texts: pl.DataFrame, ends: pl.DataFrame) -> Tally:
    """A Tally of counts that may repeat a number, no column with too many distinct ones."""
    while True:
        numbers = _cut_short(numbers, ends).group_by("column", "number").agg(pl.col("cells").sum())
        many = numbers.group_by("column").len().filter(pl.col("len") > MOST_DISTINCT)
        if many.is_empty():
            return Tally(numbers, texts, ends)
        more = pl.col("column").is_in(many["column"].implode())
        ends = ends.with_columns(bits=pl.col("bits") + pl.when(more).then(STEP).otherwise(0))


def _cut_short(numbers: pl.DataFrame, ends: pl.DataFrame) -> pl.DataFrame:
    """``numbers`` without the low bits that their column has lost."""
    lossy = ends.filter(pl.col("bits") > 0).select("column", "bits")
    if lossy.is_empty():
        return numbers
    bits = numbers.join(lossy, on="column", how="left", maintain_order="left")["bits"]
    lost = bits.fill_null(0).to_numpy().astype(np.uint64)
    words = numbers["number"].to_numpy().view(np.uint64) >> lost << lost
    return numbers.with_columns(number=pl.Series(words.view(np.float64)))

"""Counts of the values of each column: additive over buckets, and of bounded size.

Each distinct number of a column has its count, so quantiles are exact. Beyond ``MOST_DISTINCT``
distinct numbers, the column's numbers lose low bits of their mantissa, four at a time, until few
enough are distinct. A quantile is then off by less than 2^(bits - 52) of itself, where bits are
those lost; the lowest and the highest number stay exact. Truncating twice equals truncating once by
as many bits, so the result depends on the multiset alone, not on how buckets divide it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from medhmp.arrays import Floats

NUMBERS: Final = {"column": pl.Int64(), "number": pl.Float64(), "cells": pl.Int64()}
MOST_DISTINCT: Final = 1 << 17
"""Distinct numbers of one column that are counted one by one."""
STEP: Final = 4
"""Bits that numbers lose at a time."""


@dataclass(frozen=True)
class ValueCounts:
    """Distinct numbers and texts of each column of one table, and how many cells hold each.

    ``ends`` are the lowest and highest number of each column, and the bits that ``numbers`` lost.
    """

    numbers: pl.DataFrame
    texts: pl.DataFrame
    ends: pl.DataFrame

    def __add__(self, other: "ValueCounts") -> "ValueCounts":
        texts = pl.concat([self.texts, other.texts]).group_by("column", "text").sum()
        ends = pl.concat([self.ends, other.ends]).group_by("column")
        merged = ends.agg(pl.col("low").min(), pl.col("high").max(), pl.col("bits").max())
        return _bounded(pl.concat([self.numbers, other.numbers]), texts, merged)


def count_values(cells: pl.DataFrame, dense: Iterable[tuple[int, Floats]] = ()) -> ValueCounts:
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


def _bounded(numbers: pl.DataFrame, texts: pl.DataFrame, ends: pl.DataFrame) -> ValueCounts:
    """Adds up counts that may repeat a number; truncates columns with too many distinct ones."""
    while True:
        numbers = _cut_short(numbers, ends).group_by("column", "number").agg(pl.col("cells").sum())
        many = numbers.group_by("column").len().filter(pl.col("len") > MOST_DISTINCT)
        if many.is_empty():
            return ValueCounts(numbers, texts, ends)
        more = pl.col("column").is_in(many["column"].implode())
        ends = ends.with_columns(bits=pl.col("bits") + pl.when(more).then(STEP).otherwise(0))


def _cut_short(numbers: pl.DataFrame, ends: pl.DataFrame) -> pl.DataFrame:
    """Clears the low bits of ``numbers`` that their column has lost."""
    lossy = ends.filter(pl.col("bits") > 0).select("column", "bits")
    if lossy.is_empty():
        return numbers
    bits = numbers.join(lossy, on="column", how="left", maintain_order="left")["bits"]
    lost = bits.fill_null(0).to_numpy().astype(np.uint64)
    words = numbers["number"].to_numpy().view(np.uint64) >> lost << lost
    return numbers.with_columns(number=pl.Series(words.view(np.float64)))

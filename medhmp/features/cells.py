"""From events to the cells of FIDDLE's two tables, long: one row per cell that holds something.

A cell has a ``column`` (its place in the plan's columns) and a ``row``: the place of its id for the
static table, id * L + bin for the hourly one. Only frequent variables, a handful, are filled in
between their readings; they come as dense (n, L) arrays, one variable at a time.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from medhmp.arrays import Floats, Ints
from medhmp.features.events import Ids, in_window
from medhmp.features.variables import ColumnPlan, rename
from medhmp.tables.hours import bin_of

CELLS: Final = {
    "column": pl.Int64(),
    "row": pl.Int64(),
    "number": pl.Float64(),
    "text": pl.String(),
}

VALUE: Final = 1
"""Place of the value among the columns of a frequent variable; before it is its delta_time."""


def planned(events: pl.DataFrame, ids: Ids, plan: ColumnPlan) -> pl.DataFrame:
    """Keeps the rows of events that the plan uses, and renames them."""
    seen = in_window(events, ids, plan.settings.hours)
    return rename(seen, plan.types, plan.settings.hierarchical_levels)


def static_cells(rows: pl.DataFrame, ids: Ids, plan: ColumnPlan) -> pl.DataFrame:
    """``CELLS`` of the static table: the last value in file order of each id."""
    readings = _readings(rows, plan.static).filter(_has_value())
    readings = readings.with_columns(row=pl.Series(_place(readings, ids), dtype=pl.Int64))
    return _last(readings.sort("column", "row", maintain_order=True))


def hourly_cells(rows: pl.DataFrame, ids: Ids, plan: ColumnPlan) -> pl.DataFrame:
    """``CELLS`` of the variables that are not frequent: the last value of a bin, none carried."""
    readings = _binned(_readings(rows, plan.hourly).filter(_has_value()), ids, plan)
    return _last(readings.sort("column", "row", "t", maintain_order=True))


def frequent_cells(
    rows: pl.DataFrame, ids: Ids, plan: ColumnPlan
) -> Iterator[tuple[npt.NDArray[np.bool_], list[tuple[int, Floats]]]]:
    """Yields each frequent variable's mask (n, L) and its columns' cells (n, L), NaN if missing.

    The columns are delta_time (bins since the last reading), value and the statistics. Numbers are
    carried forward without limit; a statistic of a bin without a reading is the carried value. Text
    under a variable declared Numeric is no reading.
    """
    readings = _readings(rows, plan.frequent).filter(pl.col("number").is_not_null())
    readings = _binned(readings, ids, plan).sort("column", "row", "t", maintain_order=True)
    variables = readings["column"].to_numpy()
    row, number = readings["row"].to_numpy(), readings["number"].to_numpy()
    for index in range(len(plan.frequent)):
        start, stop = np.searchsorted(variables, [index, index + 1])
        aggregates = _aggregate(row[start:stop], number[start:stop], plan, len(ids))
        mask, cells = _carry(*aggregates)
        yield mask, list(zip(_columns(plan, index), cells, strict=True))


def _columns(plan: ColumnPlan, index: int) -> list[int]:
    """Places of a frequent variable's columns among ``ColumnPlan.hourly_columns``."""
    variables, statistics = len(plan.frequent), len(plan.settings.statistics)
    delta = len(plan.hourly) + index
    first = len(plan.hourly) + 2 * variables + index * statistics
    return [delta, delta + variables, *range(first, first + statistics)]


def _readings(rows: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """Rows of the named variables, with ``column``, the place of the name."""
    column = pl.col("variable").cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64)
    return rows.with_columns(column=column).filter(pl.col("column").is_not_null())


def _has_value() -> pl.Expr:
    return pl.col("number").is_not_null() | pl.col("text").is_not_null()


def _place(readings: pl.DataFrame, ids: Ids) -> Ints:
    return np.searchsorted(ids, readings["id"].to_numpy())


def _binned(readings: pl.DataFrame, ids: Ids, plan: ColumnPlan) -> pl.DataFrame:
    """Adds ``row``; leaves out readings without a time and those in the remainder of the window."""
    bins, place = plan.settings.bins, pl.Series("place", _place(readings, ids), dtype=pl.Int64)
    timed = readings.with_columns(place, bin=bin_of(pl.col("t"), plan.settings.dt))
    inside = timed.filter(pl.col("bin") < bins)  # and not null
    return inside.with_columns(row=pl.col("place") * bins + pl.col("bin"))


def _last(readings: pl.DataFrame) -> pl.DataFrame:
    """The last reading of each (column, row); readings are sorted by them."""
    column, row = readings["column"].to_numpy(), readings["row"].to_numpy()
    last = np.ones(len(readings), dtype=bool)
    last[:-1] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    return readings.filter(pl.Series(last, dtype=pl.Boolean)).select(list(CELLS))


def _aggregate(row: Ints, number: Floats, plan: ColumnPlan, n: int) -> tuple[Floats, list[Floats]]:
    """Last reading and statistics of each bin, (n, L) each, NaN without a reading. Rows ascend."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    ends = np.append(starts[1:], len(row))

    def grid(values: Floats) -> Floats:
        cells = np.full(n * plan.settings.bins, np.nan)
        cells[row[starts]] = values
        return cells.reshape(n, plan.settings.bins)

    last = number[ends - 1] if len(row) else number
    statistics = [_statistic(name, number, starts, ends) for name in plan.settings.statistics]
    return grid(last), [grid(values) for values in statistics]


def _statistic(name: str, number: Floats, starts: Ints, ends: Ints) -> Floats:
    """min, max or mean of each run number[start:end]."""
    if not len(number):
        return number
    if name == "mean":
        return np.asarray(np.add.reduceat(number, starts) / (ends - starts))
    extreme = np.minimum if name == "min" else np.maximum
    return np.asarray(extreme.reduceat(number, starts))


def _carry(last: Floats, statistics: list[Floats]) -> tuple[npt.NDArray[np.bool_], list[Floats]]:
    """Mask, then delta_time, value and statistics, (n, L) each, from what each bin recorded."""
    mask = ~np.isnan(last)
    bins = np.arange(last.shape[1])
    source = np.maximum.accumulate(np.where(mask, bins, -1), axis=1)
    delta = np.where(source < 0, 0, bins - source).astype(np.float64)
    value = np.take_along_axis(last, np.maximum(source, 0), axis=1)
    return mask, [delta, value, *(np.where(mask, s, value) for s in statistics)]

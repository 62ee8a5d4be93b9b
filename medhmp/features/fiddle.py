"""FIDDLE's features (Tang et al., 2020): sparse, mergeable over buckets of ids, frozen by a fit.

A fit is four passes over the buckets, each a pure function of one bucket whose results add up:

1. count the variables;
2. count them as renamed;
3. count the values of each column;
4. count the support of each feature.

Only those sums outlive a bucket. They do not depend on how ids are bucketed, except for the last
bits of the products of real-valued features. ``transform`` then needs one bucket and the
``FittedFeatures``. ``events.py`` describes the events.

FIDDLE's rules that shape its features are kept. Four of its traits are not: it fails if every
hourly variable is frequent; its features come in the order in which its workers finish; it has two
names for one hierarchical code; it shifts repeated readings by microseconds (here file order breaks
the tie). A fifth is a setting, as it needs a fifth pass: it takes nearly equal columns of many rows
for copies (``near_copies.py``). Three more settings are ours: numbers beyond the bins go to the
nearest (``clip``), real values are scaled (``scale``), stays shorter than the window may be left
out of the mean that makes a variable frequent (``frequent_over``).
"""

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from medhmp.arrays import Ints
from medhmp.features import near_copies
from medhmp.features.cells import frequent_cells, hourly_cells, planned, static_cells
from medhmp.features.columns import Column, Edges, columns_of
from medhmp.features.encode import (
    Entries,
    baseline,
    hourly_entries,
    matrix,
    static_entries,
    with_baseline,
)
from medhmp.features.events import Ids, ascending, in_window
from medhmp.features.filled import Recorded, Tally
from medhmp.features.fitted import FittedFeatures, FittedTable, Transformed
from medhmp.features.postfilter import (
    Support,
    support,
    varied_hourly,
    varied_static,
    without_duplicates,
)
from medhmp.features.settings import Settings
from medhmp.features.value_counts import ValueCounts, count_values
from medhmp.features.variables import (
    ColumnPlan,
    Survey,
    census,
    column_plan,
    refuse_bad_numbers,
    survey,
    types_of,
)
from medhmp.refusal import Refusal

Result = TypeVar("Result")
T = TypeVar("T")
Both = tuple[T, T]
"""A value of the static table, and the same of the hourly table."""
Summand = TypeVar("Summand", ValueCounts, Support, near_copies.Overlap)
EventsAndIds = tuple[pl.DataFrame, npt.ArrayLike]
"""One bucket: its events, and its ids, those without events included. Buckets share no id."""

Each = Callable[[Callable[..., Any], Sequence[Any]], Iterable[Any]]
"""Applies a function of (events, ids) to each bucket; yields the results in the buckets' order."""


def one_by_one(
    function: Callable[[pl.DataFrame, npt.ArrayLike], Result], buckets: Sequence[EventsAndIds]
) -> Iterable[Result]:
    """Applies ``function`` to one bucket after the other."""
    return (function(events, ids) for events, ids in buckets)


def fit(
    buckets: Sequence[Any],
    settings: Settings,
    each: Each = one_by_one,
    static_edges: Edges | None = None,
    hourly_edges: Edges | None = None,
    observed: pl.DataFrame | None = None,
) -> FittedFeatures:
    """Fits the features to all ids of the buckets, which are read four times.

    Args:
        buckets: anything that ``each`` knows how to open.
        settings: what defines the features.
        each: yields ``function(events, ids)`` of every bucket. The functions pickle, and their
            results are added up.
        static_edges: bins of another fit, by column name, None for a column without. A column with
            fewer than three distinct numbers does not use them.
        hourly_edges: the same of the hourly table.
        observed: ``id`` and ``hours`` of the ids that are known to have been observed for so long,
            for ``settings.frequent_over``.

    Raises:
        Refusal: there is no id; two values, one of them a number, are at one (id, time, variable);
            a number is not finite; an ICD-9 code is unknown; given edges lack a column.
    """
    counted: Survey | None = _sum(each, buckets, survey, settings) if buckets else None
    if not counted or not counted.ids:
        raise Refusal("there is no id to fit features to; check the cohort's filters")
    types = types_of(counted, settings)
    plan = column_plan(_sum(each, buckets, census, settings, types, observed), settings, types)
    values: Pair[ValueCounts] = _sum(each, buckets, count_columns, plan)
    static = columns_of(values.static, plan.static_columns, (), settings, static_edges)
    hourly = columns_of(values.hourly, plan.hourly_columns, plan.masks, settings, hourly_edges)
    counts: Pair[Support] = _sum(each, buckets, supports, plan, static, hourly)
    varied = (
        varied_static(counts.static, settings.static_threshold),
        varied_hourly(counts.hourly, settings.theta_2),
    )
    alike: Both[near_copies.Matches] = ({}, {})
    if settings.discretize and settings.drop_near_copies:
        alike = _near_copies(each, buckets, plan, (static, hourly), counts, varied)
    return FittedFeatures(
        plan,
        _fitted(static, counts.static, varied[0], alike[0], static_edges),
        _fitted(hourly, counts.hourly, varied[1], alike[1], hourly_edges),
    )


def _near_copies(
    each: Each,
    buckets: Sequence[Any],
    plan: ColumnPlan,
    tables: Both["Columns"],
    counts: "Pair[Support]",
    varied: Both[npt.NDArray[np.bool_]],
) -> Both[near_copies.Matches]:
    """Finds the features that nearly are an earlier one; reads the buckets once more."""
    suspects = (
        near_copies.suspects(counts.static, varied[0]),
        near_copies.suspects(counts.hourly, varied[1]),
    )
    both: Pair[near_copies.Overlap] = _sum(each, buckets, overlaps, plan, *tables, suspects)
    return (
        near_copies.matches(counts.static, suspects[0], both.static),
        near_copies.matches(counts.hourly, suspects[1], both.hourly),
    )


def transform(events: pl.DataFrame, ids: npt.ArrayLike, fitted: FittedFeatures) -> Transformed:
    """Computes the features of ``ids``, in ascending order, those without events included.

    A variable or a category that the fit did not see gives no feature, nor, with ``settings.clip``
    false, does a number outside its bins; ``Transformed.recorded`` counts them.

    Raises Refusal for inconsistent or infinite numbers, as ``fit`` does.
    """
    plan, rows_of = fitted.plan, ascending(ids)
    seen = in_window(events, rows_of, plan.settings.hours)
    refuse_bad_numbers(seen, plan.settings.value_types)
    rows = planned(seen, rows_of, plan)
    bins = plan.settings.bins
    tallies = Tally(len(rows_of), 1), Tally(len(rows_of), bins)
    once = static_entries(rows, rows_of, plan, fitted.static.columns, tallies[0])
    hours = hourly_entries(rows, rows_of, plan, fitted.hourly.columns, tallies[1])
    static = _imputed(_entered(once, len(rows_of), fitted.static), fitted.static)
    entered = _entered(hours, len(rows_of) * bins, fitted.hourly)
    hourly = _imputed(entered, fitted.hourly)
    offsets = hourly.indptr[::bins].astype(np.int64)
    binary = plan.settings.discretize
    begins = np.arange(len(rows_of))[:, None] * bins + np.arange(bins + 1)
    return Transformed(
        ids=rows_of,
        static_offsets=static.indptr.astype(np.int64),
        static_ids=static.indices,
        static_values=None if binary else static.data,
        offsets=offsets,
        hour_offsets=(hourly.indptr[begins] - offsets[:-1, None]).astype(np.uint32),
        feature_ids=hourly.indices,
        values=None if binary else hourly.data,
        recorded=Recorded(
            entered.indptr[::bins].astype(np.int64), entered.indices, tallies[1], tallies[0]
        ),
    )


def _entered(entries: Iterable[Entries], rows: int, table: FittedTable) -> Any:
    """CSR (rows, features kept) of a fitted table."""
    return matrix(entries, rows, table.kept, len(table.names_all))


def _imputed(found: Any, table: FittedTable) -> Any:
    """The same with the means of missing cells filled in."""
    base = baseline(table.columns, len(table.names_all))[list(table.kept)]
    return with_baseline(found, base) if base.any() else found


@dataclass(frozen=True)
class Pair(Generic[Summand]):
    """A sum over buckets for each of the two tables."""

    static: Summand
    hourly: Summand

    def __add__(self, other: "Pair[Summand]") -> "Pair[Summand]":
        return Pair(self.static + other.static, self.hourly + other.hourly)


def count_columns(events: pl.DataFrame, ids: Ids, plan: ColumnPlan) -> Pair[ValueCounts]:
    """Counts the values of each column of both tables in one bucket, carried cells included."""
    rows = planned(events, ids, plan)
    dense = (column for _, columns in frequent_cells(rows, ids, plan) for column in columns)
    static, hourly = static_cells(rows, ids, plan), hourly_cells(rows, ids, plan)
    return Pair(count_values(static), count_values(hourly, dense))


Columns = tuple[tuple[Column, ...], tuple[str, ...]]
"""Columns of a table and the names of all its features."""


def supports(
    events: pl.DataFrame, ids: Ids, plan: ColumnPlan, static: Columns, hourly: Columns
) -> Pair[Support]:
    """Counts the support of all features of both tables in one bucket."""
    tables = _matrices(events, ids, plan, static, hourly)
    bases = (baseline(columns, len(names)) for columns, names in (static, hourly))
    binary = plan.settings.discretize
    return Pair(*(support(t, ids, base, binary) for t, base in zip(tables, bases, strict=True)))


def overlaps(
    events: pl.DataFrame,
    ids: Ids,
    plan: ColumnPlan,
    static: Columns,
    hourly: Columns,
    suspects: tuple[Ints, Ints],
) -> Pair[near_copies.Overlap]:
    """Counts the overlap of the suspects of each table in one bucket."""
    tables = _matrices(events, ids, plan, static, hourly)
    return Pair(*(near_copies.overlap(t, own) for t, own in zip(tables, suspects, strict=True)))


def _matrices(
    events: pl.DataFrame, ids: Ids, plan: ColumnPlan, static: Columns, hourly: Columns
) -> tuple[Any, Any]:
    """All features of both tables as CSR, (n, D) and (n * L, D)."""
    rows, (of_static, static_names), (of_hours, hour_names) = (
        planned(events, ids, plan),
        static,
        hourly,
    )
    bins, widths = plan.settings.bins, (len(static_names), len(hour_names))
    once, hours = (
        static_entries(rows, ids, plan, of_static),
        hourly_entries(rows, ids, plan, of_hours),
    )
    return (
        matrix(once, len(ids), range(widths[0]), widths[0]),
        matrix(hours, len(ids) * bins, range(widths[1]), widths[1]),
    )


def _sum(each: Each, buckets: Sequence[Any], function: Callable[..., Any], *arguments: Any) -> Any:
    """Sum of ``function(events, ids, *arguments)`` over the buckets."""
    return functools.reduce(operator.add, each(partial(_opened, function, arguments), buckets))


def _opened(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    events: pl.DataFrame,
    ids: npt.ArrayLike,
) -> Any:
    return function(events, ascending(ids), *arguments)


def _fitted(
    columns: Columns,
    counted: Support,
    varied: npt.NDArray[np.bool_],
    alike: near_copies.Matches,
    given: Edges | None,
) -> FittedTable:
    kept, aliases = without_duplicates(counted, columns[1], varied, alike)
    own = {c.name: c.edges or None for c in columns[0] if c.features or c.texts}
    edges = own if given is None else {n: tuple(e) if e else None for n, e in given.items()}
    return FittedTable(*columns, kept, aliases, edges)

"""FIDDLE's features (Tang et al., 2020): sparse, mergeable over buckets of ids, frozen by a fit.

A fit is four passes over the buckets, each a pure function of one bucket whose results add up:
count the variables, count them as renamed, count the values of each column, count the support of
each feature. Nothing but those sums outlives a bucket, and they do not depend on how ids are
bucketed (the products of real-valued features excepted, in their last bits). ``transform`` then
needs one bucket and the ``Fitted``. Events are described in ``events.py``.

Kept are FIDDLE's rules that shape its features. Not kept: it fails if every hourly variable is
frequent; its features come in the order in which its workers finish; it has two names for one
hierarchical code; it shifts repeated readings by microseconds (here file order breaks the tie).
That it takes nearly equal columns of many rows for copies is a setting (``near_copies.py``), as it
needs a fifth pass.
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

from medhmp.features import near_copies
from medhmp.features.cells import frequent_cells, hourly_cells, planned, static_cells
from medhmp.features.columns import Column, Edges, columns_of
from medhmp.features.encode import (
    Entries,
    baseline,
    filled,
    hourly_entries,
    matrix,
    static_entries,
)
from medhmp.features.events import Ids, ascending, in_window
from medhmp.features.fitted import Fitted, Table, Transformed
from medhmp.features.postfilter import (
    Support,
    support,
    varied_hourly,
    varied_static,
    without_duplicates,
)
from medhmp.features.settings import Settings
from medhmp.features.value_counts import Tally, tally
from medhmp.features.variables import (
    Plan,
    Survey,
    census,
    plan_of,
    refuse_bad_numbers,
    survey,
    types_of,
)
from medhmp.refusal import Refusal

__all__ = ["Fitted", "Settings", "Table", "Transformed", "fit", "transform"]

Integers = npt.NDArray[np.int64]
Result = TypeVar("Result")
T = TypeVar("T")
Both = tuple[T, T]
"""The same of the static and of the hourly table."""
Summand = TypeVar("Summand", Tally, Support, near_copies.Overlap)
Bucket = tuple[pl.DataFrame, npt.ArrayLike]
"""Events and the ids they may belong to; ids without events count too. Buckets share no id."""

Each = Callable[[Callable[..., Any], Sequence[Any]], Iterable[Any]]
"""Applies a function of (events, ids) to each bucket, and yields the results in their order."""


def in_turn(
    function: Callable[[pl.DataFrame, npt.ArrayLike], Result], buckets: Sequence[Bucket]
) -> Iterable[Result]:
    """Applies ``function`` to one bucket after the other."""
    return (function(events, ids) for events, ids in buckets)


def fit(
    buckets: Sequence[Any],
    settings: Settings,
    each: Each = in_turn,
    static_edges: Edges | None = None,
    hourly_edges: Edges | None = None,
) -> Fitted:
    """Fits the features to all ids of the buckets, which are read four times.

    ``each(function, buckets)`` yields ``function(events, ids)`` for every bucket; a bucket can be
    anything it knows how to open. The functions pickle, and what they return is added up.
    ``static_edges`` and ``hourly_edges`` are bins of another fit, by column name, None for a column
    without; a column with fewer than three distinct numbers does not use them.

    Raises Refusal for two values, one of them a number, at one (id, time, variable), for numbers
    that are not finite, for an unknown ICD-9 code, for given edges that lack a column, and if there
    is no id.
    """
    counted: Survey | None = _sum(each, buckets, survey, settings) if buckets else None
    if not counted or not counted.ids:
        raise Refusal("there is no id to fit features to; check the cohort's filters")
    types = types_of(counted, settings)
    plan = plan_of(_sum(each, buckets, census, settings, types), counted.ids, settings, types)
    values: Pair[Tally] = _sum(each, buckets, tallies, plan)
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
    return Fitted(
        plan,
        _fitted(static, counts.static, varied[0], alike[0], static_edges),
        _fitted(hourly, counts.hourly, varied[1], alike[1], hourly_edges),
    )


def _near_copies(
    each: Each,
    buckets: Sequence[Any],
    plan: Plan,
    tables: Both["Columns"],
    counts: "Pair[Support]",
    varied: Both[npt.NDArray[np.bool_]],
) -> Both[near_copies.Matches]:
    """Features that nearly are an earlier one; reads the buckets once more."""
    suspects = (
        near_copies.suspects(counts.static, varied[0]),
        near_copies.suspects(counts.hourly, varied[1]),
    )
    both: Pair[near_copies.Overlap] = _sum(each, buckets, overlaps, plan, *tables, suspects)
    return (
        near_copies.matches(counts.static, suspects[0], both.static),
        near_copies.matches(counts.hourly, suspects[1], both.hourly),
    )


def transform(events: pl.DataFrame, ids: npt.ArrayLike, fitted: Fitted) -> Transformed:
    """Features of ``ids``, in ascending order, those without events included.

    What the fit did not see (a variable, a category, a number outside the bins) gives no feature.
    Raises Refusal for inconsistent or infinite numbers, as ``fit`` does.
    """
    plan, rows_of = fitted.plan, ascending(ids)
    seen = in_window(events, rows_of, plan.settings.hours)
    refuse_bad_numbers(seen, plan.settings.value_types)
    rows = planned(seen, rows_of, plan)
    static = _values(
        static_entries(rows, rows_of, plan, fitted.static.columns), len(rows_of), fitted.static
    )
    bins = plan.settings.bins
    hourly = _values(
        hourly_entries(rows, rows_of, plan, fitted.hourly.columns),
        len(rows_of) * bins,
        fitted.hourly,
    )
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
    )


def _values(entries: Iterable[Entries], rows: int, table: Table) -> Any:
    """CSR (rows, features kept) of a fitted table, the means of missing cells filled in."""
    found = matrix(entries, rows, table.kept, len(table.names_all))
    base = baseline(table.columns, len(table.names_all))[list(table.kept)]
    return filled(found, base) if base.any() else found


@dataclass(frozen=True)
class Pair(Generic[Summand]):
    """The same sum for the two tables."""

    static: Summand
    hourly: Summand

    def __add__(self, other: "Pair[Summand]") -> "Pair[Summand]":
        return Pair(self.static + other.static, self.hourly + other.hourly)


def tallies(events: pl.DataFrame, ids: Ids, plan: Plan) -> Pair[Tally]:
    """Values of each column of both tables in one bucket, carried cells included."""
    rows = planned(events, ids, plan)
    dense = (column for _, columns in frequent_cells(rows, ids, plan) for column in columns)
    return Pair(tally(static_cells(rows, ids, plan)), tally(hourly_cells(rows, ids, plan), dense))


Columns = tuple[tuple[Column, ...], tuple[str, ...]]
"""Columns of a table and the names of all its features."""


def supports(
    events: pl.DataFrame, ids: Ids, plan: Plan, static: Columns, hourly: Columns
) -> Pair[Support]:
    """Support of all features of both tables in one bucket."""
    tables = _matrices(events, ids, plan, static, hourly)
    bases = (baseline(columns, len(names)) for columns, names in (static, hourly))
    binary = plan.settings.discretize
    return Pair(*(support(t, ids, base, binary) for t, base in zip(tables, bases, strict=True)))


def overlaps(
    events: pl.DataFrame,
    ids: Ids,
    plan: Plan,
    static: Columns,
    hourly: Columns,
    suspects: tuple[Integers, Integers],
) -> Pair[near_copies.Overlap]:
    """Overlap of the suspects of each table in one bucket."""
    tables = _matrices(events, ids, plan, static, hourly)
    return Pair(*(near_copies.overlap(t, own) for t, own in zip(tables, suspects, strict=True)))


def _matrices(
    events: pl.DataFrame, ids: Ids, plan: Plan, static: Columns, hourly: Columns
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
) -> Table:
    kept, aliases = without_duplicates(counted, columns[1], varied, alike)
    own = {c.name: c.edges or None for c in columns[0] if c.features or c.texts}
    edges = own if given is None else {n: tuple(e) if e else None for n, e in given.items()}
    return Table(*columns, kept, aliases, edges)

"""From cells to sparse features: a fitted table applied to the cells of any ids."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from medhmp.arrays import Floats, Ints
from medhmp.features.bins import bin_of_number, nearest_bin
from medhmp.features.cells import VALUE, frequent_cells, hourly_cells, static_cells
from medhmp.features.columns import Column
from medhmp.features.events import Ids
from medhmp.features.filled import Tally
from medhmp.features.settings import Settings
from medhmp.features.variables import ColumnPlan

Entries = tuple[Ints, Ints, Floats]
"""Row, feature and value of each entry of a table of features."""


def static_entries(
    rows: pl.DataFrame,
    ids: Ids,
    plan: ColumnPlan,
    columns: Sequence[Column],
    tally: Tally | None = None,
) -> Iterator[Entries]:
    """Entries of the static table; a row is the place of an id in ``ids``.

    ``tally`` counts the values met.
    """
    yield from _entries(static_cells(rows, ids, plan), columns, plan.settings, tally)


def hourly_entries(
    rows: pl.DataFrame,
    ids: Ids,
    plan: ColumnPlan,
    columns: Sequence[Column],
    tally: Tally | None = None,
) -> Iterator[Entries]:
    """Entries of the hourly table; row id * L + bin. The masks are the first features.

    ``tally`` counts the values met, those carried forward and statistics apart.
    """
    yield from _entries(hourly_cells(rows, ids, plan), columns, plan.settings, tally)
    for index, (mask, dense) in enumerate(frequent_cells(rows, ids, plan)):
        measured = np.flatnonzero(mask)
        yield measured, np.full(len(measured), index), np.ones(len(measured))
        if tally is not None:
            column, cells = dense[VALUE]
            tally.numbers(columns[column], measured, cells.ravel()[measured])
        for column, cells in dense:
            values = cells.ravel()
            held = np.flatnonzero(~np.isnan(values))
            yield _of_numbers(columns[column], held, values[held], plan.settings)


def matrix(entries: Iterable[Entries], rows: int, features: Sequence[int], count: int) -> Any:
    """Builds a CSR matrix (``rows``, len(``features``)), float64, with columns ascending.

    ``count`` is the number of all features; those not among ``features`` are left out.
    """
    place = np.full(count, -1, dtype=np.int32)
    place[np.asarray(features, dtype=np.int64)] = np.arange(len(features))
    parts = []
    for row, feature, value in entries:
        column = place[feature]
        kept = column >= 0
        parts.append((row[kept].astype(np.int32), column[kept], value[kept]))
    empty = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))
    row, column, value = (np.concatenate(part) for part in zip(empty, *parts, strict=True))
    result = sp.coo_matrix((value, (row, column)), shape=(rows, len(features))).tocsr()
    result.sort_indices()
    return result


def _entries(
    cells: pl.DataFrame, columns: Sequence[Column], asked: Settings, tally: Tally | None
) -> Iterator[Entries]:
    numeric = cells.filter(pl.col("number").is_not_null())
    column = numeric["column"].to_numpy()
    row, number = numeric["row"].to_numpy(), numeric["number"].to_numpy()
    bounds = np.searchsorted(column, np.arange(len(columns) + 1))
    for index in np.unique(column).tolist():
        part = slice(bounds[index], bounds[index + 1])
        if tally is not None:
            tally.numbers(columns[index], row[part], number[part])
        yield _of_numbers(columns[index], row[part], number[part], asked)
    found = _of_texts(cells, columns)
    if tally is not None:
        tally.texts(cells.filter(pl.col("text").is_not_null())["row"].to_numpy(), found[0])
    yield found


def _of_texts(cells: pl.DataFrame, columns: Sequence[Column]) -> Entries:
    """Entries of the cells whose text is a category; an unseen text gives none."""
    known = [
        (index, text, feature)
        for index, column in enumerate(columns)
        for text, feature in zip(column.texts, column.text_features, strict=True)
    ]
    schema = {"column": pl.Int64(), "text": pl.String(), "feature": pl.Int64()}
    categories = pl.DataFrame(known, schema=schema, orient="row")
    found = cells.join(categories, on=["column", "text"], how="inner")
    return found["row"].to_numpy(), found["feature"].to_numpy(), np.ones(len(found))


def _of_numbers(column: Column, rows: Ints, numbers: Floats, asked: Settings) -> Entries:
    """Entries of one column's numbers.

    A number in no bin, or in one without a feature as the fit saw no number there, goes to the
    nearest bin with a feature, or with ``clip`` false gives none, as a number of no category.
    """
    features = np.asarray(column.features, dtype=np.int64)
    if column.mean is not None:
        return rows, np.full(len(rows), features[0]), column.scaled(numbers)
    if column.edges and asked.ordinal:
        above = np.searchsorted(column.edges[:-1], numbers, side="left")
        nth = np.arange(above.sum()) - np.repeat(np.cumsum(above) - above, above)
        return np.repeat(rows, above), features[nth], np.ones(len(nth))
    place = bin_of_number(numbers, column.edges) if column.edges else _category(column, numbers)
    feature = np.append(features, -1)[place]
    held = feature >= 0
    if asked.clip and column.edges and not held.all():
        nearest = nearest_bin(numbers[~held], column.edges, np.flatnonzero(features >= 0))
        feature[~held] = features[nearest]
        return rows, feature, np.ones(len(rows))
    return rows[held], feature[held], np.ones(int(held.sum()))


def _category(column: Column, numbers: Floats) -> Ints:
    """Place of each number among the column's categories, -1 if it is none."""
    place = np.full(len(numbers), -1)
    for index, number in enumerate(column.numbers):
        place[numbers == number] = index
    return place


def baseline(columns: Sequence[Column], features: int) -> Floats:
    """Value (features,) of a cell without an entry: the mean of a real-valued column, else zero."""
    base = np.zeros(features)
    for column in columns:
        if column.mean is not None:
            base[column.features[0]] = column.mean
    return base


def with_baseline(table: Any, base: Floats) -> Any:
    """Fills ``base`` (D,) into the cells of a CSR table (rows, D) without an entry."""
    rows = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
    dense = np.tile(base, (table.shape[0], 1))
    dense[rows, table.indices] = table.data
    return sp.csr_matrix(dense)

"""The rules that turn cells of a table into features: a frozen ``Column`` per column.

``columns_of`` turns the counts of every column's values (``value_counts.py``) into bins, categories
or a mean, and numbers the features.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from medhmp.arrays import Floats, Ints
from medhmp.features.bins import (
    MIN_DISTINCT,
    bin_labels,
    bin_of_number,
    quantile_edges,
    quantiles,
)
from medhmp.features.events import number_text
from medhmp.features.settings import Settings
from medhmp.features.value_counts import ValueCounts
from medhmp.refusal import Refusal

Edges = Mapping[str, Sequence[float] | None]
"""Bin edges by column name; None for a column that is not binned."""

MIDDLE: Final = np.array([5, 50, 95]) / 100
"""Quantiles between which a real-valued column has its span, and its median."""
FURTHEST: Final = 5.0
"""Spans from the median at which a scaled number is cut."""


@dataclass(frozen=True)
class Column:
    """One column of a table. Features are indices into the names of all features; -1 is none.

    Numbers fall into bins (``edges``; ``features`` has one per bin, or per edge but the last if
    ordinal), or are categories (``numbers`` and ``features``), or stay numbers (``mean``, of what
    ``scaled`` makes of them, one feature). Texts are categories.
    """

    name: str
    features: tuple[int, ...] = ()
    edges: tuple[float, ...] = ()
    numbers: tuple[float, ...] = ()
    mean: float | None = None
    texts: tuple[str, ...] = ()
    text_features: tuple[int, ...] = ()
    median: float = 0.0
    span: float | None = None  # between the 5th and the 95th percentile; None: not scaled

    def scaled(self, numbers: Floats) -> Floats:
        """Numbers of a real-valued column as its feature has them.

        The distance from the median in spans, at most ``FURTHEST``: nine of ten training cells are
        within 1, and one absurd number cannot rule a sum of squares. Ours, as FIDDLE leaves real
        values.
        """
        if self.span is None:
            return numbers
        return np.clip((numbers - self.median) / self.span, -FURTHEST, FURTHEST)


def columns_of(
    counted: ValueCounts,
    names: Sequence[str],
    masks: Sequence[str],
    settings: Settings,
    edges: Edges | None,
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Derives the columns ``names`` and the names of all features, the ``masks`` first.

    ``edges`` are bins of another fit, by column: a column with at least ``MIN_DISTINCT`` numbers
    here uses them. Raises Refusal if they lack a column.
    """
    features = list(masks)
    columns: list[Column] = []
    for seen in _by_column(counted, names):
        if edges is not None and seen.name not in edges and len(seen.numbers) + len(seen.texts):
            raise Refusal(f"the given bins have no column '{seen.name}'; add it, null for no bins")
        if settings.discretize:
            given = None if edges is None else edges.get(seen.name) or ()
            columns.append(_discretized(seen, given, settings.ordinal, features))
        else:
            columns.append(_real(seen, settings.scale, features))
    if not settings.discretize:
        columns = [_with_split_texts(column, features) for column in columns]
    return tuple(columns), tuple(features)


class _Seen(NamedTuple):
    """The values of a column: distinct numbers and their cells, and texts, both ascending."""

    name: str
    numbers: Floats
    cells: Ints
    texts: tuple[str, ...]
    ends: tuple[float, float] | None  # lowest and highest number, where ``numbers`` lost bits


def _by_column(counted: ValueCounts, names: Sequence[str]) -> Iterator[_Seen]:
    numbers, texts = counted.numbers.sort("column", "number"), counted.texts.sort("column", "text")
    places = np.arange(len(names) + 1)
    number_at = np.searchsorted(numbers["column"].to_numpy(), places)
    text_at = np.searchsorted(texts["column"].to_numpy(), places)
    values, cells = numbers["number"].to_numpy(), numbers["cells"].to_numpy()
    lossy = counted.ends.filter(pl.col("bits") > 0).select("column", "low", "high")
    ends = {column: (low, high) for column, low, high in lossy.iter_rows()}
    for index, name in enumerate(names):
        part = slice(number_at[index], number_at[index + 1])
        words = texts["text"][text_at[index] : text_at[index + 1]].to_list()
        yield _Seen(name, values[part], cells[part], tuple(words), ends.get(index))


def _discretized(
    seen: _Seen, given: Sequence[float] | None, ordinal: bool, features: list[str]
) -> Column:
    """Bins a column of enough numbers (with ``given`` edges, if not None), else categorizes it."""
    edges: tuple[float, ...] = ()
    if len(seen.numbers) >= MIN_DISTINCT:
        own = quantile_edges(seen.numbers, seen.cells, seen.ends)
        edges = own if given is None else tuple(map(float, given))
    if not edges:
        return _categories(seen, features)
    if ordinal:
        placed = _number(features, [f"{seen.name}>{edge}" for edge in edges[:-1]])
    else:
        held = set(bin_of_number(seen.numbers, edges).tolist())
        labels = [f"{seen.name}_{label}" for label in bin_labels(edges)]
        of_held = iter(_number(features, [label for k, label in enumerate(labels) if k in held]))
        placed = tuple(next(of_held) if k in held else -1 for k in range(len(labels)))
    text_features = _number(features, [f"{seen.name}_{text}" for text in seen.texts])
    return Column(seen.name, placed, edges, texts=seen.texts, text_features=text_features)


def _categories(seen: _Seen, features: list[str]) -> Column:
    """One category per distinct value, in the order of their texts."""
    of_number = {number_text(number): number for number in seen.numbers.tolist()}
    ordered = sorted([*of_number, *seen.texts])
    placed = _number(features, [f"{seen.name}_{text}" for text in ordered])
    feature = dict(zip(ordered, placed, strict=True))
    return Column(
        seen.name,
        features=tuple(feature[text] for text in of_number),
        numbers=tuple(of_number.values()),
        texts=seen.texts,
        text_features=tuple(feature[text] for text in seen.texts),
    )


def _real(seen: _Seen, scale: str, features: list[str]) -> Column:
    """Keeps numbers numbers; texts are categories, which a mixed column numbers later."""
    if not len(seen.numbers):
        placed = _number(features, [f"{seen.name}:{text}" for text in seen.texts])
        return Column(seen.name, texts=seen.texts, text_features=placed)
    column = Column(seen.name, _number(features, [seen.name]), texts=seen.texts)
    if scale == "quantiles":
        median, span = _middle(seen)
        column = replace(column, median=median, span=span)
    numbers = column.scaled(seen.numbers)
    # One value is its own mean to the last bit, so that a constant column has no variance at all.
    constant = len(numbers) == 1
    mean = numbers[0] if constant else np.average(numbers, weights=seen.cells)
    return replace(column, mean=float(mean))


def _middle(seen: _Seen) -> tuple[float, float]:
    """Median and span of a column.

    Where nine of ten numbers are equal, the span is the median distance of the others.
    """
    low, median, high = quantiles(seen.numbers, seen.cells, MIDDLE).tolist()
    away, order = np.unique(np.abs(seen.numbers - median), return_inverse=True)
    cells = np.bincount(order, seen.cells)
    others = away > 0
    if high > low or not others.any():
        return median, high - low or 1.0
    return median, float(quantiles(away[others], cells[others], MIDDLE[1:2])[0])


def _with_split_texts(column: Column, features: list[str]) -> Column:
    """Numbers the texts of a mixed column, which stand behind all other columns."""
    if column.mean is None or not column.texts:
        return column
    placed = _number(features, [f"{column.name}_str:{text}" for text in column.texts])
    return replace(column, text_features=placed)


def _number(features: list[str], names: list[str]) -> tuple[int, ...]:
    """Appends the names to ``features`` and returns their places."""
    features.extend(names)
    return tuple(range(len(features) - len(names), len(features)))

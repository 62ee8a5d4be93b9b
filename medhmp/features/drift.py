"""Drift: how the hourly variables of other data differ from those that a fit saw.

A model reads other data through frozen columns. A variable that is not there, or is there in
another unit, leaves columns empty or fills the wrong ones, and no feature shows it. So each
variable of the fit is compared: the stays that have it, the columns that these fill, and the median
of its numbers. Counts add up over buckets, and do not depend on them.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any, Final

import polars as pl

from medhmp.features.columns import Column
from medhmp.features.fitted import FittedFeatures

UNLIKE: Final = 2.0
"""Medians that differ by this factor or more look like two units: Fahrenheit and Celsius, pounds
and kilograms differ by little more."""

STEPS: Final = 100
"""Steps of a factor of ten in which numbers are counted: a median is within 1.2 % of the exact."""
_ZERO: Final = 400 * STEPS
"""Place of 10^0 on the scale; below 0 are the negative numbers, mirrored."""


@dataclass(frozen=True)
class Variable:
    """One hourly variable of a fit, and what other data have of it."""

    columns: int  # its features, the bins since a reading apart
    filled: int  # of these, those that any stay of the other data has
    stays: int  # stays of the other data with a reading
    fitted: float | None  # middle of its numbers when it was fitted; none: no bins
    median: float | None  # of its numbers in the other data

    @property
    def ratio(self) -> float | None:
        """Median here over the middle of the fit; none where either is missing or not positive."""
        if self.fitted is None or self.median is None or min(self.fitted, self.median) <= 0:
            return None
        return self.median / self.fitted

    @property
    def looks_different(self) -> bool:
        """True where the two may be in different units."""
        return self.ratio is not None and not 1 / UNLIKE < self.ratio < UNLIKE

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Readings:
    """Readings of stays, in counts. Sums over buckets."""

    stays: pl.DataFrame  # variable, stays
    places: pl.DataFrame  # variable, place (of its numbers on the scale), readings

    def __add__(self, other: "Readings") -> "Readings":
        stays = pl.concat([self.stays, other.stays]).group_by("variable").sum()
        places = pl.concat([self.places, other.places]).group_by("variable", "place").sum()
        return Readings(stays, places)


def readings(names: Collection[str], events: pl.DataFrame, ids: pl.Series) -> Readings:
    """Counts the readings of ``ids`` under these names in the events of one bucket."""
    own = pl.col("variable").is_in(list(names)) & pl.col("t").is_not_null()
    rows = events.filter(own & pl.col("id").is_in(ids.implode()))
    stays = rows.group_by("variable").agg(stays=pl.col("id").n_unique().cast(pl.Int64))
    numbers = rows.filter(pl.col("number").is_finite())
    size = (pl.col("number").abs().log10() * STEPS).floor() + _ZERO
    place = pl.when(pl.col("number") == 0).then(0.0).otherwise(size * pl.col("number").sign())
    counts = numbers.select("variable", place=place.cast(pl.Int64)).group_by("variable", "place")
    return Readings(stays, counts.agg(readings=pl.len().cast(pl.Int64)))


def medians(places: pl.DataFrame) -> dict[str, float]:
    """Variable -> the median of its numbers, from ``Readings.places``."""
    ordered = places.sort("variable", "place").with_columns(
        upto=pl.col("readings").cum_sum().over("variable"),
        half=pl.col("readings").sum().over("variable") / 2,
    )
    middle = ordered.filter(pl.col("upto") >= pl.col("half")).group_by("variable").first()
    return {name: _number(place) for name, place in middle.select("variable", "place").iter_rows()}


def _number(place: int) -> float:
    """The number in the middle of a place."""
    if not place:
        return 0.0
    size = 10 ** ((abs(place) - _ZERO + 0.5) / STEPS)
    return math.copysign(size, place)


@dataclass(frozen=True)
class Fit:
    """The hourly variables of a fit by the names that events have."""

    features: Mapping[str, frozenset[int]]  # variable -> ids of its hourly features
    middles: Mapping[str, float]  # variable -> the middle of its numbers

    @staticmethod
    def of(fitted: FittedFeatures, indicators: Sequence[str]) -> "Fit":
        """The variables that have a feature. ``indicators`` became one variable per value."""
        plan, table = fitted.plan, fitted.hourly
        owners = {f"{name}_value": name for name in (*plan.hourly, *plan.frequent)}
        owners |= {f"{n}_{of}": n for n in plan.frequent for of in plan.settings.statistics}
        known = (*indicators, *plan.types.of)
        ids = {place: number for number, place in enumerate(table.kept)}
        features: dict[str, set[int]] = {}
        middles = {}
        for column in table.columns:
            if (owner := owners.get(column.name)) is None:
                continue
            places = [*column.features, *column.text_features]
            own = {ids[place] for place in places if place in ids}
            features.setdefault(_recorded(owner, known), set()).update(own)
            middle = _middle(column)
            if column.name == f"{owner}_value" and middle is not None:
                middles[owner] = middle
        for name in plan.frequent:
            mask = table.names_all.index(f"{name}_mask")
            features.setdefault(name, set()).update({ids[mask]} if mask in ids else ())
        return Fit({name: frozenset(of) for name, of in features.items() if of}, middles)

    def against(self, filled: Collection[int], found: Readings) -> dict[str, dict[str, Any]]:
        """Variable -> ``Variable``, as JSON, in the order of the names.

        ``filled`` are the features that the other data have, ``found`` their readings.
        """
        stays, there = dict(found.stays.iter_rows()), medians(found.places)
        return {
            name: Variable(
                columns=len(own),
                filled=len(own.intersection(filled)),
                stays=stays.get(name, 0),
                fitted=self.middles.get(name),
                median=there.get(name),
            ).to_json()
            for name, own in sorted(self.features.items())
        }


def added(parts: Sequence[Readings]) -> Readings:
    """The sum of the readings of buckets."""
    return reduce(add, parts)


def _recorded(name: str, known: Sequence[str]) -> str:
    """The variable that a renamed one (``rhythm: AF``, ``ROUTE:IV``) was made of."""
    owners = [of for of in known if name.startswith((f"{of}:", f"{of}: ")) or name == of]
    return min(owners, key=len, default=name)


def _middle(column: Column) -> float | None:
    """The middle of the numbers that a column was fitted to: of its third of five bins."""
    if column.edges:
        half = len(column.edges) // 2
        odd = len(column.edges) % 2
        return column.edges[half] if odd else (column.edges[half - 1] + column.edges[half]) / 2
    return column.median if column.span is not None else None

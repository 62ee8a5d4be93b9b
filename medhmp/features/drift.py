"""Drift: how the hourly variables of other data differ from those that a fit saw.

A model reads other data through frozen columns. A variable that is not there, or is there in
another unit, leaves columns empty or fills the wrong ones, and no feature shows it. So each
variable of the fit is compared: the stays that have it, the columns that these fill, and the median
of its numbers. Counts add up over buckets, and do not depend on them.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Final

import polars as pl

from medhmp.features.fitted import FittedFeatures

UNLIKE: Final = 2.0
"""Medians that differ by this factor or more look like two units: Fahrenheit and Celsius, pounds
and kilograms differ by little more."""
FEW: Final = 10
"""Stays on either side below which medians are not compared."""

STEPS: Final = 100
"""Steps of a factor of ten in which numbers are counted: a median is within 1.2 % of the exact."""
_ZERO: Final = 400 * STEPS
"""Place of 10^0 on the scale; below 0 are the negative numbers, mirrored."""


@dataclass(frozen=True)
class Typical:
    """The readings of one hourly variable in some stays."""

    stays: int  # with a reading
    median: float | None  # of the numbers; none: there are none


@dataclass(frozen=True)
class Variable:
    """One hourly variable of a fit, and what other data have of it."""

    columns: int  # its features, the bins since a reading apart
    filled: int  # of these, those that any stay of the other data has
    stays: int  # stays of the other data with a reading
    median: float | None  # of its numbers there
    fitted_stays: int  # the same of the training stays of the fit
    fitted_median: float | None

    @property
    def ratio(self) -> float | None:
        """Median there over that of the fit; none where either is missing or not positive."""
        if self.median is None or self.fitted_median is None:
            return None
        positive = min(self.median, self.fitted_median) > 0
        return self.median / self.fitted_median if positive else None

    @property
    def looks_different(self) -> bool:
        """True where the two may be in different units."""
        if self.ratio is None or min(self.stays, self.fitted_stays) < FEW:
            return False
        return not 1 / UNLIKE < self.ratio < UNLIKE


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


def typical(found: Readings) -> dict[str, Typical]:
    """Variable -> how many stays have it, and its median; in the order of the names."""
    ordered = found.places.sort("variable", "place").with_columns(
        upto=pl.col("readings").cum_sum().over("variable"),
        half=pl.col("readings").sum().over("variable") / 2,
    )
    reached = ordered.filter(pl.col("upto") >= pl.col("half"))
    middle = dict(reached.group_by("variable").agg(pl.col("place").first()).iter_rows())
    return {
        name: Typical(stays, _number(middle[name]) if name in middle else None)
        for name, stays in found.stays.sort("variable").iter_rows()
    }


def _number(place: int) -> float:
    """The number in the middle of a place."""
    if not place:
        return 0.0
    size = 10 ** ((abs(place) - _ZERO + 0.5) / STEPS)
    return math.copysign(size, place)


def features_of(fitted: FittedFeatures, indicators: Sequence[str]) -> dict[str, frozenset[int]]:
    """Hourly variable, as events name it -> the ids of its features; of those that have any.

    ``indicators`` are the variables that became one variable per value.
    """
    plan, table = fitted.plan, fitted.hourly
    owners = {f"{name}_value": name for name in (*plan.hourly, *plan.frequent)}
    owners |= {f"{n}_{of}": n for n in plan.frequent for of in plan.settings.statistics}
    known = (*indicators, *plan.types.of)
    ids = {place: number for number, place in enumerate(table.kept)}
    found: dict[str, set[int]] = {}
    for column in table.columns:
        if owner := owners.get(column.name):
            own = {ids[p] for p in (*column.features, *column.text_features) if p in ids}
            found.setdefault(_recorded(owner, known), set()).update(own)
    for name in plan.frequent:
        mask = table.names_all.index(f"{name}_mask") if f"{name}_mask" in table.names_all else -1
        found.setdefault(name, set()).update({ids[mask]} if mask in ids else ())
    return {name: frozenset(own) for name, own in sorted(found.items()) if own}


def compared(
    features: Mapping[str, frozenset[int]],
    fitted: Mapping[str, Typical],
    filled: Collection[int],
    found: Mapping[str, Typical],
) -> dict[str, Variable]:
    """What other data have of each variable of a fit.

    Args:
        features: as ``features_of``.
        fitted: the readings of its training stays.
        filled: ids of the features that the other data have.
        found: their readings.
    """
    nothing = Typical(0, None)
    return {
        name: Variable(
            columns=len(own),
            filled=len(own.intersection(filled)),
            stays=found.get(name, nothing).stays,
            median=found.get(name, nothing).median,
            fitted_stays=fitted.get(name, nothing).stays,
            fitted_median=fitted.get(name, nothing).median,
        )
        for name, own in features.items()
    }


def added(parts: Sequence[Readings]) -> Readings:
    """The sum of the readings of buckets."""
    return reduce(add, parts)


def _recorded(name: str, known: Sequence[str]) -> str:
    """The variable that a renamed one (``rhythm: AF``, ``ROUTE:IV``) was made of."""
    owners = [of for of in known if name == of or name.startswith(f"{of}:")]
    return min(owners, key=len, default=name)

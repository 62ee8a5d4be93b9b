"""Numbers beside bins: readings and their statistics as ranks among those of training stays.

Bins cost what their edges cut away. So a stay has, beside its features, the last number of each
hour and variable as its rank-Gaussian, and statistics of its readings as ranks. Both maps are
linear between quantiles of training stays, which the manifest keeps: they give the numbers back.

A fit is one pass, whose results add up over buckets. It reads the training stays that come first in
the order of the shards, which is that of a hash: all of them where there are no more than
``NumberPlan.sampled``, else as good as a random draw, so that a rank is off by about a hundredth.
What it keeps is bounded by that number, whatever the size of the data.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from medhmp.arrays import Floats, Floats32, Ints
from medhmp.features.bins import quantiles
from medhmp.features.derived import Derived, derivable, readings_of
from medhmp.features.events import Ids, in_window
from medhmp.features.statistics import STATISTICS, Readings, statistics
from medhmp.features.value_counts import ValueCounts, count_values
from medhmp.features.variables import ColumnPlan
from medhmp.tables.hours import bin_of
from medhmp.tables.ranges import Variable

SAMPLE: Final = 8192
"""Training stays that a fit reads, at most."""
CELLS: Final = 1 << 26
"""Statistics of them that it holds, at most: a quarter of a GiB."""
GAUSSIAN: Final = np.linspace(-3, 3, 49)
"""Values of the rank-Gaussian at the quantiles of a variable's numbers."""
_CDF: Final = [NormalDist().cdf(z) for z in GAUSSIAN[1:-1].tolist()]
SHARES: Final = np.array([0.0, *_CDF, 1.0])
"""Shares of the training numbers up to those quantiles; the ends are the lowest and highest."""
RANKS: Final = np.linspace(0, 1, 33)
"""Values of a rank at the quantiles of a statistic, which are at these shares."""
LISTS: Final = ("variables", "statistics", "kept", "statistic_of")
"""Fields of a fit that are plain lists."""


@dataclass(frozen=True)
class NumberPlan:
    """The numeric variables of a fit, and what is computed of them."""

    variables: tuple[str, ...]  # U, with a time; names ascend
    static: tuple[str, ...]  # without a time
    derived: tuple[Derived, ...]
    bins: int  # hours of the window, or other bins
    dt: float  # hours per bin

    @property
    def hours(self) -> float:
        """The observation window."""
        return self.bins * self.dt

    @property
    def columns(self) -> list[str]:
        """The name of every statistic, before any is dropped."""
        series = (*self.variables, *(of.name for of in self.derived))
        return [f"{name} {of}" for name in series for of in STATISTICS] + list(self.static)

    @property
    def sampled(self) -> int:
        """Training stays that a fit reads, at most."""
        return min(SAMPLE, CELLS // max(len(self.columns), 1))

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "NumberPlan":
        derived = tuple(map(Derived.from_json, raw["derived"]))
        names = {name: tuple(raw[name]) for name in ("variables", "static")}
        return NumberPlan(**{**raw, **names, "derived": derived})


@dataclass(frozen=True)
class FittedNumbers:
    """Everything that ``transform`` needs, as plain values."""

    plan: NumberPlan
    variables: tuple[str, ...]  # U names, by id
    statistics: tuple[str, ...]  # Q names, in their order
    kept: tuple[int, ...]  # their places among ``plan.columns``
    # of each statistic the id of its variable, the first of a derived one; U: it has no time
    statistic_of: tuple[int, ...]
    of_numbers: tuple[tuple[float, ...], ...]  # quantiles of each variable at ``SHARES``
    of_statistics: tuple[tuple[float, ...], ...]  # and of each statistic at ``RANKS``

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "FittedNumbers":
        """Reads what ``to_json`` gave."""
        known: dict[str, Any] = {name: tuple(raw[name]) for name in LISTS}
        known |= {name: tuple(map(tuple, raw[name])) for name in ("of_numbers", "of_statistics")}
        return FittedNumbers(NumberPlan.from_json(raw["plan"]), **known)


@dataclass(frozen=True)
class Numbers:
    """Numbers of n stays as CSR over hours, and their statistics.

    The i-th stay has ``ids[offsets[i]:offsets[i + 1]]``, in which ``hour_offsets[i]`` says where
    each bin begins and ends; ids ascend inside a bin.
    """

    offsets: Ints  # (n + 1,)
    hour_offsets: npt.NDArray[np.uint32]  # (n, L + 1)
    ids: npt.NDArray[np.int32]
    values: Floats32  # rank-Gaussians
    statistics: Floats32  # (n, Q) ranks, NaN where there is none


@dataclass(frozen=True)
class Sample:
    """What a fit keeps of sampled stays: all their statistics, and counts of hourly numbers."""

    statistics: Floats32  # (n, all columns)
    numbers: ValueCounts

    def __add__(self, other: "Sample") -> "Sample":
        both = np.concatenate([self.statistics, other.statistics])
        return Sample(both, self.numbers + other.numbers)


def number_plan(
    plan: ColumnPlan, indicators: Collection[str], known: Sequence[Variable]
) -> NumberPlan:
    """The numeric variables of a fit of FIDDLE.

    Args:
        plan: types the variables.
        indicators: variables whose values became indicators: always one, so no numbers.
        known: the quantities of which series are derived.
    """
    made = tuple(f"{name}: " for name in indicators)
    numeric = [
        name
        for name, kind in plan.types.of.items()
        if "numeric" in kind.lower() and name not in indicators and not name.startswith(made)
    ]
    variables = tuple(name for name in numeric if name not in plan.static)
    static = tuple(name for name in numeric if name in plan.static)
    derived = derivable(known, variables)
    return NumberPlan(variables, static, derived, plan.settings.bins, plan.settings.dt)


def sample(events: pl.DataFrame, ids: Ids, plan: NumberPlan) -> Sample:
    """Reads the sampled ``ids`` (ascending) of one bucket of resolved events."""
    readings = _readings(events, ids, plan)
    last = _last_of_hours(readings, plan)
    cells = pl.DataFrame({"column": last.series, "number": last.number}).with_columns(
        text=pl.lit(None, pl.String)
    )
    return Sample(_statistics(events, readings, ids, plan), count_values(cells))


def fit(read: Sample, plan: NumberPlan) -> FittedNumbers:
    """Fits both maps. Drops variables without a reading, and statistics that never vary."""
    counted = read.numbers.numbers.sort("column", "number")
    places, starts = np.unique(counted["column"].to_numpy(), return_index=True)
    ends = [*starts[1:], counted.height]
    numbers, cells = counted["number"].to_numpy(), counted["cells"].to_numpy()
    spans = [slice(a, b) for a, b in zip(starts, ends, strict=True)]
    kept = [at for at, column in enumerate(read.statistics.T) if _varies(column)]
    names, variables = plan.columns, tuple(plan.variables[place] for place in places)
    owners = [*plan.variables, *(of.of[0] for of in plan.derived)]
    ids = {name: at for at, name in enumerate(variables)}
    of = [ids.get(name, len(variables)) for name in owners for _ in STATISTICS]
    of += [len(variables)] * len(plan.static)
    return FittedNumbers(
        plan,
        variables=variables,
        statistics=tuple(names[at] for at in kept),
        kept=tuple(kept),
        statistic_of=tuple(of[at] for at in kept),
        of_numbers=tuple(_short(quantiles(numbers[own], cells[own], SHARES)) for own in spans),
        of_statistics=tuple(_short(_quantiles(read.statistics[:, at])) for at in kept),
    )


def transform(events: pl.DataFrame, ids: Ids, fitted: FittedNumbers) -> Numbers:
    """Numbers and statistics of ``ids`` (ascending), those without events included."""
    plan = fitted.plan
    readings = _readings(events, ids, plan)
    last = _last_of_hours(readings, plan)
    hour, of = last.row, np.full(len(plan.variables), -1)
    of[[plan.variables.index(name) for name in fitted.variables]] = np.arange(len(fitted.variables))
    own = of[last.series] >= 0
    hour, series, number = hour[own], of[last.series[own]], last.number[own]
    order = np.lexsort((series, hour))
    ends = np.searchsorted(hour[order], np.arange(len(ids) * plan.bins + 1))
    offsets = ends[:: plan.bins]
    begins = np.arange(len(ids))[:, None] * plan.bins + np.arange(plan.bins + 1)
    values = np.empty(len(number), np.float32)
    for at, knots in enumerate(fitted.of_numbers):
        mine = series == at
        values[mine] = _between(number[mine], knots, GAUSSIAN)
    full = _statistics(events, readings, ids, plan)
    ranks = [
        _between(full[:, at], knots, RANKS)
        for at, knots in zip(fitted.kept, fitted.of_statistics, strict=True)
    ]
    return Numbers(
        offsets=offsets.astype(np.int64),
        hour_offsets=(ends[begins] - offsets[:-1, None]).astype(np.uint32),
        ids=series[order].astype(np.int32),
        values=values[order],
        statistics=np.stack(ranks, axis=1).astype(np.float32)
        if ranks
        else np.zeros((len(ids), 0), np.float32),
    )


def _readings(events: pl.DataFrame, ids: Ids, plan: NumberPlan) -> Readings:
    """The numbers of the plan's variables that have a time in its window."""
    seen = in_window(events, ids, plan.hours)
    place = pl.col("variable").cast(pl.Enum(plan.variables), strict=False).to_physical()
    rows = seen.with_columns(series=place.cast(pl.Int64)).filter(
        pl.col("t").is_not_null() & pl.col("number").is_not_null() & pl.col("series").is_not_null()
    )
    row = np.searchsorted(ids, rows["id"].to_numpy()).astype(np.int64)
    columns = (rows[name].to_numpy() for name in ("series", "t", "number"))
    return Readings.sorted(row, *columns)


def _last_of_hours(readings: Readings, plan: NumberPlan) -> Readings:
    """The last reading of each stay, bin and variable; ``row`` is stay * L + bin."""
    bins = pl.select(bin_of(pl.lit(pl.Series(readings.t, dtype=pl.Float64)), plan.dt)).to_series()
    hour = readings.row * plan.bins + bins.to_numpy()
    last = np.ones(len(readings), bool)
    last[:-1] = (np.diff(hour) != 0) | (np.diff(readings.series) != 0)
    return Readings(hour[last], readings.series[last], readings.t[last], readings.number[last])


def _statistics(events: pl.DataFrame, readings: Readings, ids: Ids, plan: NumberPlan) -> Floats32:
    """All statistics (n, columns of the plan)."""
    parts = [readings]
    for at, of in enumerate(plan.derived, len(plan.variables)):
        row, t, number = readings_of(of, readings, plan.variables)
        parts.append(Readings(row, np.full(len(row), at), t, number))
    every = Readings.sorted(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("row", "series", "t", "number")
        )
    )
    series = len(plan.variables) + len(plan.derived)
    timed = statistics(every, len(ids), series, plan.hours)
    return np.concatenate([timed, _static(events, ids, plan)], axis=1)


def _static(events: pl.DataFrame, ids: Ids, plan: NumberPlan) -> Floats32:
    """The last number (n, columns) without a time, in file order, of each static variable."""
    found = np.full((len(ids), len(plan.static)), np.nan, np.float32)
    rows = events.filter(pl.col("variable").is_in(plan.static) & pl.col("number").is_not_null())
    for at, name in enumerate(plan.static):
        own = rows.filter(pl.col("t").is_null() & (pl.col("variable") == name))
        own = own.filter(pl.col("id").is_in(pl.Series(ids).implode()))
        found[np.searchsorted(ids, own["id"].to_numpy()), at] = own["number"].to_numpy()
    return found


def _varies(column: Floats32) -> bool:
    known = column[~np.isnan(column)]
    return len(known) > 0 and (len(known) < len(column) or bool(known.min() < known.max()))


def _quantiles(column: Floats32) -> Floats:
    return np.quantile(column[~np.isnan(column)].astype(np.float64), RANKS)


def _short(values: Floats) -> tuple[float, ...]:
    """Values in single precision, with the fewest digits that tell them apart."""
    return tuple(float(str(value)) for value in values.astype(np.float32))


def _between(numbers: npt.ArrayLike, knots: Sequence[float], levels: Floats) -> Floats:
    """Maps quantiles to levels, linear between them; equal quantiles to the mean of their levels.

    NaN stays NaN; what lies beyond the training numbers is mapped as their ends.
    """
    distinct, place = np.unique(knots, return_inverse=True)
    means = np.bincount(place, levels) / np.bincount(place)
    return np.interp(np.asarray(numbers, np.float64), distinct, means)

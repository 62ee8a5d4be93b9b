"""Statistics of the readings of a stay: one row of numbers for each stay, whatever its length.

A series is a numeric variable or one derived of two (``derived.py``). Every series has the same
statistics, in the order of ``STATISTICS``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from medhmp.arrays import Floats, Floats32, Ints

LAST_HOURS: Final = 12
"""Hours before the prediction time whose mean is a statistic of its own."""
WINDOWS: Final = 4
"""Equal parts of the observation window, each with its mean; the last hours are one already."""
SHARES: Final = (10, 50, 90)
"""Percentiles of a stay's readings."""
STATISTICS: Final = (
    *("first", "last", "mean", "minimum", "maximum", "count", "SD"),
    f"mean of the last {LAST_HOURS} h",
    *("change", "slope", "hours since the first", "hours since the last"),
    *(f"{share}th percentile" for share in SHARES),
    *(f"mean of part {part} of {WINDOWS}" for part in range(1, WINDOWS)),
    *("minimum of the last half", "maximum of the last half", "count of the last half"),
)
"""Names. Counts are 0 where there is no reading; the others are NaN."""
COUNTS: Final = tuple(at for at, name in enumerate(STATISTICS) if name.startswith("count"))


@dataclass(frozen=True)
class Readings:
    """Numbers read at a time. Rows ascend, then series, then times."""

    row: Ints  # place of the stay
    series: Ints
    t: Floats  # hours
    number: Floats

    @staticmethod
    def sorted(row: Ints, series: Ints, t: Floats, number: Floats) -> "Readings":
        """Sorts; readings of one moment stay in their order."""
        order = np.lexsort((t, series, row))
        return Readings(row[order], series[order], t[order], number[order])

    def __len__(self) -> int:
        return len(self.row)


def statistics(readings: Readings, rows: int, series: int, hours: float) -> Floats32:
    """Statistics (rows, series * S) of every stay, all of one series together.

    Args:
        readings: of ``rows`` stays and ``series`` series, with 0 <= t < ``hours``.
        rows: stays.
        series: series.
        hours: the observation window.
    """
    found = np.full((rows * series, len(STATISTICS)), np.nan, np.float32)
    found[:, COUNTS] = 0
    if len(readings):
        group = readings.row * series + readings.series
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        columns = list(_columns(readings, group, starts, hours))
        found[group[starts]] = np.stack(columns, axis=1)
    return found.reshape(rows, -1)


def _columns(readings: Readings, group: Ints, starts: Ints, hours: float) -> Iterator[Floats]:
    """The statistics, each (G) of the G stays and series that have a reading."""
    t, number = readings.t, readings.number
    counts = np.diff(starts, append=len(number))
    ends = starts + counts
    lowest, highest = np.minimum.reduceat(number, starts), np.maximum.reduceat(number, starts)
    mean = np.clip(np.add.reduceat(number, starts) / counts, lowest, highest)
    away = number - np.repeat(mean, counts)
    first, last = number[starts], number[ends - 1]
    yield from (first, last, mean, lowest, highest, counts.astype(np.float64))
    yield np.sqrt(np.add.reduceat(away**2, starts) / counts)
    yield _mean_of(t >= hours - LAST_HOURS, number, starts)
    yield last - first
    yield _slope(t, away, starts, counts)
    yield hours - t[starts]
    yield hours - t[ends - 1]
    ascending = number[np.lexsort((number, group))]
    for share in SHARES:
        yield _percentile(ascending, starts, counts, share)
    part = np.minimum(t * WINDOWS / hours, WINDOWS - 1).astype(np.int64)
    for at in range(WINDOWS - 1):
        yield _mean_of(part == at, number, starts)
    late = t >= hours / 2
    none = np.add.reduceat(late, starts, dtype=np.int64)
    some = np.where(none > 0, 0.0, np.nan)
    yield np.minimum.reduceat(np.where(late, number, np.inf), starts) + some
    yield np.maximum.reduceat(np.where(late, number, -np.inf), starts) + some
    yield none.astype(np.float64)


def _mean_of(chosen: npt.NDArray[np.bool_], number: Floats, starts: Ints) -> Floats:
    """Mean of the chosen readings of each group, NaN without one."""
    counts = np.add.reduceat(chosen, starts, dtype=np.int64)
    total = np.add.reduceat(np.where(chosen, number, 0.0), starts)
    none = np.full(len(starts), np.nan)
    return np.asarray(np.divide(total, counts, out=none, where=counts > 0))


def _slope(t: Floats, away: Floats, starts: Ints, counts: Ints) -> Floats:
    """Least-squares change per hour, NaN of readings at one time. ``away``: from the mean."""
    after = t - np.repeat(np.add.reduceat(t, starts) / counts, counts)
    spread = np.add.reduceat(after**2, starts)
    together = np.add.reduceat(after * away, starts)
    none = np.full(len(starts), np.nan)
    return np.asarray(np.divide(together, spread, out=none, where=spread > 1e-6))


def _percentile(ascending: Floats, starts: Ints, counts: Ints, share: int) -> Floats:
    """Percentile of each group, interpolated linearly as numpy does."""
    position = (counts - 1) * (share / 100)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, counts - 1)
    below, above = ascending[starts + low], ascending[starts + high]
    return np.asarray(below + (above - below) * (position - low))

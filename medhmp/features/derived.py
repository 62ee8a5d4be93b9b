"""Series derived of two quantities: what clinicians read off two charts at once.

Quantities are entries of ``tables/variables.yaml``, which knows what each source calls them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from medhmp.arrays import Floats, Ints
from medhmp.features.statistics import Readings
from medhmp.tables.ranges import Variable

FRACTION: Final = "inspired oxygen as a fraction"
QUANTITIES: Final = {
    "shock index": ("ratio", "heart rate", "systolic blood pressure"),
    "pulse pressure": ("difference", "systolic blood pressure", "diastolic blood pressure"),
    "P/F": ("ratio", "oxygen tension", FRACTION),
    "P/F of percent": ("ratio", "oxygen tension", "inspired oxygen"),
    "BUN/creatinine": ("ratio", "urea nitrogen", "creatinine"),
}
"""Name -> how, and the two quantities. Where two names would be of the same variables, since what
one source calls a quantity another calls one of its like in another unit, the first is kept: a
rank does not know units."""


@dataclass(frozen=True)
class Derived:
    """One derived series, and the variables of each of its two quantities."""

    name: str
    how: Literal["ratio", "difference"]
    of: tuple[str, ...]
    by: tuple[str, ...]

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "Derived":
        return Derived(raw["name"], raw["how"], tuple(raw["of"]), tuple(raw["by"]))


def derivable(known: Sequence[Variable], variables: Collection[str]) -> tuple[Derived, ...]:
    """The series whose quantities both are among ``variables``, as ``known`` names them."""
    names = {of.name: _names(of, variables) for of in known}
    found = (
        Derived(name, how, names.get(of, ()), names.get(by, ()))  # type: ignore[arg-type]
        for name, (how, of, by) in QUANTITIES.items()
    )
    of_variables = {(d.how, d.of, d.by): d for d in reversed([*found]) if d.of and d.by}
    return tuple(reversed(of_variables.values()))


def _names(of: Variable, variables: Collection[str]) -> tuple[str, ...]:
    every = dict.fromkeys(name for names in of.names.values() for name in names)
    return tuple(name for name in every if name in variables)


def readings_of(
    derived: Derived, readings: Readings, variables: Sequence[str]
) -> tuple[Ints, Floats, Floats]:
    """Row, time and number of a derived series: one for each reading of its first quantity, by the
    last of its second that is known then. A ratio by zero or less is none."""
    place = {name: at for at, name in enumerate(variables)}
    one = _of(readings, [place[name] for name in derived.of])
    other = _of(readings, [place[name] for name in derived.by])
    if not len(one) or not len(other):
        return one.row[:0], one.t[:0], one.number[:0]
    span = max(one.t.max(), other.t.max()) + 1  # so that hours of one stay end before the next
    moments = one.row * span + one.t, other.row * span + other.t
    before = np.searchsorted(moments[1], moments[0], side="right") - 1
    by = other.number[before]
    known = (before >= 0) & (other.row[before] == one.row)
    if derived.how == "ratio":
        known &= by > 0
    row, t, number, by = one.row[known], one.t[known], one.number[known], by[known]
    return row, t, number / by if derived.how == "ratio" else number - by


def _of(readings: Readings, places: list[int]) -> Readings:
    """The readings of some variables, as one series."""
    own = np.isin(readings.series, places)
    row, t, number = readings.row[own], readings.t[own], readings.number[own]
    return Readings.sorted(row, np.zeros_like(row), t, number)

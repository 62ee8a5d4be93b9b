"""How far the columns of a fit are filled by the data that they are applied to, in counts.

Columns of other data can stay empty, and a value can lie where the fit saw none. Neither shows in
the features themselves: a cell without a feature is one that was not measured.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medhmp.arrays import Floats, Ints
from medhmp.features.bins import bin_of_number
from medhmp.features.columns import FURTHEST, Column


class Tally:
    """Counts of the values of each of ``ids`` ids (n,), in a table of ``bins`` rows an id."""

    def __init__(self, ids: int, bins: int) -> None:
        self._ids, self._bins = ids, bins
        self.values = np.zeros(ids, np.int64)
        self.beyond = np.zeros(ids, np.int64)  # numbers that the fitted bins or spans do not cover
        self.unknown = np.zeros(ids, np.int64)  # of no category that the fit saw

    def numbers(self, column: Column, rows: Ints, numbers: Floats) -> None:
        """Counts numbers of a column."""
        self.values += self._of_ids(rows)
        if column.edges:
            features = np.asarray(column.features, dtype=np.int64)
            low, high = column.edges[0], column.edges[-1]
            strange = (numbers < low) | (numbers > high)
            if (features < 0).any():
                strange |= np.append(features, -1)[bin_of_number(numbers, column.edges)] < 0
            self.beyond += self._of_ids(rows[strange])
        elif column.mean is None:
            self.unknown += self._of_ids(rows[~np.isin(numbers, column.numbers)])
        elif column.span is not None:
            far = np.abs(numbers - column.median) > FURTHEST * column.span
            self.beyond += self._of_ids(rows[far])

    def texts(self, rows: Ints, known: Ints) -> None:
        """Counts texts, some of them ``known`` to the fit."""
        self.values += self._of_ids(rows)
        self.unknown += self._of_ids(rows) - self._of_ids(known)

    def _of_ids(self, rows: Ints) -> Ints:
        return np.bincount(rows // self._bins, minlength=self._ids)


@dataclass(frozen=True)
class Recorded:
    """Entries of the hourly table that come from a reading, of n ids; what is imputed is apart.

    Those of the i-th id are ``features[offsets[i]:offsets[i + 1]]``.
    """

    offsets: Ints  # (n + 1,)
    features: npt.NDArray[np.int32]
    hourly: Tally
    static: Tally


@dataclass(frozen=True)
class Filled:
    """What the stays of a source fill. Sums over buckets."""

    stays: int = 0
    filled: int = 0  # stays with an hourly feature
    features: frozenset[int] = frozenset()  # hourly features that any of them has
    hourly: tuple[int, int, int] = (0, 0, 0)  # values, beyond, unknown, as ``Tally``
    static: tuple[int, int, int] = (0, 0, 0)

    def __add__(self, other: "Filled") -> "Filled":
        return Filled(
            self.stays + other.stays,
            self.filled + other.filled,
            self.features | other.features,
            _added(self.hourly, other.hourly),
            _added(self.static, other.static),
        )

    @property
    def share(self) -> float:
        """Share of the stays that have an hourly feature; 1 of none."""
        return self.filled / self.stays if self.stays else 1.0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "features": sorted(self.features)}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "Filled":
        """Reads what ``to_json`` wrote."""
        lists = {name: tuple(raw[name]) for name in ("hourly", "static")}
        return Filled(**{**raw, "features": frozenset(raw["features"]), **lists})

    def counts(self) -> dict[str, int]:
        """The counts by their names in the manifest."""
        named = {STAYS: self.stays, FILLED: self.filled, FEATURES: len(self.features)}
        for table, of in (("hourly", self.hourly), ("demographic", self.static)):
            for name, n in zip(("", BEYOND, UNKNOWN), of, strict=True):
                named[f"{table} values{name}"] = n
        return named


STAYS: Final = "stays"
FILLED: Final = "stays with an hourly feature"
FEATURES: Final = "hourly features that any stay has"
BEYOND: Final = " beyond what was fitted"
UNKNOWN: Final = " of no fitted category"


def filled(
    recorded: Recorded, own: npt.NDArray[np.bool_], elapsed: npt.NDArray[np.bool_]
) -> Filled:
    """Counts of the ids where ``own`` (n,) is true.

    ``elapsed`` (D,) is true for the features of the bins since a reading. They are there without
    any reading, so they fill no id; of an id that others fill, they count.
    """
    owner = np.repeat(np.arange(len(own)), np.diff(recorded.offsets))
    mine = own[owner]
    features, owner = recorded.features[mine], owner[mine]
    of_readings = ~elapsed[features]
    some = np.zeros(len(own), bool)
    some[owner[of_readings]] = True
    return Filled(
        stays=int(own.sum()),
        filled=int(some.sum()),
        features=frozenset(np.unique(features[some[owner]]).tolist()),
        hourly=_sums(recorded.hourly, own),
        static=_sums(recorded.static, own),
    )


def _sums(tally: Tally, own: npt.NDArray[np.bool_]) -> tuple[int, int, int]:
    values, beyond, unknown = (
        int(of[own].sum()) for of in (tally.values, tally.beyond, tally.unknown)
    )
    return values, beyond, unknown


def _added(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]

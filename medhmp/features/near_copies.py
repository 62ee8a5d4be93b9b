"""0/1 features that are nearly copies: those that FIDDLE takes for copies although cells differ.

FIDDLE drops a feature whose correlation with an earlier one is within ``TOLERANCE`` of 1 or -1. For
features that are on (or off) in few rows that means equal, or complementary, in every cell. It can
mean more only from some 50,000 rows on, and then only for features that are on in nearly as many
rows: these are found by their counts, and only of them it is counted in how many rows both are on.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medhmp.features.postfilter import TOLERANCE, Support

Integers = npt.NDArray[np.int64]
Matches = dict[int, tuple[int, bool]]
"""Place of a feature -> the earliest that it nearly is, and whether equal (else complementary)."""


@dataclass(frozen=True)
class Overlap:
    """Rows (k, k) in which two of k features are both on: additive over buckets."""

    both: Integers

    def __add__(self, other: "Overlap") -> "Overlap":
        return Overlap(self.both + other.both)


def overlap(table: Any, features: Integers) -> Overlap:
    """Overlap of some features (k,) of a 0/1 CSR table (rows, D)."""
    own = table.tocsc()[:, features].astype(np.int64)
    return Overlap((own.T @ own).toarray())


def suspects(counted: Support, varied: npt.NDArray[np.bool_]) -> Integers:
    """Places (k,), ascending, of the features that may be nearly another one.

    With n and m rows on, n <= m, of R in all, the correlation is at most that of n inside m, the
    root of the ratio of their odds n / (R - n) and m / (R - m).
    """
    rarer = np.minimum(counted.entries, counted.rows - counted.entries)
    # One differing cell takes about 1 / (2 n (1 - n / R)) from the correlation.
    large = np.flatnonzero(varied & (4 * rarer * TOLERANCE > 1))
    odds = rarer[large] / (counted.rows - rarer[large])  # of a feature or its complement
    order = np.argsort(odds)
    near = np.flatnonzero(np.sqrt(odds[order][:-1] / odds[order][1:]) >= 1 - TOLERANCE)
    return np.sort(large[order[np.union1d(near, near + 1)]])


def matches(counted: Support, places: Integers, found: Overlap) -> Matches:
    """The suspects (k,) that are nearly an earlier one; ``found`` is their overlap."""
    on, rows = counted.entries[places].astype(np.float64), float(counted.rows)
    spread = np.sqrt(on * (rows - on))
    matched: Matches = {}
    for j in range(1, len(places)):
        r = (rows * found.both[j, :j] - on[j] * on[:j]) / (spread[j] * spread[:j])
        near = np.flatnonzero(np.abs(np.abs(r) - 1) <= TOLERANCE)
        if len(near):
            matched[int(places[j])] = (int(places[near[0]]), bool(r[near[0]] > 0))
    return matched

"""Near-duplicate 0/1 features: pairs that differ in some cells, yet correlate so closely that
FIDDLE drops one.

FIDDLE drops a feature whose correlation with an earlier one is within ``TOLERANCE`` of 1 or -1. For
features that are on (or off) in few rows, that means equal or complementary in every cell. From
some 50,000 rows on, features may differ in a few cells if they are on in nearly as many rows. Their
counts find such suspects, and only for suspects the rows in which both are on are counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medhmp.arrays import Ints
from medhmp.features.postfilter import TOLERANCE, Support

Matches = dict[int, tuple[int, bool]]
"""Place of a feature -> the earliest that it nearly is; True: equal, False: complementary."""


@dataclass(frozen=True)
class Overlap:
    """Counts (k, k) of rows in which two of k features are both on; additive over buckets."""

    both: Ints

    def __add__(self, other: "Overlap") -> "Overlap":
        return Overlap(self.both + other.both)


def overlap(table: Any, features: Ints) -> Overlap:
    """Counts the overlap of some features (k,) of a 0/1 CSR table (rows, D)."""
    own = table.tocsc()[:, features].astype(np.int64)
    return Overlap((own.T @ own).toarray())


def suspects(counted: Support, varied: npt.NDArray[np.bool_]) -> Ints:
    """Finds the places (k,), ascending, of the features that may nearly be another one.

    Of R rows, let two features be on in n and m, n <= m. Their correlation is largest if the n lie
    inside the m: then it is the root of the ratio of the odds n / (R - n) and m / (R - m).
    """
    rarer = np.minimum(counted.entries, counted.rows - counted.entries)
    # One differing cell takes about 1 / (2 n (1 - n / R)) from the correlation.
    large = np.flatnonzero(varied & (4 * rarer * TOLERANCE > 1))
    odds = rarer[large] / (counted.rows - rarer[large])  # of a feature or its complement
    order = np.argsort(odds)
    near = np.flatnonzero(np.sqrt(odds[order][:-1] / odds[order][1:]) >= 1 - TOLERANCE)
    return np.sort(large[order[np.union1d(near, near + 1)]])


def matches(counted: Support, places: Ints, found: Overlap) -> Matches:
    """Finds the suspects (``places``, k) that nearly are an earlier one by their overlap."""
    on, rows = counted.entries[places].astype(np.float64), float(counted.rows)
    spread = np.sqrt(on * (rows - on))
    matched: Matches = {}
    for j in range(1, len(places)):
        r = (rows * found.both[j, :j] - on[j] * on[:j]) / (spread[j] * spread[:j])
        near = np.flatnonzero(np.abs(np.abs(r) - 1) <= TOLERANCE)
        if len(near):
            matched[int(places[j])] = (int(places[near[0]]), bool(r[near[0]] > 0))
    return matched

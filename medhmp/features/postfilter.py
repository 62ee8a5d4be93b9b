"""FIDDLE's post-filter, which drops features that are near-constant or copies of an earlier one.

FIDDLE forms the D x D correlation matrix of dense tables. Here each bucket yields additive counts
and, for 0/1 features, a fingerprint of the set of rows where a feature is on: |r| = 1 exactly when
two features are on in the same rows or in complementary ones. Real-valued features keep the sums of
the correlation itself, sparse because a missing cell does not deviate from the column's mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from medhmp.arrays import Floats, Ints
from medhmp.features.events import Ids

Words = npt.NDArray[np.uint64]

TOLERANCE: Final = 1e-5 + 1e-8
"""Correlations this close to 1 or -1 are taken for it (real-valued features)."""


@dataclass(frozen=True)
class Fingerprints:
    """128-bit sums of a random word per row: over the rows where a feature is on, and over all.

    Shapes (D, 2) and (2,), modulo 2^64.
    """

    features: Words
    rows: Words

    def __add__(self, other: "Fingerprints") -> "Fingerprints":
        return Fingerprints(self.features + other.features, self.rows + other.rows)


@dataclass(frozen=True)
class Moments:
    """Sums (D,) and sparse products (D, D) of the deviations from each column's baseline."""

    sums: Floats
    products: Any

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.sums + other.sums, self.products + other.products)


@dataclass(frozen=True)
class Support:
    """Everything the post-filter needs to know of D features; additive over buckets of ids."""

    ids: int
    rows: int
    nonzero: Ints  # (D,) ids with any cell other than 0
    not_one: Ints  # (D,) ids with any cell other than 1
    entries: Ints  # (D,) cells with an entry
    alike: Fingerprints | Moments

    def __add__(self, other: "Support") -> "Support":
        return Support(
            self.ids + other.ids,
            self.rows + other.rows,
            self.nonzero + other.nonzero,
            self.not_one + other.not_one,
            self.entries + other.entries,
            self.alike + other.alike,  # type: ignore[operator]
        )


def support(table: Any, ids: Ids, base: Floats, binary: bool) -> Support:
    """Counts the support of a CSR table (n * L, D) of the n ``ids``.

    A cell without an entry is ``base`` (D,); with ``binary``, entries are 1 and ``base`` is 0.
    """
    columns = table.tocsc()
    nonzero, not_one = _per_id(columns, len(ids), base)
    alike = _fingerprints(table, ids) if binary else _moments(columns, base)
    return Support(len(ids), table.shape[0], nonzero, not_one, np.diff(columns.indptr), alike)


def _per_id(columns: Any, n: int, base: Floats) -> tuple[Ints, Ints]:
    """Ids with any cell that is not 0, and with any that is not 1, per column of a CSC table."""
    width = base.shape[0]
    bins = columns.shape[0] // n if n else 1
    feature = np.repeat(np.arange(width), np.diff(columns.indptr))
    owner = feature * n + columns.indices // bins
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    feature = feature[starts]
    partial = np.diff(starts, append=len(owner)) < bins
    met = np.bincount(feature, minlength=width)

    def count(differs: npt.NDArray[np.bool_], value: float) -> Ints:
        some = np.add.reduceat(differs.astype(np.int64), starts) if len(starts) else starts
        here = (some > 0) | (partial & (base[feature] != value))
        unmet = np.where(base != value, n - met, 0)
        return np.asarray(np.bincount(feature[here], minlength=width) + unmet)

    return count(columns.data != 0, 0.0), count(columns.data != 1, 1.0)


def _fingerprints(table: Any, ids: Ids) -> Fingerprints:
    bins = table.shape[0] // len(ids) if len(ids) else 1
    words = row_words(ids, bins)
    on = sp.csr_matrix((np.ones(table.nnz, np.uint64), table.indices, table.indptr), table.shape)
    return Fingerprints(on.T @ words, words.sum(axis=0, dtype=np.uint64))


def row_words(ids: Ids, bins: int) -> Words:
    """Two random words (n * bins, 2) for each row, a function of the id and the bin alone."""
    row = _mix(ids.astype(np.uint64))[:, None] + np.arange(bins, dtype=np.uint64)
    first = _mix(row.ravel().astype(np.uint64))
    return np.stack([first, _mix(first ^ np.uint64(0x5851F42D4C957F2D))], axis=1)


def _mix(x: Words) -> Words:
    """The finalizer of splitmix64 (Steele, Lea and Flood, 2014): a bijection that looks random."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _moments(columns: Any, base: Floats) -> Moments:
    deviations = columns.copy()
    deviations.data = columns.data - np.repeat(base, np.diff(columns.indptr))
    sums = np.asarray(deviations.sum(axis=0)).ravel()
    return Moments(sums, (deviations.T @ deviations).tocsr())


def varied_static(counted: Support, theta: float) -> npt.NDArray[np.bool_]:
    """Static features (D,) whose variance over ids exceeds theta (1 - theta)."""
    if isinstance(counted.alike, Moments):
        return _variance(counted) / counted.rows > theta * (1 - theta)
    # For a 0/1 feature the same, free of rounding: its share of ones is inside (theta, 1 - theta).
    rarer = np.minimum(counted.entries, counted.rows - counted.entries)
    return rarer / counted.rows > min(theta, 1 - theta)


def varied_hourly(counted: Support, theta: float) -> npt.NDArray[np.bool_]:
    """Hourly features (D,) of which more than theta of the ids have a bin not 0, and one not 1."""
    return (counted.nonzero / counted.ids > theta) & (counted.not_one / counted.ids > theta)


def without_duplicates(
    counted: Support,
    names: Sequence[str],
    varied: npt.NDArray[np.bool_],
    near: Mapping[int, tuple[int, bool]],
) -> tuple[tuple[int, ...], dict[str, list[str]]]:
    """Finds the places of the features to keep, and the dropped ones by the earliest they copy.

    Only ``varied`` features take part. A feature is dropped if an earlier one, itself dropped or
    not, correlates with it at 1 or -1, or nearly (``near``); a complement is written ``~{name}``.
    """
    places = np.flatnonzero(varied)
    find = _equal if isinstance(counted.alike, Fingerprints) else _correlated
    kept, aliases = [], dict[str, list[str]]()
    for place, exact in zip(places.tolist(), find(counted, places), strict=True):
        found = [m for m in (exact, near.get(place, (None, True))) if m[0] is not None]
        match, same = min(found) if found else (None, True)
        if match is None:
            kept.append(place)
        else:
            name = names[place] if same else f"~{{{names[place]}}}"
            aliases.setdefault(names[match], []).append(name)
    return tuple(kept), aliases


Match = tuple[int | None, bool]
"""Earliest matching feature, if any, and True if equal, False if complementary."""


def _equal(counted: Support, places: Ints) -> Iterator[Match]:
    assert isinstance(counted.alike, Fingerprints)
    on = counted.alike.features[places]
    off = counted.alike.rows - on
    first: dict[tuple[int, int], int] = {}
    for place, key, complement in zip(
        places.tolist(), map(tuple, on.tolist()), map(tuple, off.tolist()), strict=True
    ):
        if key in first:
            yield first[key], True
        elif complement in first:
            yield first[complement], False
        else:
            first[key] = place
            yield None, True


def _correlated(counted: Support, places: Ints) -> Iterator[Match]:
    assert isinstance(counted.alike, Moments)
    products = counted.alike.products[places][:, places]
    sums, variance = counted.alike.sums[places], _variance(counted)[places]
    for j in range(len(places)):
        covariance = products[[j], :j].toarray()[0] - sums[j] * sums[:j] / counted.rows
        with np.errstate(divide="ignore", invalid="ignore"):  # a constant correlates with nothing
            r = covariance / np.sqrt(variance[j] * variance[:j])
        matches = np.flatnonzero(np.abs(np.abs(r) - 1) <= TOLERANCE)
        yield (int(places[matches[0]]), bool(r[matches[0]] > 0)) if len(matches) else (None, True)


def _variance(counted: Support) -> Floats:
    """Variance of each real-valued feature (D,) times the number of rows."""
    assert isinstance(counted.alike, Moments)
    centered = counted.alike.products.diagonal() - counted.alike.sums**2 / counted.rows
    return np.asarray(centered)

"""Quantile bins of a column of numbers, and their names."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from medhmp.arrays import Floats, Ints

QUANTILES: Final = np.array([0, 20, 40, 60, 80, 100]) / 100
MIN_DISTINCT: Final = 3
"""A column with fewer distinct numbers is not binned: each number is a category."""


def quantile_edges(
    values: Floats, counts: Ints, ends: tuple[float, float] | None = None
) -> tuple[float, ...]:
    """Sorted distinct quintiles of a multiset of numbers, interpolated linearly as numpy does.

    ``values`` (U,) ascend and are distinct, ``counts`` (U,) are their multiplicities, so nothing
    of the size of the data is ever formed. ``ends`` are the lowest and the highest number, where
    ``values`` are but near the numbers.
    """
    edges = quantiles(values, counts, QUANTILES)
    if ends:
        edges = np.clip(np.array([ends[0], *edges[1:-1], ends[1]]), *ends)
    return tuple(float(edge) for edge in np.unique(edges))


def quantiles(values: Floats, counts: Ints, shares: Floats) -> Floats:
    """Quantiles of a multiset at these shares, 0 to 1, interpolated linearly as numpy does.

    ``values`` and ``counts`` are as in ``quantile_edges``.
    """
    upto = np.cumsum(counts)
    position = (upto[-1] - 1) * shares
    before = np.floor(position).astype(np.int64)
    after = np.minimum(before + 1, upto[-1] - 1)
    low = values[np.searchsorted(upto, before, side="right")]
    high = values[np.searchsorted(upto, after, side="right")]
    part = position - before
    step = high - low
    # From the nearer end, so that a quantile at a reading is that reading to the last bit.
    return np.asarray(np.where(part < 0.5, low + step * part, high - step * (1 - part)))


def bin_of_number(numbers: Floats, edges: Sequence[float]) -> Ints:
    """Bin of each number, -1 outside the edges: the first is [e0, e1], the others (e_i, e_i+1]."""
    place = np.searchsorted(edges, numbers, side="left") - 1
    place[numbers == edges[0]] = 0
    place[place == len(edges) - 1] = -1
    return place


def nearest_bin(numbers: Floats, edges: Sequence[float], held: Ints) -> Ints:
    """Bin of ``held`` (ascending) that lies nearest to each number; the lower one of two."""
    bounds = np.asarray(edges)
    below, above = bounds[held] - numbers[:, None], numbers[:, None] - bounds[held + 1]
    return np.asarray(held[np.maximum(below, above).argmin(axis=1)])


def bin_labels(edges: Sequence[float]) -> list[str]:
    """The text "(low, high]" of each bin, with the fewest digits, from three, that part the edges.

    The first low is drawn just below its edge, for that bin is closed. These are the labels that
    pandas gives a quantile cut.
    """
    digits = next((d for d in range(3, 20) if _distinct(edges, d)), 3)
    shown = [_rounded(edge, digits) for edge in edges]
    shown[0] -= 10.0**-digits
    return [f"({low}, {high}]" for low, high in pairwise(shown)]


def _distinct(edges: Sequence[float], digits: int) -> bool:
    return len({_rounded(edge, digits) for edge in edges}) == len(edges)


def _rounded(x: float, digits: int) -> float:
    """x to ``digits`` decimals, or to as many significant digits if it lies between -1 and 1."""
    if 0 < abs(x) < 1:
        digits = digits - 1 - int(np.floor(np.log10(abs(x))))
    return float(np.round(x, digits)) if digits < 300 else x

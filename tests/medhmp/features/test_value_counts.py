"""Counts of values: exact up to a bound, near beyond it, the same however buckets divide them."""

from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.features import value_counts as module
from medhmp.features.bins import quantile_edges
from medhmp.features.cells import CELLS
from medhmp.features.value_counts import ValueCounts, count_values

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
MULTISETS = st.lists(st.tuples(st.integers(0, 2), NUMBERS), min_size=1, max_size=120)


def cells(rows):
    columns = list(zip(*((c, k, x, None) for k, (c, x) in enumerate(rows)), strict=True))
    return pl.DataFrame(dict(zip(CELLS, columns or [()] * 4, strict=True)), schema=CELLS)


def same(one: ValueCounts, other: ValueCounts) -> bool:
    keys = {"numbers": ["column", "number"], "texts": ["column", "text"], "ends": ["column"]}
    return all(
        getattr(one, name).sort(by).equals(getattr(other, name).sort(by))
        for name, by in keys.items()
    )


@pytest.fixture(scope="module", autouse=True)
def bounded():
    """So few numbers are counted apart that ordinary examples have more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_DISTINCT", 16)
        yield


@given(MULTISETS, st.lists(st.integers(0, 120), max_size=4), st.randoms())
def test_buckets_and_their_order_do_not_matter(rows, cuts, random):
    whole = count_values(cells(rows))
    mixed = random.sample(rows, len(rows))
    bounds = [0, *sorted(cuts), len(rows)]
    parts = [count_values(cells(mixed[a:b])) for a, b in pairwise(bounds)]
    assert same(reduce(add, parts), whole)


@given(MULTISETS)
def test_numbers_are_near_and_ends_exact(rows):
    found = count_values(cells(rows))
    for column, low, high, bits in found.ends.iter_rows():
        numbers = np.sort([x for c, x in rows if c == column])
        own = found.numbers.filter(pl.col("column") == column).sort("number")
        near = np.repeat(own["number"].to_numpy(), own["cells"].to_numpy())
        assert (low, high) == (numbers[0], numbers[-1])
        assert own.height <= 16
        assert bits > 0 or own.height == len(np.unique(numbers))
        smallest = np.finfo(float).smallest_normal  # below, a mantissa has no leading one
        assert (np.abs(near - numbers) <= 2.0 ** (bits - 52) * np.abs(numbers) + smallest).all()


def test_edges_of_many_numbers_hold_them_all(monkeypatch):
    numbers = np.random.default_rng(0).normal(size=5000)
    exact = quantile_edges(*np.unique(numbers, return_counts=True))
    monkeypatch.setattr(module, "MOST_DISTINCT", 500)
    found = count_values(cells([(0, x) for x in numbers.tolist()]))
    ((_, low, high, bits),) = found.ends.iter_rows()
    own = found.numbers.sort("number")
    edges = quantile_edges(own["number"].to_numpy(), own["cells"].to_numpy(), (low, high))
    assert (edges[0], edges[-1]) == (exact[0], exact[-1]) == (numbers.min(), numbers.max())
    np.testing.assert_allclose(edges, exact, rtol=2.0 ** (bits - 52), atol=0)
    assert edges != exact

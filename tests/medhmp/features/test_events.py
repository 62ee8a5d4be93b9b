"""Which rows repeat another, against comparing every pair."""

import math

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from medhmp.features.events import first_of_each, is_repeated

TIMES = st.sampled_from([None, 0.0, -0.0, 1.5, math.nan])
ROWS = st.lists(st.tuples(st.integers(0, 2), TIMES, st.sampled_from(["a", "b", None])), max_size=12)
KEY = ("id", "t", "variable")
SCHEMA = {"id": pl.Int64(), "t": pl.Float64(), "variable": pl.String()}


def alike(one, other):
    """Nulls are alike, so are NaNs, and the two zeros."""
    return all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))


@given(ROWS)
def test_is_repeated_finds_the_rows_that_another_is_like(rows):
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    expected = [
        any(alike(row, other) for j, other in enumerate(rows) if j != i)
        for i, row in enumerate(rows)
    ]
    assert is_repeated(frame, KEY).to_list() == expected


@given(ROWS)
def test_first_of_each_keeps_one_row_of_those_alike_the_first(rows):
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_row_index("place")
    firsts = [i for i, row in enumerate(rows) if not any(alike(row, other) for other in rows[:i])]
    assert sorted(first_of_each(frame, KEY)["place"]) == firsts

"""Hierarchical values that are no codes: all in one refusal, and none of them repeated."""

import itertools
import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features import hierarchy
from medhmp.features.events import SCHEMA
from medhmp.features.fiddle import fit
from medhmp.refusal import Refusal, counted
from tests.fiddle import fiddle_settings

TYPES = {"DX": hierarchy.ICD9, "OLD_DX": hierarchy.ICD9, "WARD": "Categorical"}
GOOD = ("4280", "038.9", "V4501", "E885", "428", " 4280", "v45.01 ")
BAD = ("Jane Roe 555-0100", "[red]x[/red]", "I50.9", "38.93.1", "42", "", "n/a", "{}", "%s")
ROW = st.tuples(
    st.integers(1, 9), st.sampled_from(["DX", "OLD_DX", "WARD"]), st.sampled_from(GOOD + BAD)
)


def table(rows):
    split = [(id, None, variable, None, value) for id, variable, value in rows]
    return pl.DataFrame(split, schema=SCHEMA, orient="row")


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(ROW, max_size=8), min_size=1, max_size=4))
def test_every_bad_value_of_every_bucket_is_counted_and_none_is_told(buckets):
    found = [hierarchy.unknown(table(rows), TYPES) for rows in buckets]
    every = list(itertools.chain.from_iterable(buckets))
    bad = [(variable, value) for _, variable, value in every if value in BAD and variable != "WARD"]
    if not bad:
        return hierarchy.refuse(itertools.chain.from_iterable(found))
    with pytest.raises(Refusal) as refused:
        hierarchy.refuse(itertools.chain.from_iterable(found))
    said = str(refused.value)
    for name in ("DX", "OLD_DX"):
        own = [value for variable, value in bad if variable == name]
        told = f"'{name}' ({counted(len(set(own)), 'value')} in {counted(len(own), 'row')})"
        assert (told in said) == bool(own)
    assert not re.search(r"Jane|red|I50|38\.93|n/a|\{\}|%s", said)


def test_a_number_is_no_code_as_its_zeros_are_lost():
    events = pl.DataFrame([(1, None, "DX", 389.0, None)], schema=SCHEMA, orient="row")
    with pytest.raises(Refusal, match=r"'DX' \(1 value in 1 row\).*038.9 must not become 38.9"):
        hierarchy.refuse(hierarchy.unknown(events, TYPES))


def test_a_fit_refuses_them_too():
    events = table([(1, "DX", "4280"), (2, "DX", BAD[0]), (3, "DX", BAD[0]), (3, "DX", BAD[2])])
    asked = fiddle_settings(hours=4, value_types=TYPES)
    with pytest.raises(Refusal, match=r"'DX' \(2 values in 3 rows\)") as refused:
        fit([(events, [1, 2, 3])], asked)
    assert "Jane" not in str(refused.value)


def test_a_row_without_a_value_is_no_bad_one():
    events = pl.DataFrame([(1, None, "DX", None, None)], schema=SCHEMA, orient="row")
    assert hierarchy.unknown(events, TYPES) == []

"""Events without a time: none is kept but those of variables that may lack one."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from medhmp.tables.readings import timed

HOURS = st.none() | st.floats(0, 48)


@given(st.lists(st.tuples(st.sampled_from(["HR", "Height"]), HOURS, HOURS)), st.booleans())
def test_only_a_variable_that_may_lack_a_time_does(rows, may_lack):
    frame = pl.DataFrame(
        rows, schema={"variable": pl.String, "start": float, "end": float}, orient="row"
    )
    counts: dict[str, int] = {}
    named = pl.col("variable") == "Height"
    found = timed(frame, ("start", "end"), "PUMP", counts, named if may_lack else None)
    expected = [row for row in rows if None not in row[1:] or (may_lack and row[0] == "Height")]
    assert found.rows() == expected
    assert counts.get("PUMP, without a time", 0) == len(rows) - len(expected)

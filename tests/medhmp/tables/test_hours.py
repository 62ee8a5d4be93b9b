"""The time axis at the edges of bins, to the last bit."""

import datetime as dt

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from medhmp.tables.hours import bin_of, hours_between, in_hours


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.3, 0.5, 1.0, 2.0, 7.0]))
def test_a_time_at_k_dt_begins_bin_k(k: int, width: float) -> None:
    end = np.nextafter((k + 1) * width, 0)
    at = pl.Series([k * width, np.nextafter(k * width, np.inf), end, None])
    assert pl.select(bin_of(pl.lit(at), width)).to_series().to_list() == [k, k, k, None]


@given(st.integers(-10_000, 10_000))
def test_whole_hours_are_whole(hours: int) -> None:
    begin = dt.datetime(2100, 1, 1, 7, 23, 45)
    frame = pl.DataFrame({"begin": [begin], "at": [begin + dt.timedelta(hours=hours)]})
    assert frame.select(hours_between("at", "begin")).item() == hours


@given(st.integers(-100_000, 100_000))
def test_a_minute_is_in_the_bin_of_its_hour(minute: int) -> None:
    hours = pl.select(in_hours(pl.lit(minute), 60)).item()
    assert hours // 1 == minute // 60
    assert round((hours - hours // 1) * 60) == minute % 60

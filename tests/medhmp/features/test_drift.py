"""Drift: sums over buckets, medians against exact ones, and what looks like another unit."""

import statistics

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.features import drift, fiddle
from medhmp.features.settings import Settings

NUMBERS = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
READINGS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["HR", "K", "x"]), st.none() | NUMBERS),
    max_size=40,
)


def events(rows, t=1.0):
    kinds = {"id": pl.Int64, "variable": pl.String, "number": pl.Float64}
    frame = pl.DataFrame(rows, schema=kinds, orient="row")
    return frame.with_columns(t=pl.lit(t, pl.Float64), text=pl.lit(None, pl.String))


@given(READINGS, st.integers(0, 6))
def test_readings_add_up_over_buckets_to_exact_medians(rows, cut):
    frame, names = events(rows), ("HR", "K")
    parts = [
        drift.readings(names, frame, pl.Series(ids, dtype=pl.Int64))
        for ids in (range(cut), range(cut, 6))
    ]
    found = drift.typical(drift.added(parts))
    for name in names:
        own = [(i, x) for i, of, x in rows if of == name]
        assert (name in found) == bool(own)
        if own:
            assert found[name].stays == len({i for i, _ in own})
            numbers = [x for _, x in own if x is not None]
            assert (found[name].median is None) == (not numbers)
            if numbers:
                low = statistics.median_low(numbers)
                assert found[name].median == pytest.approx(low, rel=0.012)


def test_what_has_no_time_or_another_name_is_no_reading():
    frame = pl.concat([events([(0, "HR", 80.0)], None), events([(0, "x", 1.0)])])
    assert drift.typical(drift.readings(("HR",), frame, pl.Series([0]))) == {}


@pytest.fixture(scope="module")
def fit():
    """Sixty stays with a heart rate each hour (frequent), potassium twice, and a rhythm."""
    draw = np.random.default_rng(0)
    rows = []
    for i in range(60):
        rows += [(i, h, "HR", float(draw.normal(80, 10)), None) for h in range(8)]
        rows += [(i, h, "K", float(draw.normal(4, 0.5)), None) for h in (0, 5)]
        rows.append((i, 0, "rhythm", None, "AF" if i % 2 else "sinus"))
    kinds = {"id": pl.Int64, "t": pl.Float64, "variable": pl.String}
    kinds |= {"number": pl.Float64, "text": pl.String}
    frame = pl.DataFrame(rows, schema=kinds, orient="row")
    settings = Settings(
        hours=8, dt=1, theta_1=0.1, theta_2=0.01, theta_2_static=None, theta_freq=1,
        statistics=("min", "max", "mean"), discretize=True, ordinal=False,
        drop_near_copies=False, value_types={}, clip=True,
    )  # fmt: skip
    return frame, fiddle.fit([(frame, np.arange(60))], settings).published()


def against(frame, fit):
    """What data have of a fit, as a build finds it."""
    own, fitted = fit
    features = drift.features_of(fitted, ())
    ids = frame["id"].unique().sort()
    made = fiddle.transform(frame, ids.to_numpy(), fitted)
    before, there = (
        drift.typical(drift.readings(features, f, f["id"].unique())) for f in (own, frame)
    )
    return drift.compared(features, before, made.recorded.features.tolist(), there)


def test_the_data_of_the_fit_fill_it_and_look_like_it(fit):
    found = against(fit[0], fit)
    assert found.keys() == {"HR", "K", "rhythm"}
    for name, median in (("HR", 80), ("K", 4)):
        of = found[name]
        assert of.filled == of.columns > 4
        assert of.stays == of.fitted_stays == 60
        assert of.median == pytest.approx(median, rel=0.05)
        assert of.ratio == 1
        assert not of.looks_different
    assert found["rhythm"].ratio is None


def test_another_unit_and_what_is_absent_show(fit):
    unit = pl.when(pl.col("variable") == "K").then(39.1).otherwise(1.0)
    other = fit[0].filter(pl.col("variable") != "rhythm")
    other = other.with_columns(number=pl.col("number") * unit)
    found = against(other, fit)
    assert found["K"].looks_different
    assert found["K"].ratio == pytest.approx(39.1, rel=0.025)
    assert found["K"].filled < found["K"].columns  # all in the highest bin
    assert not found["HR"].looks_different
    assert (found["rhythm"].filled, found["rhythm"].stays) == (0, 0)
    few = against(other.filter(pl.col("id") < drift.FEW - 1), fit)
    assert not few["K"].looks_different

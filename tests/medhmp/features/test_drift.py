"""Drift: sums over buckets, medians against exact ones, and what looks like another unit."""

import statistics

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.features import drift, fiddle
from medhmp.features.drift import Fit, Variable
from medhmp.features.settings import Settings

NUMBERS = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
READINGS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["HR", "K", "x"]), st.none() | NUMBERS),
    max_size=40,
)


def events(rows, t=1.0):
    kinds = {"id": pl.Int64, "variable": pl.String, "number": pl.Float64}
    frame = pl.DataFrame(rows, schema=kinds, orient="row")
    return frame.with_columns(t=pl.lit(t), text=pl.lit(None, pl.String))


@given(READINGS, st.integers(0, 6))
def test_readings_add_up_over_buckets_to_exact_medians(rows, cut):
    frame, names = events(rows), ("HR", "K")
    parts = [
        drift.readings(names, frame, pl.Series(ids, dtype=pl.Int64))
        for ids in (range(cut), range(cut, 6))
    ]
    found = drift.added(parts)
    stays, medians = dict(found.stays.iter_rows()), drift.medians(found.places)
    for name in names:
        own = [(i, x) for i, of, x in rows if of == name]
        assert stays.get(name, 0) == len({i for i, _ in own})
        numbers = [x for _, x in own if x is not None]
        assert (name in medians) == bool(numbers)
        if numbers:
            low = statistics.median_low(numbers)
            assert medians[name] == pytest.approx(low, rel=0.012)


def test_what_has_no_time_or_another_name_is_no_reading():
    frame = pl.concat([events([(0, "HR", 80.0)], None), events([(0, "x", 1.0)])])
    found = drift.readings(("HR",), frame, pl.Series([0]))
    assert found.stays.is_empty()
    assert found.places.is_empty()


@pytest.fixture(scope="module")
def fit():
    """Sixty stays with a heart rate each hour (frequent), potassium twice, a rhythm, and a bell."""
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


def against(frame, fitted):
    """What data have of a fit, as a build finds it."""
    ids = frame["id"].unique().sort()
    features = fiddle.transform(frame, ids.to_numpy(), fitted)
    of = Fit.of(fitted, ())
    found = drift.readings(tuple(of.features), frame, ids)
    filled = np.unique(features.recorded.features).tolist()
    return {name: Variable(**raw) for name, raw in of.against(filled, found).items()}


def test_the_data_of_the_fit_fill_it_and_look_like_it(fit):
    frame, fitted = fit
    found = against(frame, fitted)
    assert found.keys() == {"HR", "K", "rhythm"}
    for name, middle in (("HR", 80), ("K", 4)):
        of = found[name]
        assert of.filled == of.columns > 4
        assert of.stays == 60
        assert of.fitted == pytest.approx(middle, rel=0.05)
        assert of.ratio == pytest.approx(1, abs=0.05)
        assert not of.looks_different
    assert found["rhythm"].ratio is None


def test_another_unit_and_what_is_absent_show(fit):
    frame, fitted = fit
    other = frame.filter(pl.col("variable") != "rhythm").with_columns(
        number=pl.when(pl.col("variable") == "K").then(pl.col("number") * 39.1).otherwise("number")
    )
    found = against(other, fitted)
    assert found["K"].looks_different
    assert found["K"].ratio == pytest.approx(39.1, rel=0.05)
    assert found["K"].filled < found["K"].columns  # all in the highest bin
    assert not found["HR"].looks_different
    assert (found["rhythm"].filled, found["rhythm"].stays) == (0, 0)

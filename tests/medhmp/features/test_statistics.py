"""Statistics of readings against numpy, one stay and series at a time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features.derived import Derived, derivable, readings_of
from medhmp.features.statistics import COUNTS, STATISTICS, Readings, statistics
from medhmp.tables.ranges import read_variables

HOURS = 24


def slow(t, x):
    """The statistics of readings in the order of their times."""
    if not len(x):
        return [0.0 if at in COUNTS else np.nan for at in range(len(STATISTICS))]

    def mean(chosen):
        return x[chosen].mean() if chosen.any() else np.nan

    late = t >= HOURS / 2
    away = t - t.mean()
    slope = (away * (x - x.mean())).sum() / (away**2).sum() if (away**2).sum() > 1e-6 else np.nan
    return [
        *(x[0], x[-1], x.mean(), x.min(), x.max(), len(x), x.std(), mean(t >= HOURS - 12)),
        *(x[-1] - x[0], slope, HOURS - t[0], HOURS - t[-1]),
        *np.percentile(x, (10, 50, 90)),
        *(mean((t >= 6 * part) & (t < 6 * part + 6)) for part in range(3)),
        *((x[late].min(), x[late].max()) if late.any() else (np.nan, np.nan)),
        late.sum(),
    ]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), readings=st.integers(0, 60))
def test_every_statistic_is_numpy_s(seed, readings):
    random = np.random.default_rng(seed)
    rows, series = 4, 3
    row, of = random.integers(rows, size=readings), random.integers(series, size=readings)
    t = random.integers(0, HOURS * 4, size=readings) / 4  # several at one time, and at every edge
    number = np.round(random.normal(50, 20, readings), 1)
    found = statistics(Readings.sorted(row, of, t, number), rows, series, HOURS)
    expected = []
    for stay in range(rows):
        for name in range(series):
            own = (row == stay) & (of == name)
            order = np.argsort(t[own], kind="stable")
            expected += slow(t[own][order], number[own][order])
    np.testing.assert_allclose(found, np.reshape(expected, found.shape), rtol=1e-5, atol=1e-5)


def test_a_derived_series_takes_the_last_of_the_other_known_by_then():
    random = np.random.default_rng(0)
    n = 300
    parts = random.integers(5, size=n), random.integers(3, size=n), random.integers(0, 48, n) / 2.0
    readings = Readings.sorted(*parts, random.integers(0, 9, n).astype(float))
    derived = Derived("a by b or c", "ratio", ("a",), ("c", "b"))
    row, t, number = readings_of(derived, readings, ("a", "b", "c"))
    expected = []
    for r, s, at, x in zip(*vars(readings).values(), strict=True):
        before = (readings.row == r) & (readings.series != 0) & (readings.t <= at)
        if s == 0 and before.any():
            times, others = readings.t[before], readings.number[before]
            series = readings.series[before]
            last = times == times.max()
            by = others[last & (series == series[last].max())][-1]
            expected += [(r, at, x / by)] if by > 0 else []
    assert list(zip(row, t, number, strict=True)) == expected
    assert len(expected) > 50


def test_what_is_derived_follows_from_the_variables_that_are_there():
    known = read_variables("default")
    names = ["HR", "SysABP", "NISysABP", "DiasABP", "BUN", "Creatinine", "PaO2"]
    found = {of.name: (of.of, of.by) for of in derivable(known, names)}
    assert found == {
        "shock index": (("HR",), ("SysABP", "NISysABP")),
        "pulse pressure": (("SysABP", "NISysABP"), ("DiasABP",)),
        "BUN/creatinine": (("BUN",), ("Creatinine",)),
    }
    assert not derivable(known, ["HR"])
    for names in (["PaO2", "FiO2"], ["50821", "50816"]):  # a fraction, a percentage
        (found,) = derivable(known, names)
        assert found.name.startswith("P/F")

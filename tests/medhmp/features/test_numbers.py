"""Numbers of stays against a loop over their events; a fit that buckets cannot change."""

import json
from dataclasses import replace
from functools import reduce
from operator import add
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from medhmp.features import numbers
from medhmp.features.events import SCHEMA
from medhmp.features.numbers import FittedNumbers, NumberPlan, number_plan
from medhmp.features.settings import settings_of
from medhmp.features.variables import ColumnPlan, Types
from medhmp.recipes import paper
from medhmp.tables.ranges import read_variables

PLAN = NumberPlan(("HR", "Lactate", "never"), ("AGE",), (), bins=6, dt=2.0)


def events_of(ids, seed=0, shift=0.0):
    random = np.random.default_rng(seed)
    rows = []
    for number in ids:
        rows.append((number, None, "AGE", float(random.integers(18, 90)), None))
        for _ in range(random.integers(0, 25)):
            name = random.choice(["HR", "Lactate", "other"])
            rows.append(
                (
                    number,
                    random.integers(0, 28) / 2,
                    name,
                    round(random.normal(9, 3), 1) + shift,
                    None,
                )
            )
        rows.append((number, 1.0, "HR", None, "refused"))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


IDS = np.arange(40, 100)
EVENTS = events_of(IDS)


def fitted_on(ids, parts=1):
    samples = [numbers.sample(EVENTS, part, PLAN) for part in np.array_split(ids, parts)]
    return numbers.fit(reduce(add, samples), PLAN)


FITTED = fitted_on(IDS[:30])


def test_a_fit_does_not_depend_on_buckets_and_travels_as_json():
    for parts in (2, 7):
        assert fitted_on(IDS[:30], parts) == FITTED
    assert FittedNumbers.from_json(json.loads(json.dumps(FITTED.to_json()))) == FITTED


def test_a_fit_knows_its_own_stays_alone():
    changed = pl.concat([EVENTS.filter(pl.col("id") < 70), events_of(IDS[30:], seed=1, shift=500)])
    again = numbers.fit(numbers.sample(changed, IDS[:30], PLAN), PLAN)
    assert again == FITTED


def test_the_last_number_of_each_hour_is_there_as_its_rank_gaussian():
    found = numbers.transform(EVENTS, IDS, FITTED)
    assert FITTED.variables == ("HR", "Lactate")
    last = {}
    for number, t, name, value, _ in EVENTS.sort("t", maintain_order=True).iter_rows():
        if t is not None and t < 12 and value is not None and name in FITTED.variables:
            last[number, int(t // 2), FITTED.variables.index(name)] = value
    cells = []
    for i, number in enumerate(IDS.tolist()):
        for hour in range(6):
            start, stop = found.hour_offsets[i, hour : hour + 2].astype(int) + found.offsets[i]
            cells += [(number, hour, v) for v in found.ids[start:stop].tolist()]
    assert cells == sorted(last)
    for place in range(2):
        own = [
            (last[cell], z) for cell, z in zip(cells, found.values, strict=True) if cell[2] == place
        ]
        known = [value for cell, value in last.items() if cell[2] == place and cell[0] < 70]
        for value, z in own:
            low, high = (np.mean(np.array(known) < value), np.mean(np.array(known) <= value))
            normal = NormalDist(0, 1)
            assert (
                normal.inv_cdf(max(low - 0.1, 0.001)) <= z <= normal.inv_cdf(min(high + 0.1, 0.999))
            )
        order = np.argsort([value for value, _ in own], kind="stable")
        assert (np.diff(np.array([z for _, z in own])[order]) >= -1e-6).all()
    assert np.abs(found.values).max() <= 3


def test_statistics_are_ranks_among_the_fitted_stays():
    found = numbers.transform(EVENTS, IDS, FITTED)
    assert found.statistics.shape == (60, len(FITTED.statistics))
    age = found.statistics[:, FITTED.statistics.index("AGE")]
    ages = EVENTS.filter(variable="AGE").sort("id")["number"].to_numpy()
    np.testing.assert_allclose(age[ages == np.sort(ages[:30])[0]], 0, atol=0.1)
    assert (np.diff(age[np.argsort(ages, kind="stable")]) >= -1e-6).all()
    known = ~np.isnan(found.statistics)
    assert found.statistics[known].min() >= 0
    assert found.statistics[known].max() <= 1
    none = np.array([EVENTS.filter(id=i, variable="HR")["number"].count() == 0 for i in IDS])
    assert np.isnan(found.statistics[none, FITTED.statistics.index("HR mean")]).all()
    owners = (*FITTED.variables, "AGE")
    names = zip(FITTED.statistics, FITTED.statistic_of, strict=True)
    assert all(name.startswith(owners[of]) for name, of in names)
    assert not any(name.startswith("never") for name in FITTED.statistics)


def test_stays_without_an_event_have_counts_of_nothing():
    found = numbers.transform(EVENTS.clear(), IDS, FITTED)
    assert len(found.ids) == 0
    names = [
        n
        for n, known in zip(FITTED.statistics, ~np.isnan(found.statistics[0]), strict=True)
        if known
    ]
    assert names == [n for n in FITTED.statistics if " count" in n]


@pytest.mark.parametrize("features", ["", "AGE"])
def test_indicators_and_texts_are_no_numbers(features):
    of = {"HR": "Numeric", "AGE": "Numeric", "pupils": "Numeric", "pupils: 3": "Numeric"}
    of |= {"ward": "Categorical", "GCS": "Numeric + Categorical"}
    plan = ColumnPlan(settings_of(12, paper().features), Types(of, ()), (features,), (), ())
    found = number_plan(plan, ["pupils"], read_variables("default"))
    timed = ("HR", "GCS") if features else ("HR", "AGE", "GCS")
    assert (found.variables, found.static) == (timed, (features,) if features else ())
    assert replace(found, derived=()).columns[0] == "HR first"

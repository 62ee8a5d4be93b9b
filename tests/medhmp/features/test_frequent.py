"""Which variables are frequent, over all ids or those of full length, and how near others are."""

from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features.events import SCHEMA
from medhmp.features.fiddle import fit
from medhmp.features.variables import NEAREST, ColumnPlan
from tests.fiddle import fiddle_settings

HOURS = 8


def stays(lengths: list[float], every: dict[str, float]) -> pl.DataFrame:
    """Each variable read every so many hours from hour 0, as long as the stay lasts."""
    rows = []
    for stay, length in enumerate(lengths):
        for name, step in every.items():
            times = [k * step for k in range(int(HOURS / step)) if k * step < length]
            rows += [(stay, t, name, 60.0 + stay + t, None) for t in times]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def plan_of(
    events: pl.DataFrame, ids: int, observed: dict[int, float] | None = None, **changes: Any
) -> ColumnPlan:
    known = None
    if observed is not None:
        columns = {"id": list(observed), "hours": list(observed.values())}
        known = pl.DataFrame(columns, schema={"id": pl.Int64, "hours": pl.Float64})
    settings = fiddle_settings(**({"hours": HOURS, "theta_1": 0.0} | changes))
    return fit([(events, range(ids))], settings, observed=known).plan


def test_short_stays_keep_a_variable_of_every_hour_from_being_frequent() -> None:
    """FIDDLE's rule; what the demos of MIMIC show."""
    events = stays([HOURS, HOURS, 2], {"HR": 1, "LAB": 4})
    by_all = plan_of(events, 3)
    assert by_all.frequent == ()
    assert by_all.readings == {"HR": 18 / 3, "LAB": 5 / 3}
    full = plan_of(events, 3, frequent_over="full_length")
    assert full.frequent == ("HR",)
    assert full.readings == {"HR": 8, "LAB": 2}


def test_a_known_length_goes_before_the_last_reading() -> None:
    """Laboratory values come after the unit, too; a stay may have no reading in its last hour."""
    events = stays([HOURS, HOURS, 2], {"HR": 1})
    late = events.filter(pl.col("id") == 2).head(1).with_columns(t=pl.lit(HOURS - 0.5))
    asked = {"frequent_over": "full_length"}
    assert plan_of(pl.concat([events, late]), 3, **asked).readings == {"HR": 19 / 3}
    known = plan_of(pl.concat([events, late]), 3, {2: 2.0}, **asked)
    assert (known.frequent, known.readings) == (("HR",), {"HR": 8})
    quiet = events.filter((pl.col("id") != 1) | (pl.col("t") < HOURS - 1))
    assert plan_of(quiet, 3, **asked).readings == {"HR": 8}
    assert plan_of(quiet, 3, {1: HOURS * 2.0}, **asked).readings == {"HR": 15 / 2}


def test_without_a_stay_of_full_length_none_is_frequent() -> None:
    plan = plan_of(stays([2, 3], {"HR": 0.25}), 2, frequent_over="full_length")
    assert (plan.frequent, plan.readings) == ((), {"HR": 0.0})


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["all", "full_length"]))
def test_counts_do_not_depend_on_buckets_and_the_most_read_come_first(seed: int, over: Any) -> None:
    random = Random(seed)
    lengths = [random.choice([1, 3, HOURS]) for _ in range(7)]
    names = {f"V{k}": random.choice([0.5, 1, 2]) for k in range(NEAREST + 3)}
    events = stays(lengths, names)
    asked = fiddle_settings(hours=HOURS, theta_1=0.0, frequent_over=over)
    cut = random.randint(1, 6)
    parts = [(events.filter(pl.col("id").is_in(p)), p) for p in (range(cut), range(cut, 7))]
    plan = fit([(events, range(7))], asked).plan
    assert fit(parts, asked).plan == plan
    ids = [i for i in range(7) if over == "all" or lengths[i] == HOURS]
    mean = {n: len(events.filter(pl.col("id").is_in(ids), variable=n)) for n in names}
    assert set(plan.frequent) == {n for n in names if ids and mean[n] / len(ids) >= HOURS}
    assert len(plan.readings) == min(len(names), len(plan.frequent) + NEAREST)
    assert list(plan.readings.values()) == sorted(plan.readings.values(), reverse=True)
    assert list(plan.readings)[: len(plan.frequent)] == sorted(
        plan.frequent, key=lambda n: (-mean[n], n)
    )


@pytest.mark.parametrize("dt", [1.0, 3.0])
def test_full_length_is_that_of_all_bins(dt: float) -> None:
    """Of 8 hours in bins of 3, the last 2 are no bin."""
    plan = plan_of(
        stays([8, 6.5, 5], {"HR": 0.5}), 3, {0: 8.0, 1: 6.5, 2: 5.0}, dt=dt,
        frequent_over="full_length",
    )  # fmt: skip
    assert plan.readings["HR"] == (16 if dt == 1 else (16 + 13) / 2)

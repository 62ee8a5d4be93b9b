"""Values that the fit did not see: where they go, and the counts of what is filled."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features.events import SCHEMA
from medhmp.features.fiddle import fit, transform
from medhmp.features.filled import Filled, filled
from medhmp.features.fitted import FittedFeatures, Transformed
from tests.fiddle import fiddle_settings

HOURS = 4
NUMBERS = st.floats(-1e4, 1e4, allow_subnormal=False)


def events(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Events from (id, t, variable, value)."""
    split = [
        (*r[:3], None if isinstance(r[3], str) else r[3], r[3] if isinstance(r[3], str) else None)
        for r in rows
    ]
    return pl.DataFrame(split, schema=SCHEMA, orient="row")


def fitted_to(rows: list[tuple[Any, ...]], **changes: Any) -> FittedFeatures:
    """A fit of all its features, clipping unless told otherwise."""
    settings = {"hours": HOURS, "theta_1": 0.0, "clip": True} | changes
    ids = sorted({row[0] for row in rows})
    fitted = fit([(events(*rows), ids)], fiddle_settings(**settings))
    every = [
        replace(table, kept=tuple(range(len(table.names_all))))
        for table in (fitted.static, fitted.hourly)
    ]
    return replace(fitted, static=every[0], hourly=every[1])


def names_of(made: Transformed, fitted: FittedFeatures) -> list[str]:
    return [fitted.hourly.names[f] for f in made.feature_ids]


def counted(made: Transformed, fitted: FittedFeatures) -> Filled:
    assert made.recorded is not None
    return filled(made.recorded, np.ones(len(made.ids), bool), fitted.elapsed)


@settings(max_examples=30, deadline=None)
@given(st.lists(NUMBERS, min_size=3, max_size=12, unique=True), st.lists(NUMBERS, min_size=1))
def test_every_number_has_the_feature_of_its_bin_or_of_the_nearest(
    seen: list[float], others: list[float]
) -> None:
    fitted = fitted_to([(i, 0.5, "LAB", x) for i, x in enumerate(seen)])
    (column,) = fitted.hourly.columns
    rows = events(*((i, 0.5, "LAB", x) for i, x in enumerate(others)))
    made = transform(rows, range(len(others)), fitted)
    bins = [(e, column.edges[e], column.edges[e + 1]) for e in range(len(column.features))]
    held = [of for of in bins if column.features[of[0]] >= 0]
    strange = 0
    for x, feature in zip(others, made.feature_ids.tolist(), strict=True):
        away = {column.features[e]: max(low - x, x - high, 0) for e, low, high in held}
        assert away[feature] == min(away.values())
        inside = [e for e, low, high in held if (low if e else low - 1) < x <= high]
        strange += not inside or x < column.edges[0]
    found = counted(made, fitted)
    assert found.hourly == (len(others), strange, 0)
    strict = replace(fitted.plan, settings=replace(fitted.plan.settings, clip=False))
    unclipped = transform(rows, range(len(others)), replace(fitted, plan=strict))
    assert len(unclipped.feature_ids) == len(others) - strange
    assert counted(unclipped, fitted).hourly == found.hourly


def test_ages_beyond_the_fitted_ones_are_the_oldest_and_the_youngest() -> None:
    fitted = fitted_to([(i, None, "AGE", 30.0 + i) for i in range(40)])
    rows = events((0, None, "AGE", 91.4), (1, None, "AGE", 18.0), (2, None, "AGE", 50.0))
    made = transform(rows, range(3), fitted)
    last = len(fitted.static.names) - 1
    assert made.static_ids[:2].tolist() == [last, 0]
    assert counted(made, fitted).static == (3, 2, 0)


@pytest.mark.parametrize("ordinal", [False, True])
def test_a_frequent_variable_s_reading_counts_once_and_its_statistics_are_clipped(
    ordinal: bool,
) -> None:
    seen = [(i, k + 0.5, "HR", 60.0 + 7 * i + 3 * k) for i in range(5) for k in range(HOURS)]
    fitted = fitted_to(seen, ordinal=ordinal)
    assert fitted.plan.frequent == ("HR",)
    made = transform(events((0, 0.5, "HR", 900.0)), [0], fitted)
    assert counted(made, fitted).hourly == (1, 1, 0)
    per_hour = np.diff(made.hour_offsets[0].astype(int))
    for hour, names in enumerate(np.split(names_of(made, fitted), np.cumsum(per_hour)[:-1])):
        for part in ("value", "min", "max", "mean"):
            own = [name for name in names if name.startswith(f"HR_{part}")]
            top = [n for n in fitted.hourly.names if n.startswith(f"HR_{part}")]
            assert own == (top if ordinal else top[-1:]), hour


def test_a_category_that_was_not_fitted_is_counted_and_gives_nothing() -> None:
    rows = [(i, 0.5, "VENT", float(i % 2)) for i in range(6)]
    rows += [(i, 1.5, "RHYTHM", "SR" if i % 2 else "AF") for i in range(6)]
    fitted = fitted_to(rows)
    strange = events(
        (0, 0.5, "VENT", 2.0), (0, 1.5, "RHYTHM", "paced"), (1, 0.5, "VENT", "on"),
        (1, 1.5, "RHYTHM", 7.0), (2, 0.5, "VENT", 1.0), (2, 1.5, "RHYTHM", "SR"),
        (3, 0.5, "OTHER", 5.0),
    )  # fmt: skip
    made = transform(strange, range(4), fitted)
    assert names_of(made, fitted) == ["VENT_value_1", "RHYTHM_value_SR"]
    found = counted(made, fitted)
    assert (found.stays, found.filled, found.hourly) == (4, 1, (6, 0, 4))
    assert {fitted.hourly.names[f] for f in found.features} == {"VENT_value_1", "RHYTHM_value_SR"}


@pytest.mark.parametrize("discretize", [True, False])
def test_bins_since_no_reading_and_imputed_means_fill_no_stay(discretize: bool) -> None:
    seen = [(i, k + 0.5, "HR", 60.0 + 7 * i + k) for i in range(5) for k in range(0, HOURS, 2)]
    fitted = fitted_to(seen, theta_freq=0.5, discretize=discretize)
    rows = events((0, 1.5, "HR", 70.0), (1, 1.5, "220045", 70.0), (2, -1.0, "HR", 70.0))
    made = transform(rows, range(4), fitted)
    assert all(made.hour_offsets[:, -1] > 0)
    found = counted(made, fitted)
    assert (found.stays, found.filled, found.share) == (4, 1, 0.25)
    nobody = counted(transform(rows.clear(), range(4), fitted), fitted)
    assert (nobody.filled, nobody.features) == (0, frozenset())


def test_counts_of_buckets_and_of_sources_add_up() -> None:
    fitted = fitted_to([(i, 0.5, "LAB", float(i)) for i in range(9)])
    rows = events((0, 0.5, "LAB", -5.0), (1, 0.5, "LAB", 3.0), (2, 0.5, "LAB", 99.0))
    whole = transform(rows, range(4), fitted)
    assert whole.recorded is not None
    own = np.array([True, False, True, False])
    parts = [filled(whole.recorded, of, fitted.elapsed) for of in (own, ~own)]
    assert [of.filled for of in parts] == [2, 1]
    buckets = [counted(transform(rows, ids, fitted), fitted) for ids in ([0], [1, 2], [3])]
    assert sum(parts, Filled()) == sum(buckets, Filled()) == counted(whole, fitted)
    assert Filled.from_json(parts[0].to_json()) == parts[0]
    assert Filled().share == 1.0

"""Real-valued features scaled by quantiles: one absurd reading rules nothing."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features.columns import FURTHEST
from medhmp.features.events import SCHEMA
from medhmp.features.fiddle import fit, transform
from medhmp.features.fitted import FittedFeatures
from tests.fiddle import fiddle_settings

ABSURD = 7_000_400.0


def events(values: list[float], variable: str = "RR") -> pl.DataFrame:
    """One reading of each id, in the first of two hours."""
    rows = [(i, 0.5, variable, x, None) for i, x in enumerate(values)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def fitted_to(values: list[float], **changes: Any) -> FittedFeatures:
    asked = {"hours": 2, "theta_1": 0.0, "theta_2": 0.0, "theta_freq": 9.0, "discretize": False}
    settings = fiddle_settings(**(asked | {"scale": "quantiles"} | changes))
    return fit([(events(values), range(len(values)))], settings)


def values_of(rows: list[float], fitted: FittedFeatures) -> np.ndarray[Any, Any]:
    """The cells (n, 2) of the one feature."""
    made = transform(events(rows), range(len(rows)), fitted)
    assert made.values is not None
    cells = np.zeros(2 * len(rows))
    cells[np.repeat(np.arange(len(cells)), np.diff(made.hour_offsets.astype(int)).ravel())] = (
        made.values
    )
    return cells.reshape(len(rows), 2)


readings = st.lists(st.integers(50, 300).map(lambda x: x / 10), min_size=20, max_size=80)


@settings(max_examples=30, deadline=None)
@given(readings.filter(lambda values: len(set(values)) > 8))
def test_it_is_the_distance_from_the_median_in_spans(values: list[float]) -> None:
    low, median, high = np.percentile(values, [5, 50, 95])
    expected = np.clip((np.array(values) - median) / (high - low), -FURTHEST, FURTHEST)
    cells = values_of(values, fitted_to(values))
    np.testing.assert_allclose(cells[:, 0], expected, atol=1e-12)
    np.testing.assert_allclose(cells[:, 1], expected.mean(), atol=1e-12)  # imputed
    assert (np.abs(expected) <= 1).mean() >= 0.9


@settings(max_examples=30, deadline=None)
@given(readings.filter(lambda values: len(set(values)) > 8), st.sampled_from([-1.0, 1.0]))
def test_one_absurd_reading_of_the_training_stays_or_of_others_is_cut(
    values: list[float], sign: float
) -> None:
    for fitted in (fitted_to(values), fitted_to([*values, sign * ABSURD] * 2)):
        cells = values_of([*values, sign * ABSURD], fitted)
        assert np.abs(cells).max() == FURTHEST
        assert np.square(cells).sum() <= 2 * len(cells) * FURTHEST**2


def test_without_scaling_the_reading_stays_what_it_was() -> None:
    values = [float(x) for x in range(10, 40)]
    assert values_of([ABSURD], fitted_to(values, scale="none")).max() == ABSURD
    made = transform(events([ABSURD]), [0], fitted_to(values))
    assert made.recorded is not None
    assert made.recorded.hourly.beyond.tolist() == [1]


@pytest.mark.parametrize("rare", [[1.0], [1.0, 2.0, ABSURD]])
def test_of_a_column_that_is_nearly_constant_the_others_still_differ(rare: list[float]) -> None:
    values = [0.0] * 200 + rare
    cells = values_of(values, fitted_to(values))[:, 0]
    assert (cells[:200] == 0).all()
    assert (cells[200:] >= 0.5).all()
    assert cells.max() <= FURTHEST


def test_a_constant_has_no_feature_and_no_warning() -> None:
    assert fitted_to([5.0] * 9).hourly.names == ()

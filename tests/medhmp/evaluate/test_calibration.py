"""Calibration in cases that can be worked out on paper, and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from medhmp.evaluate.calibration import calibration, curve, intercept, intervals, slope


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes drawn with their own risk."""
    rng = np.random.default_rng(seed)
    risk = rng.beta(1.5, 3.0, size=n)
    return (rng.random(n) < risk).astype(int), risk


def test_risk_equal_to_the_prevalence() -> None:
    """O:E is 1, the intercept 0, the slope undefined, Brier p(1 - p)."""
    label = np.repeat([1, 0], [25, 75])
    found = calibration(label, np.full(100, 0.25))
    assert found.o_to_e == 1.0
    assert found.intercept == pytest.approx(0.0, abs=1e-9)
    assert found.slope is None
    assert found.brier == pytest.approx(0.25 * 0.75)


def test_intercept_of_a_constant_risk_is_the_difference_of_the_logits() -> None:
    label = np.repeat([1, 0], [20, 80])
    expected = np.log(0.2 / 0.8) - np.log(0.6 / 0.4)
    assert intercept(label, np.full(100, 0.6)) == pytest.approx(expected)


def test_slope_of_two_risks_is_the_ratio_of_the_logit_differences() -> None:
    """The two-parameter model fits two groups exactly: 1 of 5 and 4 of 5 observed."""
    label = np.array([1, 0, 0, 0, 0, 1, 1, 1, 1, 0])
    score = np.repeat([0.1, 0.9], 5)
    assert slope(label, score) == pytest.approx(np.log(4) / np.log(9))


def test_true_risks_are_calibrated() -> None:
    found = calibration(*drawn(20_000))
    assert found.intercept == pytest.approx(0.0, abs=0.05)
    assert found.slope == pytest.approx(1.0, abs=0.05)
    assert found.o_to_e == pytest.approx(1.0, abs=0.03)
    assert found.ece < 0.015


def test_doubled_logits_have_half_the_slope() -> None:
    label, risk = drawn(2000)
    odds = (risk / (1 - risk)) ** 2
    assert slope(label, odds / (1 + odds)) == pytest.approx(slope(label, risk) / 2, abs=1e-6)


def test_slope_is_that_of_scikit_learn() -> None:
    label, risk = drawn(500, seed=4)
    x = np.log(risk / (1 - risk))
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], label)
    assert slope(label, risk) == pytest.approx(fitted.coef_[0, 0], abs=1e-4)


def test_undefined_where_the_likelihood_has_no_maximum() -> None:
    label, score = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.7])
    assert slope(label, score) is None
    assert intercept(np.zeros(4, dtype=int), score) is None
    assert calibration(np.zeros(4, dtype=int), np.zeros(4)).o_to_e is None


def test_certain_scores_stay_finite() -> None:
    found = calibration(np.array([0, 1, 1, 0]), np.array([0.0, 1.0, 0.0, 0.4]))
    assert found.brier == pytest.approx((1 + 0.16) / 4)
    assert found.intercept is not None
    assert np.isfinite(found.intercept)


def test_curve_and_ece_by_hand() -> None:
    label = np.array([0, 1, 0, 1, 1, 1])
    score = np.array([0.1, 0.3, 0.2, 0.6, 0.9, 0.9])
    low, high = curve(label, score, bins=2)
    assert (low.n, low.risk, low.observed) == pytest.approx((3, 0.2, 1 / 3))
    assert (high.n, high.risk, high.observed) == pytest.approx((3, 0.8, 1.0))
    # Every row is a bin of its own where there are fewer rows than bins.
    expected = np.mean(np.abs(label - score))
    assert calibration(label, score).ece == pytest.approx(expected)


def test_wilson_interval() -> None:
    """0 of 10: from 0 to z^2 / (n + z^2) = 0.2775."""
    (only,) = curve(np.zeros(10, dtype=int), np.full(10, 0.1), bins=1)
    assert (only.low, only.high) == pytest.approx((0.0, 0.27753), abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.floats(0.0, 1.0, allow_nan=False)), min_size=1, max_size=40
    )
)
def test_bins_hold_every_row_once_and_in_equal_shares(rows: list[tuple[int, float]]) -> None:
    label, score = (np.array(column) for column in zip(*rows, strict=True))
    bins = curve(label, score)
    assert sum(b.n for b in bins) == len(label)
    assert max(b.n for b in bins) - min(b.n for b in bins) <= 1
    assert sum(b.n * b.observed for b in bins) == pytest.approx(label.sum())
    assert all(-1e-9 <= b.low <= b.observed + 1e-9 and b.observed - 1e-9 <= b.high for b in bins)
    found = calibration(label, score)
    assert 0 <= found.ece <= 1
    assert 0 <= found.brier <= 1


def test_intervals_are_wald_s_with_patients_taken_together() -> None:
    """Copies of rows change nothing if they are of one patient, and halve the error if not."""
    label, risk = drawn(400, seed=2)
    patient = np.arange(400)
    once = intervals(label, risk, patient)
    together = intervals(np.tile(label, 4), np.tile(risk, 4), np.tile(patient, 4))
    apart = intervals(np.tile(label, 4), np.tile(risk, 4), np.arange(1600))
    for name in ("intercept", "slope", "o_to_e", "brier"):
        assert together[name]["value"] == pytest.approx(once[name]["value"])
        assert together[name]["se"] == pytest.approx(once[name]["se"], rel=0.01)
        assert apart[name]["se"] == pytest.approx(once[name]["se"] / 2, rel=0.01)
        assert once[name]["low"] < once[name]["value"] < once[name]["high"]


def test_further_measures_by_hand() -> None:
    """Two risks, one tenth and one half, of which 2 of 10 and 4 of 10 have the event."""
    label = np.repeat([1, 0, 1, 0], [2, 8, 4, 6])
    score = np.repeat([0.1, 0.5], 10)
    found = calibration(label, score)
    assert (found.mean_risk, found.observed) == pytest.approx((0.3, 0.3))
    assert (found.o_to_e, found.e_to_o) == pytest.approx((1, 1))
    assert found.scaled_brier == pytest.approx(1 - found.brier / 0.21)
    assert found.ece_20_width == pytest.approx(0.1)
    expected = -(2 * np.log(0.1) + 8 * np.log(0.9) + 10 * np.log(0.5)) / 20
    assert found.cross_entropy == pytest.approx(expected)


def test_smoothed_distances_of_true_risks_are_small_and_ordered() -> None:
    found = calibration(*drawn(5000, seed=1))
    assert 0 < found.e50 <= found.e90 <= found.emax < 0.1
    assert 0 < found.ici < 0.03
    assert found.line_slope == pytest.approx(1, abs=0.1)
    assert found.line_intercept == pytest.approx(0, abs=0.05)
    assert 0.001 < found.hosmer_lemeshow_p < 1
    label, risk = drawn(5000, seed=1)
    assert calibration(label, risk**2).hosmer_lemeshow_p < 1e-9

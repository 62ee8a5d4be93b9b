"""Rates and net benefit by hand, against scikit-learn and against dcurves."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from medhmp.evaluate.decisions import (
    THRESHOLDS,
    best_youden_threshold,
    decision_curve,
    net_benefit,
    table_at,
)
from medhmp.evaluate.influence import mean, standard_error

GOLDEN = Path(__file__).resolve().parents[2] / "golden/dcurves/curve.json"


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    score = rng.beta(1, 3, size=500)
    return (rng.random(500) < score).astype(int), score


def test_net_benefit_by_hand() -> None:
    """Of 4 rows 3 are acted on at 0.2, and of these 2 have the event: (2 - 1 / 4) / 4."""
    label, score = np.array([1, 1, 0, 0]), np.array([0.2, 0.9, 0.5, 0.1])
    assert net_benefit(label, score, 0.2).mean() == pytest.approx((2 - 0.25) / 4)


def test_curve_is_that_of_dcurves() -> None:
    """As recorded: the package itself would bring ten others."""
    recorded = json.loads(GOLDEN.read_text())
    label, score = np.array(recorded["label"]), np.array(recorded["risk"])
    assert recorded["thresholds"] == THRESHOLDS.tolist()
    ours = decision_curve(label, score, np.arange(len(label)))
    np.testing.assert_allclose(ours["value"], recorded["net_benefit"], atol=1e-12)
    np.testing.assert_allclose(ours["all"], recorded["net_benefit_of_all"], atol=1e-12)
    # Of 100 rows, that many fewer are acted on, at the same true positives (Vickers and Elkin).
    by_hand = [
        100 * (a - b) / (t / (1 - t))
        for a, b, t in zip(ours["value"], ours["all"], THRESHOLDS, strict=True)
    ]
    np.testing.assert_allclose(ours["avoided"], by_hand, atol=1e-9)


def test_interval_takes_patients_together(rows: tuple[np.ndarray, np.ndarray]) -> None:
    """Each row four times over: as wide as without copies if a patient's copies go together."""
    label, score = rows
    patient = np.arange(len(label))
    alone = decision_curve(label, score, patient)
    copies = decision_curve(np.tile(label, 4), np.tile(score, 4), np.tile(patient, 4))
    np.testing.assert_allclose(copies["high"], alone["high"])
    at = THRESHOLDS.tolist().index(0.2)
    value, influence = mean(net_benefit(label, score, 0.2))
    assert alone["high"][at] - value == pytest.approx(
        1.96 * standard_error(influence, patient), 1e-3
    )


def test_towards_zero_the_benefit_of_all_is_the_share_of_events() -> None:
    label = np.array([1, 0, 0, 0])
    everybody = net_benefit(label, np.ones(4), 1e-9).mean()
    assert everybody == pytest.approx(0.25, abs=1e-8)


def test_rates_are_scikit_learn_s(rows: tuple[np.ndarray, np.ndarray]) -> None:
    label, score = rows
    found, flagged = table_at(label, score, 0.3), score >= 0.3
    for name, theirs in (
        ("sensitivity", metrics.recall_score),
        ("ppv", metrics.precision_score),
        ("f1", metrics.f1_score),
        ("accuracy", metrics.accuracy_score),
        ("balanced_accuracy", metrics.balanced_accuracy_score),
        ("jaccard", metrics.jaccard_score),
    ):
        assert found[name] == pytest.approx(theirs(label, flagged)), name
    plus, minus = metrics.class_likelihood_ratios(label, flagged)
    assert found["positive_likelihood_ratio"] == pytest.approx(plus)
    assert found["negative_likelihood_ratio"] == pytest.approx(minus)
    assert found["diagnostic_odds_ratio"] == pytest.approx(plus / minus)
    assert found["preference"] == pytest.approx(
        0.3 / 0.7 / (0.3 / 0.7 + label.mean() / (1 - label.mean()))
    )


def test_rates_of_nothing_are_none() -> None:
    found = table_at(np.array([0, 0]), np.array([0.1, 0.2]), 0.5)
    assert found["sensitivity"] is found["ppv"] is found["f1"] is None
    assert (found["specificity"], found["flagged"], found["net_benefit"]) == (1.0, 0.0, 0.0)


def test_youden_is_the_best_of_all_thresholds(rows: tuple[np.ndarray, np.ndarray]) -> None:
    label, score = rows[0], np.round(rows[1], 1)
    index = {
        t: sum(table_at(label, score, t)[name] for name in ("sensitivity", "specificity"))
        for t in np.unique(score)
    }
    best = max(index.values())
    assert best_youden_threshold(label, score) == max(t for t in index if index[t] == best)

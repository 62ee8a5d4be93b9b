"""Metrics against recorded values and against scikit-learn with sample weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from medhmp.evaluate import discrimination
from medhmp.evaluate.discrimination import THRESHOLD, Ranking

GOLDEN = Path(__file__).parents[2] / "golden" / "models" / "metrics.json"
CASES = json.loads(GOLDEN.read_text())["cases"]


@pytest.mark.parametrize("case", CASES)
def test_recorded_values(case: dict) -> None:
    label, score = np.array(case["y"]), np.array(case["score"])
    ours = discrimination.scores_of(label, score, tuned=THRESHOLD)
    recorded = {
        "auroc": case["auroc"],
        "aupr": case["aupr_trapezoid"],
        "average_precision": case["average_precision"],
        "f1": case["f1_at_0_5"],
        "kappa": case["kappa_at_0_5"],
        "f1_tuned": case["f1_at_0_5"],
        "kappa_tuned": case["kappa_at_0_5"],
    }
    assert ours == pytest.approx(recorded, abs=1e-12)


@st.composite
def weighted_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores with ties, integer weights; both classes have weight."""
    n = draw(st.integers(2, 25))
    label = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    score = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    weight = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    label[:2], weight[:2] = [0, 1], [1, 2]
    return np.array(label), np.array(score) / 6, np.array(weight, dtype=float)


@settings(max_examples=50, deadline=None)
@given(weighted_rows())
def test_weighted_metrics_are_those_of_scikit_learn(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    label, score, weight = rows
    ours = Ranking(label, score).all(weight[None], THRESHOLD)
    precision, recall, _ = metrics.precision_recall_curve(label, score, sample_weight=weight)
    expected = {
        "auroc": metrics.roc_auc_score(label, score, sample_weight=weight),
        "aupr": metrics.auc(recall, precision),
        "average_precision": metrics.average_precision_score(label, score, sample_weight=weight),
    }
    assert {name: ours[name][0] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert Ranking(label, score).auroc(weight[None])[0] == ours["auroc"][0]


@settings(max_examples=50, deadline=None)
@given(weighted_rows())
def test_weights_count_rows(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """A row of weight k is the same as k such rows."""
    label, score, weight = rows
    times = weight.astype(int)
    repeated = discrimination.auroc(np.repeat(label, times), np.repeat(score, times))
    assert Ranking(label, score).auroc(weight[None])[0] == pytest.approx(repeated, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(weighted_rows(), st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.1]))
def test_weighted_f1_and_kappa_are_those_of_scikit_learn(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], threshold: float
) -> None:
    label, score, weight = rows
    f1, kappa = Ranking(label, score).at_threshold(weight[None], threshold)
    flagged = score >= threshold
    expected = metrics.f1_score(label, flagged, sample_weight=weight, zero_division=0)
    assert f1[0] == pytest.approx(expected, abs=1e-12)
    expected = metrics.cohen_kappa_score(label, flagged, sample_weight=weight)
    assert kappa[0] == pytest.approx(expected, abs=1e-12)


def test_every_draw_is_computed_on_its_own() -> None:
    rng = np.random.default_rng(0)
    label, score = rng.integers(2, size=60), rng.random(60).round(1)
    weights = rng.integers(3, size=(7, 60)).astype(np.uint8)
    together = Ranking(label, score).all(weights, 0.3)
    for i in range(7):
        alone = Ranking(label, score).all(weights[i : i + 1], 0.3)
        expected = {name: values[0] for name, values in alone.items()}
        assert {name: values[i] for name, values in together.items()} == pytest.approx(expected)


def test_a_draw_of_one_class_has_no_auroc() -> None:
    weights = np.array([[1.0, 0.0], [1.0, 1.0]])
    assert np.isnan(Ranking(np.array([1, 0]), np.array([0.2, 0.1])).auroc(weights)).tolist() == [
        True,
        False,
    ]


def test_undefined_f1_and_kappa_are_zero() -> None:
    label, score = np.zeros(4, dtype=int), np.full(4, 0.1)
    assert discrimination.f1_and_kappa(label, score, THRESHOLD) == (0.0, 0.0)


@settings(max_examples=50, deadline=None)
@given(weighted_rows())
def test_tuned_threshold_has_the_highest_f1(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    label, score, _ = rows
    tuned = discrimination.best_f1_threshold(label, score)
    tried = {t: metrics.f1_score(label, score >= t, zero_division=0) for t in np.unique(score)}
    assert tried[tuned] == pytest.approx(max(tried.values()))
    assert all(t <= tuned for t, f1 in tried.items() if f1 > tried[tuned] - 1e-12)


def test_of_thresholds_with_the_same_f1_the_highest_is_taken() -> None:
    """F1 is 20/35 at 0 and 16/28 at 1/6, which by way of precision and recall differ in a bit."""
    label = np.array([0, 1, *[0] * 14, *[1] * 9])
    score = np.array([*[0.0] * 6, *[1 / 6] * 10, 0.0, *[1 / 6] * 8])
    assert discrimination.best_f1_threshold(label, score) == 1 / 6


def test_tuned_threshold_without_a_positive_is_the_fixed_one() -> None:
    assert discrimination.best_f1_threshold(np.zeros(3, dtype=int), np.ones(3)) == THRESHOLD

"""Standard errors from influences against the bootstrap over patients, and DeLong by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medhmp.evaluate import influence
from medhmp.evaluate.influence import auroc, auroc_estimate, difference, mean, ratio_estimate


def rows(n: int = 600, patients: int = 200, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Rows whose noise is mostly their patient's: label, score, patient."""
    rng = np.random.default_rng(seed)
    patient = np.sort(rng.integers(patients, size=n))
    patient = np.unique(patient, return_inverse=True)[1]
    own = rng.normal(size=patient.max() + 1)[patient]
    label = (rng.random(n) < 1 / (1 + np.exp(1 - own))).astype(int)
    score = 1 / (1 + np.exp(-(0.8 * own + 0.5 * rng.normal(size=n) + 0.4 * label - 1)))
    return label, score, patient


def bootstrap_se(figure, arrays, patient, draws=500) -> float:
    """Patients drawn with replacement, row by row, the slow way."""
    rng = np.random.default_rng(1)
    of = [np.flatnonzero(patient == p) for p in range(patient.max() + 1)]
    values = []
    for _ in range(draws):
        taken = np.concatenate([of[p] for p in rng.integers(len(of), size=len(of))])
        values.append(figure(*(array[taken] for array in arrays)))
    return float(np.std(values, ddof=1))


def test_auroc_is_scikit_learn_s_and_influences_sum_to_nothing() -> None:
    label, score, _ = rows()
    score = np.round(score, 1)  # ties
    value, of_rows = auroc(label, score)
    assert value == pytest.approx(roc_auc_score(label, score))
    assert of_rows.sum() == pytest.approx(0, abs=1e-12)


def test_one_row_a_patient_gives_delong() -> None:
    """V10 and V01 by all pairs, and the sum of their variances over their numbers."""
    label, score, _ = rows(80)
    score = np.round(score, 2)
    pairs = np.sign(score[label == 1][:, None] - score[label == 0][None]) / 2 + 0.5
    v10, v01 = pairs.mean(axis=1), pairs.mean(axis=0)
    expected = np.sqrt(
        ((v10 - v10.mean()) ** 2).sum() / len(v10) ** 2
        + ((v01 - v01.mean()) ** 2).sum() / len(v01) ** 2
    )
    se = auroc_estimate(label, score, np.arange(80)).se
    assert se == pytest.approx(expected * np.sqrt(80 / 79))


def test_errors_are_those_of_the_bootstrap() -> None:
    label, score, patient = rows()
    found = auroc_estimate(label, score, patient)
    expected = bootstrap_se(roc_auc_score, (label, score), patient)
    assert found.se == pytest.approx(expected, rel=0.1)
    by_row = auroc_estimate(label, score, np.arange(len(label))).se
    assert found.se > 1.04 * by_row  # rows of one patient are not independent
    ratio = ratio_estimate(label.astype(float), score, patient)
    expected = bootstrap_se(lambda y, p: np.log(y.sum() / p.sum()), (label, score), patient)
    assert ratio.se / ratio.value == pytest.approx(expected, rel=0.1)
    assert ratio.low < ratio.value < ratio.high
    value, of_rows = mean((score - label) ** 2)
    expected = bootstrap_se(lambda y, p: np.mean((p - y) ** 2), (label, score), patient)
    assert influence.standard_error(of_rows, patient) == pytest.approx(expected, rel=0.1)
    assert value == pytest.approx(np.mean((score - label) ** 2))


def test_a_patient_in_both_groups_counts_once_in_their_difference() -> None:
    label, score, patient = rows()
    inside = np.random.default_rng(2).random(len(label)) < 0.4
    found = difference(auroc, label, score, inside, patient)

    def slow(y, p, i):
        return roc_auc_score(y[i], p[i]) - roc_auc_score(y[~i], p[~i])

    assert found.value == pytest.approx(slow(label, score, inside))
    expected = bootstrap_se(slow, (label, score, inside), patient)
    assert found.se == pytest.approx(expected, rel=0.1)


def test_ends_of_scales_have_no_interval() -> None:
    label, patient = np.array([0, 0, 1, 1]), np.arange(4)
    parted = auroc_estimate(label, np.array([0.1, 0.2, 0.3, 0.4]), patient)
    assert (parted.value, parted.low, parted.high) == (1.0, None, None)
    assert ratio_estimate(np.zeros(4), np.ones(4), patient) is None
    assert np.isnan(influence.standard_error(np.ones(3), np.zeros(3, dtype=int)))

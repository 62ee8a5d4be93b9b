"""Logistic regression against scikit-learn's own search, and on columns that say nothing."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from medhmp.evaluate.discrimination import auroc
from medhmp.model.baselines.logistic_regression import (
    STRENGTHS,
    UNCHOSEN,
    fit_logistic_regression,
    signed_log1p,
)
from medhmp.model.table import Table


def counts(rows, columns=30, seed=0):
    """Poisson counts, of which three decide the label."""
    random = np.random.default_rng(seed)
    features = random.poisson(random.uniform(0.1, 3, columns), (rows, columns)).astype(np.float32)
    logit = np.log1p(features[:, :3]) @ [2, -2, 1] + random.logistic(size=rows)
    return features, (logit > np.median(logit) + 1).astype(np.float32)


def fitted_on(features, label):
    table = Table(features, label, (features.shape[1],))
    return fit_logistic_regression(table, table, 0)


@pytest.mark.parametrize(("seed", "columns"), [(0, 30), (1, 30), (2, 500)])
def test_it_is_the_penalised_fit_that_cross_validation_chooses(seed, columns):
    features, label = counts(300, columns, seed)
    logs = np.log1p(features.astype(np.float64))
    scaled = (logs - logs.mean(0)) / logs.std(0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-10)
    searched = GridSearchCV(exact, {"C": STRENGTHS}, scoring="neg_log_loss", cv=folds)
    slow = searched.fit(scaled, label).best_estimator_
    fast = fitted_on(features, label)
    assert fast[-1].C == slow.C
    assert STRENGTHS[0] < slow.C
    score = fast.predict_proba(features)[:, 1]
    np.testing.assert_allclose(score, slow.predict_proba(scaled)[:, 1], atol=2e-3)
    assert score.tolist() == fitted_on(features, label).predict_proba(features)[:, 1].tolist()


def test_it_learns_what_decides_the_label():
    features, label = counts(600)
    fitted = fitted_on(features[:400], label[:400])
    score = fitted.predict_proba(features[400:])[:, 1]
    assert auroc(label[400:].astype(int), score.astype(np.float64)) > 0.8


def test_a_column_that_is_constant_in_training_does_no_harm_later():
    features, label = counts(300)
    features[:, 7] = 0
    features[:, 8] = 4
    fitted = fitted_on(features, label)
    other = features.copy()
    other[:, 7:9] = 50
    assert fitted[-1].coef_[0, 7:9].tolist() == [0, 0]
    assert fitted.predict_proba(other).tolist() == fitted.predict_proba(features).tolist()


@pytest.mark.parametrize("positives", [1, 2, 4])
def test_a_class_of_few_rows_is_fitted_all_the_same(positives):
    features, _ = counts(40)
    label = np.zeros(40, np.float32)
    label[:positives] = 1
    fitted = fitted_on(features, label)
    assert fitted[-1].C in STRENGTHS
    assert positives > 1 or fitted[-1].C == UNCHOSEN
    assert np.isfinite(fitted.predict_proba(features)).all()


def test_real_values_keep_their_sign():
    x = np.array([-3.0, 0, 3], np.float32)
    np.testing.assert_allclose(signed_log1p(x), [-np.log(4), 0, np.log(4)], rtol=1e-6)

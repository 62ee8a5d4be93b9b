"""The floors on statistics against scikit-learn on an encoding written out."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from medhmp.model.baselines.hist_gradient_boosting_statistics import fit_trees_statistics
from medhmp.model.baselines.logistic_regression_statistics import (
    PIECES,
    STRENGTHS,
    fit_logistic_regression_statistics,
)
from medhmp.model.table import Table

STATISTICS = 5


def table(rows, seed=0):
    """Ranks with holes, of which the first says most in the middle; then counts."""
    random = np.random.default_rng(seed)
    ranks = random.random((rows, STATISTICS)).astype(np.float32)
    counts = random.poisson(2, (rows, 2)).astype(np.float32)
    logit = 6 * np.abs(ranks[:, 0] - 0.5) + counts[:, 1] / 2 + random.logistic(size=rows)
    ranks[random.random(ranks.shape) < 0.2] = np.nan
    label = (logit > np.median(logit)).astype(np.float32)
    return Table(np.hstack([ranks, counts]), label, (STATISTICS, 2))


def slowly_encoded(of, like):
    rows = []
    for row in of.features.astype(np.float64):
        encoded = []
        for rank in row[:STATISTICS]:
            known = 0.0 if np.isnan(rank) else rank
            encoded += [min(max(known * PIECES - k, 0.0), 1.0) for k in range(PIECES)]
            encoded.append(float(np.isnan(rank)))
        rows.append(encoded)
    logs, scale = (np.log1p(t.features[:, STATISTICS:].astype(np.float64)) for t in (of, like))
    return np.hstack([rows, (logs - scale.mean(0)) / scale.std(0)])


@pytest.mark.parametrize("seed", range(2))
def test_logistic_regression_is_that_of_the_encoding_that_cross_validation_chooses(seed):
    train, test = table(400, seed), table(200, seed + 10)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-10)
    searched = GridSearchCV(exact, {"C": STRENGTHS}, scoring="neg_log_loss", cv=folds)
    slow = searched.fit(slowly_encoded(train, train), train.label).best_estimator_
    fast = fit_logistic_regression_statistics(train, train, 0)
    assert fast[-1].C == slow.C
    expected = slow.predict_proba(slowly_encoded(test, train))[:, 1]
    np.testing.assert_allclose(fast.predict_proba(test.features)[:, 1], expected, atol=3e-3)


def test_trees_are_scikit_learn_s_and_none_is_stopped_early():
    train, test = table(300), table(100, 5)
    fast = fit_trees_statistics(train, test, 3, iterations=20, max_leaf_nodes=4, max_features=0.5)
    slow = HistGradientBoostingClassifier(
        max_iter=20,
        learning_rate=0.04,
        max_leaf_nodes=4,
        max_features=0.5,
        l2_regularization=5,
        early_stopping=False,
        random_state=3,
    ).fit(train.features, train.label)
    expected = slow.predict_proba(test.features)
    assert fast.n_iter_ == 20
    assert fast.predict_proba(test.features).tolist() == expected.tolist()

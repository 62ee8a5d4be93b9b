"""Trees that learn planted rules, stop where the validation rows say, and repeat themselves."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss

from medhmp.evaluate.discrimination import auroc
from medhmp.model.baselines.hist_gradient_boosting import (
    BINS,
    ITERATIONS,
    LEAF,
    PENALTY,
    fit_trees,
)
from medhmp.model.table import Table


def tables(features, label, train, blocks):
    cut = (slice(train), slice(train, None))
    return [Table(features[part], label[part].astype(np.float32), blocks) for part in cut]


def rule(rows=700, columns=10):
    """Counts of which two together decide the label."""
    random = np.random.default_rng(0)
    features = random.poisson(2, (rows, columns)).astype(np.float32)
    return features, (features[:, 3] > 2) ^ (features[:, 7] > 1)  # of no single feature


def test_trees_learn_a_planted_rule_and_repeat_themselves():
    train, test = tables(*rule(), 400, (10,))
    settings = {"max_leaf_nodes": 16, "max_features": 0.5, "components": 0}
    first, again = (fit_trees(train, test, 3, **settings) for _ in range(2))
    score = first.predict_proba(test.features)[:, 1]
    assert auroc(test.label.astype(int), score) > 0.95
    assert score.tolist() == again.predict_proba(test.features)[:, 1].tolist()


@pytest.mark.parametrize("leaves", [2, 8])
def test_as_many_trees_as_have_the_lowest_validation_loss(leaves):
    """Of the same trees without an end, one after another. Columns all split here."""
    train, held_out = tables(*rule(300), 200, (10,))
    fitted = fit_trees(train, held_out, 5, 0.1, leaves, 0.3, components=0)
    endless = HistGradientBoostingClassifier(
        learning_rate=0.1, max_leaf_nodes=leaves, max_features=0.3, min_samples_leaf=LEAF,
        l2_regularization=PENALTY, max_bins=BINS, max_iter=ITERATIONS, early_stopping=False,
        random_state=5,
    ).fit(train.features, train.label)  # fmt: skip
    losses = [
        log_loss(held_out.label, p[:, 1]) for p in endless.staged_predict_proba(held_out.features)
    ]
    trees = fitted[-1].n_iter_
    assert losses[trees - 1] == min(losses[: trees + 20])
    loss = log_loss(held_out.label, fitted.predict_proba(held_out.features)[:, 1])
    assert loss == pytest.approx(losses[trees - 1], abs=1e-9)


def test_components_find_what_many_rare_columns_share():
    """A hidden load raises two hundred rare codes, each of them by little."""
    random = np.random.default_rng(1)
    load = random.normal(size=900)
    codes = random.random((900, 200)) < 0.06 * np.exp(load)[:, None]
    noise = random.poisson(3, (900, 300))
    features = np.hstack([noise, codes]).astype(np.float32)
    label = load + random.logistic(size=900) * 0.5 > 0.5
    train, test = tables(features, label, 300, (300, 200))
    scores = [
        fit_trees(train, test, 0, components=components).predict_proba(test.features)[:, 1]
        for components in (0, 10)
    ]
    plain, gathered = (auroc(test.label.astype(int), score) for score in scores)
    assert gathered > plain + 0.03


def test_columns_that_cannot_split_change_nothing():
    train, held_out = tables(*rule(300), 200, (10,))
    rare = np.zeros((300, 4), np.float32)
    rare[: LEAF - 1] = 1
    wide = [
        Table(np.hstack([rare[part], table.features]), table.label, (14,))
        for part, table in ((slice(200), train), (slice(200, None), held_out))
    ]
    plain = fit_trees(train, held_out, 0, components=0).predict_proba(held_out.features)
    with_rare = fit_trees(*wide, 0, components=0).predict_proba(wide[1].features)
    assert plain.tolist() == with_rare.tolist()


def test_without_a_column_that_splits_every_row_gets_the_base_rate():
    label = np.arange(40) % 4 == 0
    train, held_out = tables(np.zeros((60, 3), np.float32), np.resize(label, 60), 40, (3,))
    score = fit_trees(train, held_out, 0, components=0).predict_proba(held_out.features)[:, 1]
    assert score == pytest.approx(np.full(20, 0.25))

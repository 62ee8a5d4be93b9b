"""Trees that learn a planted rule."""

import numpy as np

from medhmp.evaluate.discrimination import auroc
from medhmp.model.baselines.hist_gradient_boosting import fit_trees


def test_trees_learn_a_planted_rule_and_repeat_themselves():
    random = np.random.default_rng(0)
    features = random.poisson(2, (600, 10)).astype(np.float32)
    label = ((features[:, 3] > 2) ^ (features[:, 7] > 1)).astype(np.float32)  # of no single feature
    first, again = (fit_trees(features[:400], label[:400]) for _ in range(2))
    score = first.predict_proba(features[400:])[:, 1]
    assert auroc(label[400:].astype(int), score) > 0.95
    assert score.tolist() == again.predict_proba(features[400:])[:, 1].tolist()

"""Gradient-boosted trees on counted features, the baseline that users ask for first.

scikit-learn's HistGradientBoostingClassifier on the rows of ``medhmp/shards/tabular.py``.
"""

from sklearn.ensemble import HistGradientBoostingClassifier

from medhmp.arrays import Floats32


def fit_trees(features: Floats32, label: Floats32) -> HistGradientBoostingClassifier:
    """Fits trees with the library's defaults, without early stopping, as cohorts here are small.

    Args:
        features: (n, D) counts.
        label: (n) in {0, 1}.
    """
    trees = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
    return trees.fit(features, label)

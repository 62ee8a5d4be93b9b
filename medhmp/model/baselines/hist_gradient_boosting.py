"""Gradient-boosted trees on counted features, the baseline that users ask for first.

scikit-learn's HistGradientBoostingClassifier on the rows of ``medhmp/shards/tabular.py``.
"""

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier

Matrix = npt.NDArray[np.float32]


def fit_trees(features: Matrix, label: npt.NDArray[np.float32]) -> HistGradientBoostingClassifier:
    """Fits trees with the library's defaults, without early stopping, as cohorts here are small.

    Args:
        features: (n, D) counts.
        label: (n) in {0, 1}.
    """
    trees = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
    return trees.fit(features, label)

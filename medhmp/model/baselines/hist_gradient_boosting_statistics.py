"""Gradient-boosted trees on statistics of numbers, the floor that is hardest to beat (ours).

scikit-learn's HistGradientBoostingClassifier, as one sets it for a thousand columns that say nearly
the same: small trees, few columns to a split, a strong penalty. The number of trees is searched,
not stopped at: some hundred validation rows stop too early or too late.
"""

from typing import Final

from sklearn.ensemble import HistGradientBoostingClassifier

from medhmp.model.table import Table

PENALTY: Final = 5.0
"""L2, of the leaves' values."""
LEAF: Final = 20
"""Training rows of a leaf, at least."""
BINS: Final = 255
"""Of a column, missing values apart."""


def fit_trees_statistics(
    train: Table,
    validation: Table,
    seed: int,
    iterations: float = 300,
    learning_rate: float = 0.04,
    max_leaf_nodes: float = 8,
    max_features: float = 0.1,
) -> HistGradientBoostingClassifier:
    """Fits the trees.

    Args:
        train: statistics, NaN where there is none, and counts; classes keep their weights.
        validation: not used: the grid chooses by it.
        seed: draws the columns of a split.
        iterations: trees.
        learning_rate: shrinks each tree.
        max_leaf_nodes: of a tree.
        max_features: share of the columns that a split may choose from.
    """
    trees = HistGradientBoostingClassifier(
        max_iter=int(iterations),
        learning_rate=learning_rate,
        max_leaf_nodes=int(max_leaf_nodes),
        max_features=max_features,
        l2_regularization=PENALTY,
        early_stopping=False,
        random_state=seed,
        max_bins=BINS,
        min_samples_leaf=LEAF,
    )
    return trees.fit(train.features, train.label)

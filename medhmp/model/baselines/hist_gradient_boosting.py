"""Gradient-boosted trees on counted features, the baseline that users ask for first.

scikit-learn's HistGradientBoostingClassifier on the rows of ``medhmp/shards/tabular.py``, as an
analyst sets it: iterations by early stopping, leaves, columns per split and the rate searched.
Where labelled rows are few and columns many, no single column tells much, and a tree finds noise
among them. The principal components of each block of columns gather what its columns share; beside
them stand the single columns that tell most.
"""

from itertools import pairwise
from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from medhmp.arrays import Floats32
from medhmp.model.baselines.logistic_regression import signed_log1p
from medhmp.model.table import Table

ITERATIONS: Final = 300
"""Trees at most."""
PATIENCE: Final = 20
"""Trees without a lower validation loss before stopping."""
LEAF: Final = 5
"""Training rows of a leaf, at least."""
BINS: Final = 32
"""Of a column; counts of hours have few values."""
SCREENED: Final = 100
"""Single columns that stand beside components."""
PENALTY: Final = 1.0
"""L2, of the leaves' values."""


def fit_trees(
    train: Table,
    validation: Table,
    seed: int,
    learning_rate: float = 0.05,
    max_leaf_nodes: int = 4,
    max_features: float = 0.3,
    components: int = 30,
) -> Pipeline:
    """Fits as many trees as have the lowest validation cross-entropy, at least one.

    Args:
        train: counts; classes keep their weights.
        validation: stops the fit.
        seed: draws the columns of a split.
        learning_rate: shrinks each tree.
        max_leaf_nodes: of a tree.
        max_features: share of the columns that a split may choose from.
        components: principal components of each block, beside the ``SCREENED`` columns that go
            most with the label; 0: every column.
    """
    reduced = _components(train, components, seed) if components else _splittable(train)
    rows, held_out = reduced.fit_transform(train.features), reduced.transform(validation.features)
    settings: dict[str, Any] = {
        "learning_rate": learning_rate,
        "max_leaf_nodes": max_leaf_nodes,
        "max_features": max_features,
        "min_samples_leaf": LEAF,
        "l2_regularization": PENALTY,
        "max_bins": BINS,
        "random_state": seed,
    }
    stopped = HistGradientBoostingClassifier(
        max_iter=ITERATIONS, early_stopping=True, n_iter_no_change=PATIENCE, **settings
    ).fit(rows, train.label, X_val=held_out, y_val=validation.label)
    # The first score is that of no tree. scikit-learn keeps the trees after the best.
    best = max(1, int(np.argmax(stopped.validation_score_)))
    trees = HistGradientBoostingClassifier(max_iter=best, early_stopping=False, **settings)
    return make_pipeline(reduced, trees.fit(rows, train.label))


def _splittable(train: Table) -> ColumnTransformer:
    """The columns that can split the training rows into two leaves: only they take time."""
    columns = [at for at, column in enumerate(train.features.T) if _rarer(column) >= LEAF]
    return ColumnTransformer([("columns", "passthrough", columns or [0])])


def _rarer(column: Floats32) -> int:
    """Rows that have another than the most frequent value."""
    _, counts = np.unique(column, return_counts=True)
    return int(len(column) - counts.max())


def _components(train: Table, components: int, seed: int) -> Pipeline:
    """The principal components of each block, and the columns that correlate most with the label.

    Of standardised logarithms of counts.
    """
    scaling = make_pipeline(FunctionTransformer(signed_log1p), StandardScaler())
    covariance = (train.label - train.label.mean()) @ scaling.fit_transform(train.features)
    chosen = np.sort(np.argsort(-np.abs(covariance), kind="stable")[:SCREENED])
    ends = np.cumsum([0, *train.blocks])
    most = min(components, len(train.label) - 1)
    parts: list[Any] = [
        (f"block {start}", PCA(min(most, end - start), random_state=seed), np.arange(start, end))
        for start, end in pairwise(ends.tolist())
        if end > start
    ]
    parts.append(("columns", "passthrough", chosen))
    return make_pipeline(*scaling, ColumnTransformer(parts))

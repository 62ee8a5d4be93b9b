"""Ridge logistic regression on the piecewise-linear encoding of statistics (ours).

Gorishniy et al., On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022: each
number becomes how much of each of its quantile bins lies below it, so that a linear model has a
curve for every statistic.
"""

from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from medhmp.arrays import Floats32
from medhmp.model.baselines.logistic_regression import fit_ridge, signed_log1p
from medhmp.model.table import Table

PIECES: Final = 8
"""Bins of a statistic; a rank's are of equal width."""
STRENGTHS: Final = tuple(float(c) for c in np.logspace(-3.5, -1, 6))
"""Candidates for C, the inverse of the penalty, the strongest penalty first."""


def fit_logistic_regression_statistics(train: Table, validation: Table, seed: int) -> Pipeline:
    """Fits encoded statistics beside standardised logarithms of counts, with the C of lowest
    cross-validated log loss.

    Args:
        train: its first block are statistics as ranks from 0 to 1, NaN where there is none, the
            others counts.
        validation: not used, as folds of the training rows choose C.
        seed: deals the training rows to folds.
    """
    ranks = list(range(train.blocks[0]))
    others = list(range(train.blocks[0], train.features.shape[1]))
    counts = make_pipeline(FunctionTransformer(signed_log1p), StandardScaler())
    parts: list[Any] = [("statistics", FunctionTransformer(piecewise_linear), ranks)]
    if others:
        parts.append(("counts", counts, others))
    encoding = ColumnTransformer(parts)
    rows = encoding.fit_transform(train.features)
    return make_pipeline(encoding, fit_ridge(rows, train.label, seed, STRENGTHS))


def piecewise_linear(ranks: Floats32) -> Floats32:
    """Encodes ranks (n, Q) as (n, Q * (``PIECES`` + 1)): piece k of u is u * K - k cut to 0..1, and
    the last column is 1 where there is none."""
    missing = np.isnan(ranks)
    known = np.where(missing, np.float32(0), ranks)[:, :, None] * PIECES
    pieces = np.clip(known - np.arange(PIECES, dtype=np.float32), 0, 1)
    encoded = np.concatenate([pieces, missing[:, :, None]], axis=2, dtype=np.float32)
    return encoded.reshape(len(ranks), -1)

"""Ridge logistic regression on counted features, the floor that readers try first."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from medhmp.model.table import Table

Matrix = npt.NDArray[np.float32]

STRENGTHS: Final = tuple(float(c) for c in np.logspace(-4, 0, 9))
"""Candidates for C, the inverse of the penalty: two per decade, the strongest penalty first."""
UNCHOSEN: Final = 1e-2
"""C where a class has a single training row, which no fold can hold out."""
FOLDS: Final = 5
ITERATIONS: Final = 200


def fit_logistic_regression(train: Table, validation: Table, seed: int) -> Pipeline:
    """Fits standardised logarithms of counts, with the C of lowest cross-validated log loss.

    A column that is constant in the training rows gets a coefficient of zero.

    Args:
        train: counts; of real values, the logarithm keeps the sign.
        validation: not used, as folds of the training rows choose C.
        seed: deals the training rows to folds.
    """
    scaling = make_pipeline(FunctionTransformer(signed_log1p), StandardScaler())
    scaled = scaling.fit_transform(train.features)
    return make_pipeline(*scaling, fit_ridge(scaled, train.label, seed))


def signed_log1p(x: Matrix) -> Matrix:
    """log(1 + x) of counts, continued below zero as an odd function."""
    return np.asarray(np.sign(x) * np.log1p(np.abs(x)))


def fit_ridge(
    rows: Matrix,
    label: npt.NDArray[np.float32],
    seed: int,
    strengths: tuple[float, ...] = STRENGTHS,
) -> LogisticRegression:
    """Fits with the C of lowest cross-validated log loss.

    Coefficients under a ridge penalty are a combination of the rows. Where columns outnumber rows,
    they are sought among these: an orthonormal basis changes neither penalty nor prediction, and
    makes thousands of columns as few as the rows.
    """
    basis = None
    if rows.shape[1] > rows.shape[0]:
        left, sizes, basis = np.linalg.svd(rows, full_matrices=False)
        rows = left * sizes  # the rows' coordinates in the basis
    chosen = choose_strength(rows, label, seed, strengths)
    model: Any = ridge(chosen).fit(rows, label)
    if basis is not None:
        model.coef_ = model.coef_ @ basis
        model.n_features_in_ = basis.shape[1]
    return model


def choose_strength(
    scaled: Matrix,
    label: npt.NDArray[np.float32],
    seed: int,
    strengths: tuple[float, ...] = STRENGTHS,
) -> float:
    """C of lowest log loss, mean over stratified folds that each hold out both classes.

    ``strengths`` are its candidates, the strongest penalty first.
    """
    folds = min(FOLDS, int(label.sum()), int((1 - label).sum()))
    if folds < 2:
        return UNCHOSEN
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(scaled, label)
    losses = [_losses(scaled, label, fitted, held, strengths) for fitted, held in splits]
    return strengths[int(np.mean(losses, axis=0).argmin())]


def _losses(
    scaled: Matrix,
    label: npt.NDArray[np.float32],
    fitted: npt.NDArray[np.int64],
    held_out: npt.NDArray[np.int64],
    strengths: tuple[float, ...],
) -> list[float]:
    """Log loss of the rows held out for each C; each fit begins where the one before ended."""
    model: Any = ridge(strengths[0])
    rows, losses = scaled[fitted], []
    for strength in strengths:
        model.set_params(C=strength).fit(rows, label[fitted])
        losses.append(float(log_loss(label[held_out], model.predict_proba(scaled[held_out])[:, 1])))
    return losses


def ridge(strength: float) -> LogisticRegression:
    """Logistic regression with the inverse penalty C, whose next fit begins where one ended."""
    return LogisticRegression(C=strength, max_iter=ITERATIONS, warm_start=True)

"""Discrimination: scores of rows with the outcome against scores of rows without.

scikit-learn computes one value at a time. A bootstrap needs thousands over the same rows with other
weights, so ``Ranking`` sorts the rows once and computes all draws together.

Shapes: n rows, D draws. Labels are 0 or 1, scores are probabilities, weights are non-negative.
"""

from typing import Final

import numpy as np
from sklearn import metrics

from medhmp.arrays import Floats, Ints

THRESHOLD: Final = 0.5
"""The paper's, for F1 and kappa. A score equal to the threshold is positive."""

METRICS: Final = (
    "auroc",
    "aupr",
    "average_precision",
    "f1",
    "kappa",
    "f1_tuned",
    "kappa_tuned",
)


def auroc(label: Ints, score: Floats) -> float:
    """P(score of a positive > score of a negative), ties counting one half."""
    return float(metrics.roc_auc_score(label, score))


def aupr(label: Ints, score: Floats) -> float:
    """Trapezoid under the precision-recall curve that ends at recall 0, precision 1.

    The authors' measure. Linear interpolation of precision is too optimistic;
    ``average_precision`` does not interpolate.
    """
    precision, recall, _ = metrics.precision_recall_curve(label, score)
    return float(metrics.auc(recall, precision))


def average_precision(label: Ints, score: Floats) -> float:
    """Sum over thresholds of precision times the gain in recall."""
    return float(metrics.average_precision_score(label, score))


def f1_and_kappa(label: Ints, score: Floats, threshold: float) -> tuple[float, float]:
    """F1 of the positive class and Cohen's kappa at score >= threshold; 0 where undefined."""
    f1, kappa = at_threshold(label, score, threshold, np.ones((len(label), 1)))
    return float(f1[0]), float(kappa[0])


def best_f1_threshold(label: Ints, score: Floats) -> float:
    """The score that as a threshold gives the highest F1; the highest of several.

    It is chosen on validation rows and used on test rows. ``THRESHOLD`` where no row is positive.
    """
    if not label.any():
        return THRESHOLD
    # 2 TP / (predicted + actual positives) is a ratio of integers, so that ties are exact.
    thresholds = np.unique(score)
    predicted = len(score) - np.searchsorted(np.sort(score), thresholds)
    positive = np.sort(score[label == 1])
    right = len(positive) - np.searchsorted(positive, thresholds)
    scores = 2 * right / (predicted + len(positive))
    return float(thresholds[len(scores) - 1 - np.argmax(scores[::-1])])


def scores_of(label: Ints, score: Floats, tuned: float) -> dict[str, float]:
    """All of ``METRICS``; ``tuned`` is the threshold of f1_tuned and kappa_tuned."""
    f1, kappa = f1_and_kappa(label, score, THRESHOLD)
    f1_tuned, kappa_tuned = f1_and_kappa(label, score, tuned)
    return {
        "auroc": auroc(label, score),
        "aupr": aupr(label, score),
        "average_precision": average_precision(label, score),
        "f1": f1,
        "kappa": kappa,
        "f1_tuned": f1_tuned,
        "kappa_tuned": kappa_tuned,
    }


class Ranking:
    """Rows sorted by falling score with equal scores grouped, ready for weighted rank metrics.

    ``weights`` is (n, D) in the original row order; each metric is (D,). AUROC is NaN for a draw
    without weight on both classes.
    """

    def __init__(self, label: Ints, score: Floats) -> None:
        order = np.argsort(-score, kind="stable")
        falling = score[order]
        group = np.concatenate([[0], np.cumsum(np.diff(falling) != 0)])
        positive = label[order] == 1
        self._groups = int(group[-1]) + 1
        self._positives, self._positive_groups = order[positive], group[positive]
        self._negatives, self._negative_groups = order[~positive], group[~positive]

    def _by_group(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weight of positives and of negatives in each group of equal scores, (groups, D) each."""
        positives = np.zeros((self._groups, weights.shape[1]))
        negatives = np.zeros_like(positives)
        _add_runs(positives, self._positive_groups, weights[self._positives])
        _add_runs(negatives, self._negative_groups, weights[self._negatives])
        return positives, negatives

    def auroc(self, weights: Floats) -> Floats:
        """Weighted Mann-Whitney statistic."""
        positives, negatives = self._by_group(weights)
        return _auroc(positives, negatives, np.cumsum(negatives, axis=0))

    def all(self, weights: Floats) -> dict[str, Floats]:
        """Weighted AUROC, AUPR and average precision."""
        positives, negatives = self._by_group(weights)
        true, false = np.cumsum(positives, axis=0), np.cumsum(negatives, axis=0)
        flagged = true + false
        # Until a row has weight, the curve stays at its start: recall 0, precision 1.
        precision = np.divide(true, flagged, where=flagged > 0, out=np.ones_like(true))
        gain = positives / true[-1]
        before = np.concatenate([np.ones_like(precision[:1]), precision[:-1]])
        return {
            "auroc": _auroc(positives, negatives, false),
            "aupr": np.einsum("gd,gd->d", gain, precision + before) / 2,
            "average_precision": np.einsum("gd,gd->d", gain, precision),
        }


def _add_runs(into: Floats, group: Ints, weights: Floats) -> None:
    """Sums the rows of each group. ``into`` is (groups, D), ``group`` (n,) rising."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    if len(starts) < len(group):  # ties; without any, a sum of single rows would only cost time
        weights = np.add.reduceat(weights, starts, axis=0)
    into[group[starts]] = weights


def _auroc(positives: Floats, negatives: Floats, false: Floats) -> Floats:
    """Share of (positive, negative) pairs in the right order; ``false``: cumulative negatives."""
    below = false[-1] - false + negatives / 2
    pairs = positives.sum(axis=0) * false[-1]
    right = np.einsum("gd,gd->d", positives, below)
    return np.asarray(np.divide(right, pairs, where=pairs > 0, out=np.full_like(right, np.nan)))


def at_threshold(
    label: Ints, score: Floats, threshold: float, weights: Floats
) -> tuple[Floats, Floats]:
    """Weighted F1 and kappa at score >= threshold, (D,) each; ``weights`` is (n, D)."""
    flagged, positive = score >= threshold, label == 1
    cells = (flagged & positive, flagged & ~positive, ~flagged & positive, ~flagged & ~positive)
    tp, fp, fn, tn = np.stack(cells).astype(np.float64) @ weights
    total = 2 * tp + fp + fn
    return np.divide(2 * tp, total, where=total > 0, out=0 * tp), _kappa(tp, fp, fn, tn)


def _kappa(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """(agreement - chance agreement) / (1 - chance agreement), both times n squared."""
    chance = (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn)
    return np.divide(2 * (tp * tn - fn * fp), chance, where=chance > 0, out=0 * tp)

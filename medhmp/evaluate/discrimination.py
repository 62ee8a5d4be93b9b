"""Discrimination: scores of rows with the outcome against scores of rows without.

scikit-learn computes one value at a time. A bootstrap needs thousands over the same rows with other
weights, so ``Ranking`` sorts the rows once and computes all draws together.

Shapes: n rows, D draws, K distinct scores of rows with the outcome. Labels are 0 or 1, scores are
probabilities, weights are non-negative.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from medhmp.arrays import Floats, Ints

THRESHOLD: Final = 0.5
"""The paper's, for F1 and kappa. A score equal to the threshold is positive."""

Weights = npt.NDArray[Any]
"""(D, n), of any type of number: draws of patients are bytes."""

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
    f1, kappa = Ranking(label, score).at_threshold(np.ones((1, len(label))), threshold)
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


@dataclass(frozen=True)
class Sums:
    """Weights of D draws, summed along the falling scores."""

    positives: Floats  # (D, K) rows with the outcome
    tied: Floats  # (D, K) rows without it, of the same score
    before: Floats  # (D, K) rows without it, of higher scores, all together
    negatives: Floats  # (D) all rows without it
    sorted: Weights  # (D, n) as they came, along the falling scores


class Ranking:
    """Rows sorted by falling score, ready for metrics under many weightings.

    ``weights`` is (D, n) in the original order of the rows; each metric is (D,). A curve has its
    steps where rows with the outcome are: all sums are over the rows between two of them.
    """

    def __init__(self, label: Ints, score: Floats) -> None:
        self.rows = len(label)
        self._order = np.lexsort((label, -score))  # of equal scores, rows without the outcome first
        self._falling = score[self._order]
        positive = label[self._order] == 1
        group = np.cumsum(np.diff(self._falling, prepend=self._falling[:1]) != 0)
        has_positive = np.bincount(group, positive, group[-1] + 1) > 0
        step: Ints = np.cumsum(has_positive) - has_positive  # the step at or after each group
        self._steps = int(has_positive.sum())
        self._step_scores = self._falling[np.flatnonzero(np.diff(group, prepend=-1))][has_positive]
        # Columns of a step: rows without the outcome before it, those of its score, its own rows.
        column = 3 * step[group] + has_positive[group] * (1 + positive)
        self._starts = np.flatnonzero(np.diff(column, prepend=-1))
        self._columns = column[self._starts]

    def sums(self, weights: Weights) -> Sums:
        """Sums the weights of each step."""
        ordered = np.take(weights, self._order, axis=1)
        parts = np.zeros((3 * self._steps + 3, len(weights)))
        parts[self._columns] = np.add.reduceat(ordered, self._starts, axis=1, dtype=np.float64).T
        above, tied, positives = (parts[kind::3].T for kind in range(3))
        before = np.cumsum(above + tied, axis=1)
        negatives, before = before[:, -1], before[:, :-1] - tied[:, :-1]
        return Sums(positives[:, :-1], tied[:, :-1], before, negatives, ordered)

    def auroc(self, weights: Weights) -> Floats:
        """Weighted Mann-Whitney statistic; NaN for a draw without weight on both classes."""
        return _auroc(self.sums(weights))

    def at_threshold(self, weights: Weights, threshold: float) -> tuple[Floats, Floats]:
        """Weighted F1 and kappa at score >= threshold; 0 where undefined."""
        return self._at(self.sums(weights), threshold)

    def all(self, weights: Weights, tuned: float) -> dict[str, Floats]:
        """All of ``METRICS``; ``tuned`` is the threshold of f1_tuned and kappa_tuned."""
        sums = self.sums(weights)
        # Until a row has weight, the curve stays at its start: recall 0, precision 1.
        true = np.cumsum(sums.positives, axis=1)
        earlier = np.concatenate([np.zeros_like(true[:, :1]), true[:, :-1]], axis=1)
        precision, arriving = (
            np.divide(hits, flagged, where=flagged > 0, out=np.ones_like(hits))
            for hits, flagged in (
                (true, true + sums.before + sums.tied),
                (earlier, earlier + sums.before),
            )
        )
        gain = sums.positives / true[:, -1:]
        f1, kappa = self._at(sums, THRESHOLD)
        f1_tuned, kappa_tuned = self._at(sums, tuned)
        return {
            "auroc": _auroc(sums),
            "aupr": np.einsum("dk,dk->d", gain, precision + arriving) / 2,
            "average_precision": np.einsum("dk,dk->d", gain, precision),
            "f1": f1,
            "kappa": kappa,
            "f1_tuned": f1_tuned,
            "kappa_tuned": kappa_tuned,
        }

    def _at(self, sums: Sums, threshold: float) -> tuple[Floats, Floats]:
        flagged = sums.sorted[:, : np.searchsorted(-self._falling, -threshold, side="right")]
        steps = np.searchsorted(-self._step_scores, -threshold, side="right")
        tp = sums.positives[:, :steps].sum(axis=1)
        fp = flagged.sum(axis=1, dtype=np.float64) - tp
        fn, tn = sums.positives.sum(axis=1) - tp, sums.negatives - fp
        total = 2 * tp + fp + fn
        return np.divide(2 * tp, total, where=total > 0, out=0 * tp), _kappa(tp, fp, fn, tn)


def _auroc(sums: Sums) -> Floats:
    """Share of (positive, negative) pairs in the right order, ties counting one half."""
    below = sums.negatives[:, None] - sums.before - sums.tied / 2
    right = np.einsum("dk,dk->d", sums.positives, below)
    pairs = sums.positives.sum(axis=1) * sums.negatives
    return np.asarray(np.divide(right, pairs, where=pairs > 0, out=np.full_like(right, np.nan)))


def _kappa(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """(agreement - chance agreement) / (1 - chance agreement), both times n squared."""
    chance = (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn)
    return np.divide(2 * (tp * tn - fn * fp), chance, where=chance > 0, out=0 * tp)

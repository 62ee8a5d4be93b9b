"""Intervals from resampling patients.

Rows of one patient are not independent, so a draw takes patients with replacement, and each row
weighs as many times as its patient was taken. All draws of a block are computed at once; blocks
bound memory.

Shapes: n rows, D draws, K classes that a draw must hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from medhmp.evaluate.discrimination import THRESHOLD, Floats, Ints, Ranking, at_threshold

COVERAGE: Final = 0.95
CELLS: Final = 1 << 19
"""Rows times draws of a block: arrays of 4 MiB, which a core's cache holds."""


@dataclass(frozen=True)
class Interval:
    """Percentile interval of ``COVERAGE`` and standard error (SD of the draws)."""

    low: float
    high: float
    se: float


def interval(draws: Floats) -> Interval:
    """The interval of one figure from its draws, (D,)."""
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(low), float(high), float(np.std(draws, ddof=1)))


def patient_draws(needs: Floats, rows: int, draws: int, seed: int) -> Iterator[tuple[Floats, int]]:
    """Yields blocks of draws: how often each patient was taken (patients, D), and draws redone.

    ``needs`` (K, patients) marks in each line the patients of whom a draw must take at least one:
    those with a positive row, those with a negative row. A draw that does not is drawn again.
    """
    rng = np.random.default_rng(seed)
    patients = needs.shape[1]
    size = max(1, CELLS // max(rows, patients))
    for start in range(0, draws, size):
        counts = _take(rng, patients, min(size, draws - start))
        redrawn = 0
        while (bad := np.flatnonzero((needs @ counts == 0).any(axis=0))).size:
            counts[:, bad] = _take(rng, patients, bad.size)
            redrawn += bad.size
        yield counts, redrawn


def _take(rng: np.random.Generator, patients: int, draws: int) -> Floats:
    """Takes ``patients`` patients with replacement in each draw; counts, (patients, draws)."""
    cells = rng.integers(patients, size=(patients, draws)) * draws + np.arange(draws)
    counts = np.bincount(cells.ravel(), minlength=patients * draws)
    return counts.reshape(patients, draws).astype(np.float64)


def _needs(patient: Ints, label: Ints, patients: int) -> Floats:
    """The two lines (2, patients) that ask a draw for a positive and for a negative row."""
    needs = np.zeros((2, patients))
    needs[0, patient[label == 1]] = 1
    needs[1, patient[label == 0]] = 1
    return needs


def bootstrap(
    subject: Ints, label: Ints, score: Floats, tuned: float, draws: int, seed: int
) -> tuple[dict[str, Interval], int]:
    """Intervals of all discrimination metrics, and the number of draws thrown away for one class.

    subject, label, score: (n,). ``tuned`` is the threshold of f1_tuned and kappa_tuned. Both
    classes must be present. Two calls with the same patients, labels and seed see the same draws.
    """
    names, patient = np.unique(subject, return_inverse=True)
    ranking = Ranking(label, score)
    parts: list[dict[str, Floats]] = []
    thrown = 0
    blocks = patient_draws(_needs(patient, label, len(names)), len(label), draws, seed)
    for counts, redrawn in blocks:
        weights = counts[patient]
        f1, kappa = at_threshold(label, score, THRESHOLD, weights)
        f1_tuned, kappa_tuned = at_threshold(label, score, tuned, weights)
        parts.append(
            ranking.all(weights)
            | {"f1": f1, "kappa": kappa, "f1_tuned": f1_tuned, "kappa_tuned": kappa_tuned}
        )
        thrown += redrawn
    return {m: interval(np.concatenate([p[m] for p in parts])) for m in parts[0]}, thrown


@dataclass(frozen=True)
class Contest:
    """Two ways of starting one task, scored on the same test rows: one (n,) of scores per seed."""

    subject: Ints
    label: Ints
    better: Sequence[Floats]
    base: Sequence[Floats]


@dataclass(frozen=True)
class Gain:
    """Mean difference in AUROC with its 95 % interval."""

    value: float
    low: float
    high: float
    se: float
    redrawn: int  # draws thrown away because a task had one class only


def gain(contests: Sequence[Contest], draws: int, seed: int) -> Gain:
    """Mean over tasks of the mean over seeds of AUROC(better) - AUROC(base), paired.

    Patients are drawn once from all tasks' test patients together and the same draw is applied to
    every task, start and seed, so that what tasks and starts share cancels out of the interval.
    """
    names = np.unique(np.concatenate([c.subject for c in contests]))
    patients = [np.searchsorted(names, c.subject) for c in contests]
    needs = [_needs(p, c.label, len(names)) for p, c in zip(patients, contests, strict=True)]
    sides = [_Sides(c) for c in contests]
    rows = max(len(c.label) for c in contests)
    parts, thrown = [], 0
    for counts, redrawn in patient_draws(np.concatenate(needs), rows, draws, seed):
        parts.append(_mean_difference(sides, [counts[p] for p in patients]))
        thrown += redrawn
    whole = _mean_difference(sides, [np.ones((len(c.label), 1)) for c in contests])
    limits = interval(np.concatenate(parts))
    return Gain(float(whole[0]), limits.low, limits.high, limits.se, thrown)


class _Sides:
    """A contest with every seed's rows ranked."""

    def __init__(self, contest: Contest) -> None:
        self.better = [Ranking(contest.label, score) for score in contest.better]
        self.base = [Ranking(contest.label, score) for score in contest.base]


def _mean_difference(sides: Sequence[_Sides], weights: Sequence[Floats]) -> Floats:
    """(D,) from each task's weights (n, D)."""
    differences = [
        np.mean([r.auroc(w) for r in s.better], axis=0)
        - np.mean([r.auroc(w) for r in s.base], axis=0)
        for s, w in zip(sides, weights, strict=True)
    ]
    return np.asarray(np.mean(differences, axis=0))

"""Intervals from resampling patients.

Rows of one patient are not independent, so a draw takes patients with replacement, and a row
weighs as often as its patient was taken. Draws are computed in blocks, which bound memory.

The intervals hold one source of chance, the test patients: not the seeds, not the labelled rows.

Shapes: n rows, D draws, K classes that a draw must hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from medhmp.arrays import Floats, Ints
from medhmp.evaluate.discrimination import THRESHOLD, Ranking, at_threshold

COVERAGE: Final = 0.95
CELLS: Final = 1 << 19
"""Rows times draws of a block: its arrays of 4 MiB fit into a core's cache."""


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
    """Yields blocks of draws: times each patient was taken (patients, D), and draws redone.

    Each of the K lines of ``needs`` (K, patients) marks a group of which a draw must take at least
    one: the patients with a positive row, those with a negative row. Other draws are redone.
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
    """Patients with a positive row and patients with a negative row, (2, patients)."""
    needs = np.zeros((2, patients))
    needs[0, patient[label == 1]] = 1
    needs[1, patient[label == 0]] = 1
    return needs


def bootstrap(
    subject: Ints, label: Ints, score: Floats, tuned: float, draws: int, seed: int
) -> tuple[dict[str, Interval], int]:
    """Intervals of all discrimination metrics, and the number of draws redone for want of a class.

    subject, label, score: (n,). ``tuned`` is the threshold of f1_tuned and kappa_tuned. Both
    classes must be present. The same patients, labels and seed give the same draws.
    """
    names, patient = np.unique(subject, return_inverse=True)
    ranking = Ranking(label, score)
    blocks: list[dict[str, Floats]] = []
    redone = 0
    needs = _needs(patient, label, len(names))
    for counts, redrawn in patient_draws(needs, len(label), draws, seed):
        weights = counts[patient]
        f1, kappa = at_threshold(label, score, THRESHOLD, weights)
        f1_tuned, kappa_tuned = at_threshold(label, score, tuned, weights)
        blocks.append(
            ranking.all(weights)
            | {"f1": f1, "kappa": kappa, "f1_tuned": f1_tuned, "kappa_tuned": kappa_tuned}
        )
        redone += redrawn
    return {m: interval(np.concatenate([b[m] for b in blocks])) for m in blocks[0]}, redone


@dataclass(frozen=True)
class Contest:
    """Two scores of the same n test rows of one task; every array is (n,)."""

    subject: Ints
    label: Ints
    better: Floats
    base: Floats


@dataclass(frozen=True)
class Gain:
    """Mean difference in AUROC with its 95 % interval."""

    value: float
    low: float
    high: float
    se: float
    redrawn: int  # draws redone because a task had one class only


def gain(contests: Sequence[Contest], draws: int, seed: int) -> Gain:
    """Mean over tasks of AUROC(better) - AUROC(base), paired.

    One draw takes from the test patients of all tasks together and is applied to every task and
    both scores, so that what they share cancels out of the interval.
    """
    names = np.unique(np.concatenate([c.subject for c in contests]))
    patients = [np.searchsorted(names, c.subject) for c in contests]
    needs = [_needs(p, c.label, len(names)) for p, c in zip(patients, contests, strict=True)]
    pairs = [(Ranking(c.label, c.better), Ranking(c.label, c.base)) for c in contests]
    rows = max(len(c.label) for c in contests)
    blocks, redone = [], 0
    for counts, redrawn in patient_draws(np.concatenate(needs), rows, draws, seed):
        blocks.append(_mean_difference(pairs, [counts[p] for p in patients]))
        redone += redrawn
    whole = _mean_difference(pairs, [np.ones((len(c.label), 1)) for c in contests])
    limits = interval(np.concatenate(blocks))
    return Gain(float(whole[0]), limits.low, limits.high, limits.se, redone)


def _mean_difference(pairs: Sequence[tuple[Ranking, Ranking]], weights: Sequence[Floats]) -> Floats:
    """Mean over tasks of the difference within each pair, (D,), from each task's weights (n, D)."""
    differences = [
        better.auroc(w) - base.auroc(w) for (better, base), w in zip(pairs, weights, strict=True)
    ]
    return np.asarray(np.mean(differences, axis=0))

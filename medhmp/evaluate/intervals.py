"""Intervals of figures and of differences between them, by replicates and by resampled patients.

A figure is the mean over R replicates, each of which has scored the same test rows. Two sources of
chance move it. Test patients: rows of one patient are not independent, so a draw takes patients
with replacement, and a row weighs as often as its patient was taken. Replicates: each drew anew
whatever its fit draws. One set of draws serves every model of every task, so that what two of them
share cancels out of their difference.

Shapes: n rows, R replicates, D draws, G groups of patients of which a draw must take one.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import stdtrit

from medhmp.arrays import Floats, Ints
from medhmp.evaluate.discrimination import METRICS, Ranking

COVERAGE: Final = 0.95
CELLS: Final = 1 << 20
"""Rows times draws of a block, in bytes: they fit into a core's cache."""
FEW_PATIENTS: Final = 10
"""With fewer patients of either class a resample says little about another sample."""
TEST_PATIENTS: Final = "test patients"
REPLICATES: Final = "replicates"
LEAST_P: Final = 1e-9
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    name: (-1.0 if name.startswith("kappa") else 0.0, 1.0) for name in METRICS
}
"""The least and the greatest value that a metric can have."""

Key = TypeVar("Key", bound=Hashable)
Counts = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval of ``COVERAGE``; None where a part cannot be had."""

    value: float  # mean over the replicates
    sd: float | None  # over the replicates
    se: float | None
    low: float | None
    high: float | None
    p: float | None  # two-sided, of a value of zero
    chance: tuple[str, ...]  # the sources of chance that the interval holds
    why: str | None  # there is no interval

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "chance": list(self.chance)}


@dataclass(frozen=True)
class Drawn:
    """A figure on the test rows as they are, and in every draw of patients."""

    own: Floats  # (R)
    draws: Floats  # (R, D); no column without an interval
    cases: int  # patients with the outcome
    controls: int  # and patients without it

    def estimate(self, low: float = -np.inf, high: float = np.inf) -> Estimate:
        """The figure with its interval, cut to what it can be.

        The variance of replicates is S^2 / R with R - 1 degrees of freedom. It holds what they
        drew and how they differ by their answers to single patients. That of patients is the
        variance, in the draws, of what all replicates share: of their mean, less the answers'
        part, which is (mean of their variances - variance of their mean) / (R - 1). It has as many
        degrees of freedom as the smaller class has patients, less one. The limits add the squared
        halves of the two intervals (Zou and Donner 2008, Statistics in Medicine 27:1693), each
        with its own quantile of Student's t.
        """
        replicates, value = len(self.own), float(self.own.mean())
        sd = float(self.own.std(ddof=1)) if replicates > 1 else None
        chance = (TEST_PATIENTS, REPLICATES) if replicates > 1 else (TEST_PATIENTS,)
        without = Estimate(value, sd, None, None, None, None, chance, self._too_few())
        if without.why:
            return without
        parts = self._variances()
        if not sum(variance for variance, _ in parts) > 0:
            return Estimate(value, sd, None, None, None, None, chance, "no draw moves the figure")
        half = _half(parts, 1 - COVERAGE)
        return Estimate(
            value,
            sd,
            float(np.sqrt(sum(variance for variance, _ in parts))),
            max(value - half, low),
            min(value + half, high),
            _p_value(parts, abs(value)),
            chance,
            None,
        )

    def _too_few(self) -> str | None:
        if min(self.cases, self.controls) >= FEW_PATIENTS:
            return None
        return (
            f"an interval needs {FEW_PATIENTS} test patients with the outcome and {FEW_PATIENTS} "
            f"without it; there are {self.cases} and {self.controls}"
        )

    def _variances(self) -> list[tuple[float, int]]:
        """Variances of the two sources with their degrees of freedom."""
        replicates = len(self.own)
        of_mean = float(self.draws.mean(axis=0).var(ddof=1))
        freedom = min(self.cases, self.controls) - 1
        if replicates == 1:
            return [(of_mean, freedom)]
        of_one = float(self.draws.var(axis=1, ddof=1).mean())
        shared = of_mean - max(0.0, of_one - of_mean) / (replicates - 1)
        between = float(self.own.var(ddof=1)) / replicates
        return [(max(0.0, shared), freedom), (between, replicates - 1)]


def _half(parts: Sequence[tuple[float, int]], alpha: float) -> float:
    """Half the width of the interval that leaves out ``alpha``."""
    squares = [variance * stdtrit(freedom, 1 - alpha / 2) ** 2 for variance, freedom in parts]
    return float(np.sqrt(sum(squares)))


def _p_value(parts: Sequence[tuple[float, int]], distance: float) -> float:
    """The ``alpha`` whose interval ends at zero, that is so far away."""
    if _half(parts, LEAST_P) <= distance:
        return LEAST_P
    if distance == 0:
        return 1.0
    return float(brentq(lambda alpha: _half(parts, alpha) - distance, LEAST_P, 1.0))


def combined(function: Callable[..., Floats], *drawn: Drawn) -> Drawn:
    """A function of figures, such as their difference, replicate by replicate and draw by draw."""
    size = min((len(d.own) for d in drawn if len(d.own) > 1), default=1)
    return Drawn(
        np.asarray(function(*(d.own[:size] for d in drawn))),
        np.asarray(function(*(d.draws[:size] for d in drawn))),
        min(d.cases for d in drawn),
        min(d.controls for d in drawn),
    )


def difference(a: Drawn, b: Drawn) -> Drawn:
    """a - b, paired by replicate and by draw."""
    return combined(np.subtract, a, b)


def mean(drawn: Sequence[Drawn]) -> Drawn:
    """The mean of figures of several tasks."""
    return combined(lambda *parts: np.mean(np.broadcast_arrays(*parts), axis=0), *drawn)


@dataclass(frozen=True)
class Contender:
    """A model's scores of the n test rows of one task."""

    subject: Ints  # (n)
    label: Ints  # (n), both classes present
    scores: Floats  # (R, n)
    tuned: Floats  # (R) thresholds of f1_tuned and kappa_tuned

    @property
    def classes(self) -> tuple[Ints, Ints]:
        """Patients with a row that has the outcome, and with one that has not."""
        return np.unique(self.subject[self.label == 1]), np.unique(self.subject[self.label == 0])


def draw_figures(
    contenders: Mapping[Key, Contender], draws: int, seed: int
) -> tuple[dict[Key, dict[str, Drawn]], int]:
    """All discrimination metrics of each contender, and the number of draws redone for want of a
    class. The same patients, labels and seed give the same draws.

    A contender with few patients of a class gets no draws.
    """
    classes = {key: c.classes for key, c in contenders.items()}
    enough = {key for key, of in classes.items() if min(map(len, of)) >= FEW_PATIENTS}
    rankings = {k: [Ranking(c.label, s) for s in c.scores] for k, c in contenders.items()}
    own = {k: _measured(rankings[k], c.tuned, None) for k, c in contenders.items()}
    blocks: dict[Key, list[dict[str, Floats]]] = {key: [] for key in contenders}
    subjects = [c.subject for c in contenders.values()]
    names = np.unique(np.concatenate([np.zeros(0, np.int64), *subjects]))
    patient = {key: np.searchsorted(names, contenders[key].subject) for key in enough}
    rows = max((len(patient[key]) for key in enough), default=1)
    needs = {tuple(of.tolist()): np.isin(names, of) for key in enough for of in classes[key]}
    redone = 0
    for counts, redrawn in patient_draws(_stacked(needs, names), rows, draws, seed):
        for key in enough:
            weights = np.take(counts, patient[key], axis=1)
            blocks[key].append(_measured(rankings[key], contenders[key].tuned, weights))
        redone += redrawn
    found = {}
    for key, of in classes.items():
        cases, controls = map(len, of)
        found[key] = {
            name: Drawn(values[:, 0], _joined(blocks[key], name, values), cases, controls)
            for name, values in own[key].items()
        }
    return found, redone


def _stacked(needs: Mapping[Any, npt.NDArray[np.bool_]], names: Ints) -> npt.NDArray[np.bool_]:
    return np.array(list(needs.values()), bool).reshape(len(needs), len(names))


def _measured(
    rankings: Sequence[Ranking], tuned: Floats, weights: Counts | None
) -> dict[str, Floats]:
    """Each metric (R, D) under the weights (D, n); none: under equal weights."""
    of_replicates = []
    for ranking, threshold in zip(rankings, tuned, strict=True):
        given = np.ones((1, ranking.rows), np.uint8) if weights is None else weights
        of_replicates.append(ranking.all(given, float(threshold)))
    return {name: np.stack([one[name] for one in of_replicates]) for name in METRICS}


def _joined(blocks: Sequence[Mapping[str, Floats]], name: str, like: Floats) -> Floats:
    return np.concatenate([b[name] for b in blocks], axis=1) if blocks else like[:, :0]


def patient_draws(
    needs: npt.NDArray[np.bool_], rows: int, draws: int, seed: int
) -> Iterator[tuple[Counts, int]]:
    """Yields blocks of draws: times each patient was taken (D, patients), and draws redone.

    Each of the G lines of ``needs`` (G, patients) marks a group of which a draw must take at least
    one: the patients with a positive row, those with a negative row. Other draws are redone.
    """
    rng = np.random.default_rng(seed)
    patients = needs.shape[1]
    size = max(1, CELLS // max(rows, patients, 1))
    for start in range(0, draws, size):
        counts = _take(rng, patients, min(size, draws - start))
        redrawn = 0
        while (bad := np.flatnonzero(_lacks(needs, counts))).size:
            counts[bad] = _take(rng, patients, bad.size)
            redrawn += bad.size
        yield counts, redrawn


def _lacks(needs: npt.NDArray[np.bool_], counts: Counts) -> npt.NDArray[np.bool_]:
    """Draws (D) that took nobody of some group."""
    lacking = np.zeros(len(counts), np.bool_)
    for group in needs:
        lacking |= ~(counts * group).any(axis=1)
    return lacking


def _take(rng: np.random.Generator, patients: int, draws: int) -> Counts:
    """Takes ``patients`` patients with replacement in each draw; counts, (draws, patients)."""
    counts = np.empty((draws, patients), np.uint8)
    for one in counts:
        # No patient is taken 256 times: with so many patients the odds are below 1e-500.
        one[:] = np.bincount(rng.integers(patients, size=patients), minlength=patients)
    return counts


def bootstrap(
    subject: Ints, label: Ints, scores: Floats, tuned: Floats, draws: int, seed: int
) -> tuple[dict[str, Estimate], int]:
    """All discrimination metrics of one model on one task; as ``draw_figures``.

    Args:
        subject: (n).
        label: (n), both classes present.
        scores: (R, n).
        tuned: (R) thresholds of f1_tuned and kappa_tuned.
        draws: D.
        seed: of the draws.
    """
    figures, redone = draw_figures({0: Contender(subject, label, scores, tuned)}, draws, seed)
    return {m: drawn.estimate(*BOUNDS[m]) for m, drawn in figures[0].items()}, redone


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of the p-values of one table; None stays None and counts for nothing."""
    from statsmodels.stats.multitest import multipletests

    had = [value for value in p if value is not None]
    corrected = iter(multipletests(had, method="holm")[1].tolist() if had else [])
    return [None if value is None else next(corrected) for value in p]

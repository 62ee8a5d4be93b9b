"""Agreement of predicted risks with outcomes: of 100 rows at 20 %, 20 should have the outcome.

Shapes: n rows. Labels are 0 or 1; probabilities are clipped to [EDGE, 1 - EDGE] before a logit.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from medhmp.arrays import Floats, Ints

EDGE: Final = 1e-6
STEPS: Final = 100  # of Newton's method, at most
BINS: Final = 10  # of the curve and of the expected calibration error
NORMAL_95: Final = 1.959963984540054  # the 97.5th percentile of a standard normal


@dataclass(frozen=True)
class Calibration:
    """Measures of agreement between risk and outcome; None where one is undefined."""

    intercept: float | None  # a in logit P(y) = a + logit p; below 0, risks are too high
    slope: float | None  # b in logit P(y) = a + b logit p; below 1, risks are too extreme
    o_to_e: float | None  # observed over expected events
    brier: float
    ece: float  # expected calibration error, over bins of equal size

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Bin:
    """One point of the calibration curve."""

    n: int  # rows
    risk: float  # mean predicted risk
    observed: float  # share of events
    low: float  # of its 95 % interval
    high: float


def calibration(label: Ints, score: Floats) -> Calibration:
    """All measures of ``Calibration`` for (n,) labels and probabilities."""
    events, expected = float(label.sum()), float(score.sum())
    ece = sum(b.n * abs(b.observed - b.risk) for b in curve(label, score)) / len(label)
    return Calibration(
        intercept=intercept(label, score),
        slope=slope(label, score),
        o_to_e=events / expected if expected > 0 else None,
        brier=float(np.mean((score - label) ** 2)),
        ece=float(ece),
    )


def curve(label: Ints, score: Floats, bins: int = BINS) -> list[Bin]:
    """Bins of equal size by rising risk, at most ``bins``, each with a Wilson interval."""
    order = np.argsort(score, kind="stable")
    rows_of_bins = np.array_split(order, min(bins, len(order)))
    return [_bin(label[rows], score[rows]) for rows in rows_of_bins]


def _bin(label: Ints, score: Floats) -> Bin:
    """One bin with Wilson's interval, inside [0, 1] and of some width even without events."""
    n, observed = len(label), float(label.mean())
    z2 = NORMAL_95**2 / n
    middle = (observed + z2 / 2) / (1 + z2)
    half = NORMAL_95 / (1 + z2) * np.sqrt(observed * (1 - observed) / n + z2 / (4 * n))
    return Bin(n, float(score.mean()), observed, float(middle - half), float(middle + half))


def intercept(label: Ints, score: Floats) -> float | None:
    """Calibration-in-the-large; None with one class only, where it is infinite."""
    offset = _logit(score)
    fit = _newton(np.ones((len(label), 1)), offset, label)
    return None if fit is None else float(fit[0])


def slope(label: Ints, score: Floats) -> float | None:
    """Calibration slope; None where all risks are equal or separate the classes."""
    x = _logit(score)
    if np.ptp(x) == 0:
        return None
    fit = _newton(np.stack([np.ones_like(x), x], axis=1), np.zeros_like(x), label)
    return None if fit is None else float(fit[1])


def _logit(score: Floats) -> Floats:
    """log(p / (1 - p)), finite also for probabilities of 0 and 1."""
    p = np.clip(score.astype(np.float64), EDGE, 1 - EDGE)
    return np.log(p) - np.log1p(-p)


def _newton(design: Floats, offset: Floats, label: Ints) -> Floats | None:
    """Maximum-likelihood b (k,) of logit P(y) = design (n, k) @ b + offset (n,).

    Written out because scikit-learn's logistic regression takes no offset. A step is halved while
    it would lower the likelihood. None where the likelihood has no maximum.
    """
    beta = np.zeros(design.shape[1])
    value = _log_likelihood(design @ beta + offset, label)
    for _ in range(STEPS):
        p = np.exp(-np.logaddexp(0, -(design @ beta + offset)))
        hessian = design.T @ (design * (p * (1 - p))[:, None])
        try:
            step = np.linalg.solve(hessian, design.T @ (label - p))
        except np.linalg.LinAlgError:
            return None
        while (then := _log_likelihood(design @ (beta + step) + offset, label)) < value - 1e-12:
            step /= 2
        beta, value = beta + step, then
        if np.abs(step).max() < 1e-9:
            return beta if np.abs(beta).max() < 1e3 else None
    return None


def _log_likelihood(eta: Floats, label: Ints) -> float:
    """Sum of log P(y) for logits ``eta`` (n,)."""
    return float(np.sum(label * eta - np.logaddexp(0, eta)))

"""Standard errors from influences, with the rows of one patient taken together.

The influence of a row is its share in the error of a figure: figure - truth = sum of influences, to
first order. Rows of one patient are not independent, so their influences are added before they are
squared (Liang and Zeger 1986; for AUROC, Obuchowski 1997). With one row per patient the standard
error of an AUROC is DeLong's. Differences of two figures on the same or on other rows need no case
of their own: their influences are subtracted.

Beside the bootstrap of ``intervals`` this costs one sort, which is why subgroups and curves use it.

Shapes: n rows. ``patient`` holds a number per row, 0 to P - 1.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy.special import expit, logit
from scipy.stats import rankdata

from medhmp.arrays import Floats, Ints

NORMAL_95: Final = 1.959963984540054
"""The 97.5th percentile of a standard normal."""


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval over test patients, and its standard error."""

    value: float
    low: float | None  # None where the figure is at an end of its scale
    high: float | None
    se: float

    def to_json(self) -> dict[str, Any]:
        """As JSON, which has no NaN: None where the rows are of one patient."""
        numbers = asdict(self).items()
        return {name: None if n is None or np.isnan(n) else n for name, n in numbers}


def standard_error(influence: Floats, patient: Ints) -> float:
    """Root of P / (P - 1) times the sum of the patients' squared influences; NaN of one patient."""
    patients = np.count_nonzero(np.bincount(patient))
    if patients < 2:
        return float("nan")
    total = np.bincount(patient, weights=influence)
    return float(np.sqrt(patients / (patients - 1) * np.sum(total**2)))


def auroc(label: Ints, score: Floats) -> tuple[float, Floats]:
    """AUROC and its influences, (n,).

    A positive's is (its placement - AUROC) / positives, where the placement is the share of
    negatives that score lower, ties counting one half; a negative's mirrors it.
    """
    positive = label == 1
    m, n = int(positive.sum()), int((~positive).sum())
    own = np.empty(len(label))
    own[positive], own[~positive] = rankdata(score[positive]), rankdata(score[~positive])
    placement = (rankdata(score) - own) / np.where(positive, n, m)
    placement[~positive] = 1 - placement[~positive]
    value = float(placement[positive].mean())
    return value, (placement - value) / np.where(positive, m, n)


def mean(x: Floats) -> tuple[float, Floats]:
    """Mean of x (n,) and its influences."""
    value = float(x.mean())
    return value, (x - value) / len(x)


def log_ratio(over: Floats, under: Floats) -> tuple[float, Floats]:
    """log(sum of ``over`` / sum of ``under``) and its influences; both sums must be positive."""
    a, b = float(over.sum()), float(under.sum())
    return float(np.log(a / b)), over / a - under / b


def auroc_estimate(label: Ints, score: Floats, patient: Ints) -> Estimate:
    """AUROC with an interval that is symmetric in its logit, so that it stays within 0 and 1."""
    value, influence = auroc(label, score)
    se = standard_error(influence, patient)
    if not 0 < value < 1:
        return Estimate(value, None, None, se)
    half = NORMAL_95 * se / (value * (1 - value))
    return Estimate(value, float(expit(logit(value) - half)), float(expit(logit(value) + half)), se)


def plain_estimate(value: float, influence: Floats, patient: Ints) -> Estimate:
    """A figure with a symmetric interval."""
    se = standard_error(influence, patient)
    return Estimate(value, value - NORMAL_95 * se, value + NORMAL_95 * se, se)


def ratio_estimate(over: Floats, under: Floats, patient: Ints) -> Estimate | None:
    """A ratio of sums with an interval symmetric in its logarithm; None where a sum is 0."""
    if not (over.sum() > 0 and under.sum() > 0):
        return None
    log, influence = log_ratio(over, under)
    se = standard_error(influence, patient)
    low, high = np.exp(log - NORMAL_95 * se), np.exp(log + NORMAL_95 * se)
    return Estimate(float(np.exp(log)), float(low), float(high), float(np.exp(log) * se))


Figure = Callable[[Ints, Floats], tuple[float, Floats]]


def difference(
    figure: Figure, label: Ints, score: Floats, inside: np.ndarray[Any, Any], patient: Ints
) -> Estimate:
    """figure(rows ``inside``) - figure(all others); ``inside`` (n,) is true or false.

    A patient may have rows in both: their influences then partly cancel.
    """
    influence = np.empty(len(label))
    here, influence[inside] = figure(label[inside], score[inside])
    rest, own = figure(label[~inside], score[~inside])
    influence[~inside] = -own
    return plain_estimate(here - rest, influence, patient)

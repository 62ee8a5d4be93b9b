"""Risks made to agree with outcomes: maps fitted on validation rows, applied to test rows.

Fitted on test rows, a map would look better than it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from medhmp.arrays import Floats, Ints
from medhmp.evaluate.calibration import logistic_of, logit_of


@dataclass(frozen=True)
class Recalibration:
    """A map from risk to risk, and the numbers that define it."""

    apply: Callable[[Floats], Floats]
    numbers: dict[str, Any]  # as JSON: enough to apply it elsewhere


def from_numbers(numbers: Mapping[str, Any]) -> Recalibration:
    """The map that these numbers define: of a line for the logit, or of steps for the risk."""
    if "slope" in numbers:
        c, b = numbers["intercept"], numbers["slope"]
        return Recalibration(lambda p: np.asarray(expit(c + b * logit_of(p))), dict(numbers))
    risk, observed = numbers["risk"], numbers["observed"]
    return Recalibration(lambda p: np.interp(p, risk, observed), dict(numbers))


def logistic(label: Ints, score: Floats) -> Recalibration | None:
    """logit p' = c + b logit p (Cox 1958, Platt). Keeps ranks where b > 0.

    None where the rows define no c and b.
    """
    fitted = logistic_of(label, score)
    if fitted is None:
        return None
    c, b = fitted
    return from_numbers({"intercept": c, "slope": b})


def isotonic(label: Ints, score: Floats) -> Recalibration:
    """The rising steps nearest to the outcomes, with straight lines between. Makes ties.

    Risks beyond the fitted ones take the nearest step.
    """
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, label)
    risk, observed = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
    return from_numbers({"risk": risk, "observed": observed})

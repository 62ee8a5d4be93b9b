"""What acting on a risk at a threshold would mean: counts, rates and net benefit.

A threshold t says how many needless interventions one needed intervention is worth: (1 - t) / t. A
risk equal to the threshold is acted on.

Shapes: n rows, K thresholds.
"""

from typing import Any, Final

import numpy as np

from medhmp.arrays import Floats, Ints
from medhmp.evaluate.influence import NORMAL_95, mean, standard_error

THRESHOLDS: Final = np.arange(1, 51) / 100
"""Of decision curves."""


def net_benefit(label: Ints, score: Floats, threshold: float) -> Floats:
    """Each row's share in net benefit, whose mean it is: 1 for a true positive, -t / (1 - t) for a
    false one, (n,). (Vickers and Elkin 2006.)"""
    flagged = score >= threshold
    return np.asarray(flagged * np.where(label == 1, 1.0, -threshold / (1 - threshold)))


def decision_curve(label: Ints, score: Floats, patient: Ints) -> dict[str, list[float | None]]:
    """Net benefit at ``THRESHOLDS`` with its 95 % interval, beside that of acting on everybody.

    That of acting on nobody is 0. Rows of one patient have no interval (None). ``avoided`` are
    interventions avoided per 100 rows, against acting on everybody, without missing an event more.
    """
    t, share = THRESHOLDS, float(label.mean())
    rows = [mean(net_benefit(label, score, float(at))) for at in t]
    value = np.array([benefit for benefit, _ in rows])
    half = NORMAL_95 * np.array([standard_error(influence, patient) for _, influence in rows])
    everybody = share - (1 - share) * t / (1 - t)
    curve = {
        "threshold": t,
        "value": value,
        "low": value - half,
        "high": value + half,
        "all": everybody,
        "avoided": 100 * (value - everybody) * (1 - t) / t,
    }
    numbers = {name: column.tolist() for name, column in curve.items()}
    return {name: [None if np.isnan(n) else n for n in column] for name, column in numbers.items()}


def table_at(label: Ints, score: Floats, threshold: float) -> dict[str, Any]:
    """Counts and rates of acting at a threshold; None where a rate is of nothing."""
    flagged, positive = score >= threshold, label == 1
    tp, fp = int((flagged & positive).sum()), int((flagged & ~positive).sum())
    fn, tn = int((~flagged & positive).sum()), int((~flagged & ~positive).sum())
    n, sensitivity, specificity = len(label), _share(tp, tp + fn), _share(tn, tn + fp)
    false_positive_rate, false_negative_rate = _share(fp, tn + fp), _share(fn, tp + fn)
    both = None not in (sensitivity, specificity)
    return {
        "threshold": threshold,
        "preference": _preference(threshold, float(label.mean())),
        "flagged": _share(tp + fp, n),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _share(tp, tp + fp),
        "npv": _share(tn, tn + fn),
        "false_positive_rate": false_positive_rate,
        "false_negative_rate": false_negative_rate,
        "false_discovery_rate": _share(fp, tp + fp),
        "false_omission_rate": _share(fn, tn + fn),
        "accuracy": (tp + tn) / n,
        "balanced_accuracy": (sensitivity + specificity) / 2 if both else None,  # type: ignore[operator]
        "f1": _share(2 * tp, 2 * tp + fp + fn),
        "jaccard": _share(tp, tp + fp + fn),
        "positive_likelihood_ratio": _share(sensitivity, false_positive_rate),
        "negative_likelihood_ratio": _share(false_negative_rate, specificity),
        "diagnostic_odds_ratio": _share(tp * tn, fp * fn),
        "net_benefit": float(net_benefit(label, score, threshold).mean()) if threshold < 1 else 0.0,
    }


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _preference(threshold: float, share: float) -> float | None:
    """The threshold relative to the share of events: 0.5 where they are equal (Walker 2013)."""
    if not (0 < threshold < 1 and 0 < share < 1):
        return None
    odds = threshold / (1 - threshold) / (share / (1 - share))
    return odds / (1 + odds)


def best_youden_threshold(label: Ints, score: Floats) -> float:
    """The score that as a threshold has the highest sensitivity + specificity; the highest of
    several. Both classes must be present."""
    thresholds = np.unique(score)
    positive, negative = np.sort(score[label == 1]), np.sort(score[label == 0])
    sensitivity = 1 - np.searchsorted(positive, thresholds) / len(positive)
    specificity = np.searchsorted(negative, thresholds) / len(negative)
    index = sensitivity + specificity
    return float(thresholds[len(index) - 1 - np.argmax(index[::-1])])

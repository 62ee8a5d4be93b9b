"""Agreement of predicted risks with outcomes: of 100 rows at 20 %, 20 should have the outcome.

Shapes: n rows. Labels are 0 or 1; probabilities are clipped to [EDGE, 1 - EDGE] before a logit.
``patient`` (n,) says whose a row is: standard errors take a patient's rows together.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy.special import logit
from scipy.stats import chi2
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.nonparametric.smoothers_lowess import lowess

from medhmp.arrays import Floats, Ints
from medhmp.evaluate.influence import (
    NORMAL_95,
    Estimate,
    mean,
    plain_estimate,
    ratio_estimate,
)

EDGE: Final = 1e-6
BINS: Final = 10  # of the curve, of ECE and of Hosmer and Lemeshow's test
FINE_BINS: Final = 20  # of PyHealth's two forms of ECE
SPAN: Final = 2 / 3  # share of rows of lowess, as rms::val.prob has it


@dataclass(frozen=True)
class Calibration:
    """Measures of agreement between risk and outcome; None where one is undefined."""

    intercept: float | None  # a in logit P(y) = a + logit p; below 0, risks are too high
    slope: float | None  # b in logit P(y) = c + b logit p; below 1, risks are too extreme
    slope_intercept: float | None  # c, the intercept beside that slope (weak calibration)
    o_to_e: float | None  # observed over expected events
    e_to_o: float | None  # its inverse
    mean_risk: float
    observed: float  # share of events
    brier: float
    scaled_brier: float | None  # 1 - Brier / that of the share of events for everybody
    cross_entropy: float
    ece: float  # expected calibration error, over ten bins of equal size
    ece_20: float  # over twenty bins of equal size
    ece_20_width: float  # over twenty bins of equal width
    ici: float | None  # mean distance of risk and smoothed observed share (Eavg)
    e50: float | None  # median of it
    e90: float | None  # 90th percentile of it
    emax: float | None  # largest of it
    line_intercept: float | None  # of the least-squares line through the ten bins
    line_slope: float | None
    hosmer_lemeshow: float | None  # chi squared over the ten bins
    hosmer_lemeshow_p: float | None

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
    observed, bins = float(label.mean()), curve(label, score)
    brier, reference = float(np.mean((score - label) ** 2)), observed * (1 - observed)
    p = np.clip(score, EDGE, 1 - EDGE)
    weak, distance = _fit(label, score, sloped=True), _distances(label, score)
    line = _line(bins)
    statistic = _hosmer_lemeshow(bins)
    return Calibration(
        intercept=intercept(label, score),
        slope=None if weak is None else float(weak.params[1]),
        slope_intercept=None if weak is None else float(weak.params[0]),
        o_to_e=events / expected if expected > 0 else None,
        e_to_o=expected / events if events > 0 else None,
        mean_risk=float(score.mean()),
        observed=observed,
        brier=brier,
        scaled_brier=1 - brier / reference if reference else None,
        cross_entropy=float(-np.mean(label * np.log(p) + (1 - label) * np.log1p(-p))),
        ece=_ece(bins),
        ece_20=_ece(curve(label, score, FINE_BINS)),
        ece_20_width=_ece(_equal_widths(label, score)),
        ici=None if distance is None else float(distance.mean()),
        e50=None if distance is None else float(np.median(distance)),
        e90=None if distance is None else float(np.percentile(distance, 90)),
        emax=None if distance is None else float(distance.max()),
        line_intercept=None if line is None else line[0],
        line_slope=None if line is None else line[1],
        hosmer_lemeshow=statistic,
        hosmer_lemeshow_p=(None if statistic is None else float(chi2.sf(statistic, len(bins) - 2))),
    )


def intervals(label: Ints, score: Floats, patient: Ints) -> dict[str, dict[str, Any] | None]:
    """Estimates of intercept, slope, O:E and Brier by name; None where one is undefined.

    Those of intercept and slope are Wald's, with the sandwich of Liang and Zeger over patients.
    """
    value, influence = mean((score - label) ** 2)
    found = {
        "intercept": _wald(label, score, patient, sloped=False),
        "slope": _wald(label, score, patient, sloped=True),
        "o_to_e": ratio_estimate(label.astype(float), score, patient),
        "brier": plain_estimate(value, influence, patient),
    }
    return {name: None if of is None else of.to_json() for name, of in found.items()}


def curve(label: Ints, score: Floats, bins: int = BINS) -> list[Bin]:
    """Bins of equal size by rising risk, at most ``bins``, each with a Wilson interval."""
    order = np.argsort(score, kind="stable")
    rows_of_bins = np.array_split(order, min(bins, len(order)))
    return [_bin(label[rows], score[rows]) for rows in rows_of_bins]


def _equal_widths(label: Ints, score: Floats) -> list[Bin]:
    place = np.minimum((score * FINE_BINS).astype(int), FINE_BINS - 1)
    return [_bin(label[place == b], score[place == b]) for b in np.unique(place)]


def _bin(label: Ints, score: Floats) -> Bin:
    """One bin with Wilson's interval, inside [0, 1] and of some width even without events."""
    n, observed = len(label), float(label.mean())
    z2 = NORMAL_95**2 / n
    middle = (observed + z2 / 2) / (1 + z2)
    half = NORMAL_95 / (1 + z2) * np.sqrt(observed * (1 - observed) / n + z2 / (4 * n))
    return Bin(n, float(score.mean()), observed, float(middle - half), float(middle + half))


def _ece(bins: list[Bin]) -> float:
    """Mean distance of risk and observed share over the rows of the bins."""
    rows = sum(b.n for b in bins)
    return float(sum(b.n * abs(b.observed - b.risk) for b in bins) / rows)


def _line(bins: list[Bin]) -> tuple[float, float] | None:
    """Intercept and slope of the observed shares over the risks of the bins."""
    risk, observed = np.array([b.risk for b in bins]), np.array([b.observed for b in bins])
    if np.ptp(risk) < EDGE:
        return None
    slope, at_zero = np.polyfit(risk, observed, 1)
    return float(at_zero), float(slope)


def _hosmer_lemeshow(bins: list[Bin]) -> float | None:
    """Chi squared of observed against expected events and non-events; bins - 2 degrees of freedom.

    None with fewer than three bins, or where a bin expects none of one kind.
    """
    if len(bins) < 3 or any(not EDGE < b.risk < 1 - EDGE for b in bins):
        return None
    return sum(b.n * (b.observed - b.risk) ** 2 / (b.risk * (1 - b.risk)) for b in bins)


def _distances(label: Ints, score: Floats) -> Floats | None:
    """Distance of each row's risk from the observed share that lowess finds there, (n,)."""
    if np.ptp(score) < EDGE:
        return None
    with np.errstate(invalid="ignore"):  # among equal risks: NaN, which gives None
        smooth = lowess(
            label, score, frac=SPAN, it=0, delta=0.01 * np.ptp(score), return_sorted=False
        )
    distance = np.abs(np.clip(smooth, 0, 1) - score)
    return np.asarray(distance) if np.isfinite(distance).all() else None


def intercept(label: Ints, score: Floats) -> float | None:
    """Calibration-in-the-large; None with one class only, where it is infinite."""
    fit = _fit(label, score, sloped=False)
    return None if fit is None else float(fit.params[0])


def slope(label: Ints, score: Floats) -> float | None:
    """Calibration slope; None where all risks are equal or separate the classes."""
    fit = _fit(label, score, sloped=True)
    return None if fit is None else float(fit.params[1])


def logit_of(score: Floats) -> Floats:
    """log(p / (1 - p)), finite also for probabilities of 0 and 1."""
    return np.asarray(logit(np.clip(score.astype(np.float64), EDGE, 1 - EDGE)))


def _wald(label: Ints, score: Floats, patient: Ints, sloped: bool) -> Estimate | None:
    if len(np.unique(patient)) < 2:
        return None
    fit = _fit(label, score, sloped, cov_type="cluster", cov_kwds={"groups": patient})
    if fit is None:
        return None
    value, se = float(fit.params[-1]), float(fit.bse[-1])
    return Estimate(value, value - NORMAL_95 * se, value + NORMAL_95 * se, se)


def _fit(label: Ints, score: Floats, sloped: bool, **options: Any) -> Any:
    """Maximum likelihood of logit P(y) = c + b logit p, or with b = 1 where not ``sloped``.

    None where the likelihood has no maximum: one class, equal risks, or classes that a risk parts.
    """
    x = logit_of(score)
    positive = label == 1
    if positive.all() or not positive.any():
        return None
    if sloped:
        high, low = x[positive], x[~positive]
        if high.min() >= low.max() or low.min() >= high.max():
            return None
        model = GLM(label, np.stack([np.ones_like(x), x], axis=1), Binomial())
    else:
        model = GLM(label, np.ones((len(x), 1)), Binomial(), offset=x)
    with np.errstate(all="ignore"):  # risks of 0 and 1 overflow; what is not finite is no fit
        fit = model.fit(**options)
    return fit if np.isfinite([*fit.params, *fit.bse]).all() else None


def logistic_of(label: Ints, score: Floats) -> tuple[float, float] | None:
    """c and b of logit P(y) = c + b logit p; None where undefined."""
    fit = _fit(label, score, sloped=True)
    return None if fit is None else (float(fit.params[0]), float(fit.params[1]))

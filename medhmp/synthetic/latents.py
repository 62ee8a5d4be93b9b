"""Latent state, courses and outcomes of the synthetic patients, by the package's equations.

All are arrays with a row per patient, admission or stay; times are whole seconds since 1970.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medhmp.arrays import Floats, Ints
from medhmp.legend import PatientTask
from medhmp.synthetic.signal import (
    AGE_TREND,
    ARF,
    AXES,
    CONDITIONS,
    EARLY_ONSET,
    ELECTIVE,
    HIGH,
    LATE,
    MEAN_AGE,
    MILDER,
    MORTALITY,
    PREVALENCE,
    READMISSION,
    RETURN,
    SD_AGE,
    SECOND_STAY,
    SHIFT,
    SHOCK,
    SHORT_STAY,
    SLOPE,
    TWO_STAYS,
    UNITS,
)

Bools = NDArray[np.bool_]
Rows = dict[str, NDArray[Any]]
"""Columns of rows that are still being drawn."""

HOUR: Final = 3600
DAY: Final = 24 * HOUR
YEAR: Final = 365 * DAY + 6 * HOUR

MAX_VISITS: Final = 16
"""Most admissions of a patient; no readmission follows the last of them."""


@dataclass(frozen=True)
class Patients:
    """n patients."""

    birth: Ints
    male: Bools
    first_admitted: Ints
    conditions: Bools  # (n, 8)
    late: Floats  # (n, 3): p(a disease of LATE is coded at the last, late admission | conditions)
    destined: Bools  # (n, 3): drawn from late

    def age(self, who: Ints, at: Ints) -> Floats:
        """Years at the given times."""
        return (at - self.birth[who]) / YEAR


@dataclass(frozen=True)
class Admissions:
    """Admissions in order of patient, then time."""

    patient: Ints
    visit: Ints
    admitted: Ints
    discharged: Ints
    kind: Ints  # 0 emergency, 1 urgent, 2 elective
    late: Bools  # more than 200 days after the previous discharge
    died: Bools
    readmission: Floats  # p
    readmitted: Bools


@dataclass(frozen=True)
class Stays:
    """S ICU stays in order of admission, then time."""

    admission: Ints
    order: Ints  # 0 first, 1 second
    intime: Ints
    hours: Floats  # length of stay
    unit: Ints  # (S): index into UNITS
    level: Floats  # (S, 6): z
    slope: Floats  # (S, 6): s
    arf: Floats  # p
    shock: Floats  # p
    mortality: Floats  # p
    arf_onset: Floats  # hours since intime; NaN: none
    shock_onset: Floats  # the same

    @property
    def long(self) -> Bools:
        """True for stays that last the 48 hours that stay tasks observe."""
        return self.hours >= 48


def at_48_hours(level: Floats, slope: Floats) -> Floats:
    """x = (z + s) / sqrt(1 + SLOPE^2), (n, 6): the axes after two days, in SD."""
    x: Floats = (level + slope) / np.sqrt(1 + SLOPE**2)
    return x


def written_down(rng: np.random.Generator, stays: Stays, admissions: int) -> Bools:
    """(admissions, 6): true if one observer finds the axis high at the end of the admission's last
    stay, x + N(0, 0.5^2) > HIGH. Codes, drugs and words have an observer each."""
    last = np.zeros(admissions, np.int64)
    last[stays.admission] = np.arange(len(stays.hours))  # stays are in time order
    end = at_48_hours(stays.level[last], stays.slope[last])
    high: Bools = end + rng.normal(0, 0.5, end.shape) > HIGH
    return high


def arf(level: Floats, slope: Floats, conditions: Floats) -> Floats:
    """Log-odds of respiratory failure after 48 h: breathing at the end, inflammation, both."""
    w = ARF
    b, i = at_48_hours(level, slope)[:, 1], level[:, 4]
    odds: Floats = (
        w["one"] + w["b"] * b + w["i"] * i + w["bi"] * b * i + w["lung"] * conditions[:, 1]
    )
    return odds


def shock(level: Floats, slope: Floats) -> Floats:
    """Log-odds of shock after 48 h: circulation and inflammation at the end, and both."""
    w, x = SHOCK, at_48_hours(level, slope)
    f, r = x[:, 0], x[:, 4]
    odds: Floats = w["one"] + w["f"] * f + w["r"] * r + w["fr"] * f * r
    return odds


def mortality(level: Floats, slope: Floats, conditions: Floats, age: Floats) -> Floats:
    """Log-odds of death in hospital: failing organs, pairs of them, age, cancer."""
    w, x = MORTALITY, at_48_hours(level, slope)
    pairs = w["renal hepatic"] * x[:, 2] * x[:, 3]
    pairs += w["cardiovascular neurological"] * x[:, 0] * x[:, 5]
    person = w["decade"] * (age - MEAN_AGE) / 10 + w["cancer"] * conditions[:, 5]
    odds: Floats = w["one"] + x @ w["x"] + pairs + person
    return odds


def readmission(level: Floats, slope: Floats, conditions: Floats) -> Floats:
    """Log-odds of an unplanned return: conditions, axes, and conditions with their organ's axis."""
    w, x, c = READMISSION, at_48_hours(level, slope), conditions
    pairs = w["lung respiratory"] * c[:, 1] * x[:, 1] + w["ckd renal"] * c[:, 3] * x[:, 2]
    pairs += w["alcohol neurological"] * c[:, 7] * x[:, 5]
    odds: Floats = w["one"] + c @ w["c"] + x @ w["x"] + pairs
    return odds


def late(task: PatientTask, conditions: Floats) -> Floats:
    """Log-odds of a disease at the late admission: three conditions, and pairs of them."""
    w, of = LATE[task], dict(zip(CONDITIONS, conditions.T, strict=True))
    pairs = sum(weight * of[one] * of[other] for (one, other), weight in w["pairs"].items())
    odds: Floats = w["one"] + conditions @ w["c"] + pairs
    return odds


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def draw_patients(rng: np.random.Generator, n: int) -> Patients:
    """Draws n patients, their conditions, and which diseases of ``LATE`` will be coded."""
    first_admitted = rng.integers(130 * YEAR, 200 * YEAR, n) // 60 * 60
    age = np.clip(rng.normal(MEAN_AGE, SD_AGE, n), 18.5, 95)
    odds = np.log(PREVALENCE / (1 - PREVALENCE)) + np.outer((age - MEAN_AGE) / 10, AGE_TREND)
    conditions = rng.random((n, len(CONDITIONS))) < sigmoid(odds)
    risk = np.stack([sigmoid(late(task, conditions.astype(float))) for task in LATE], axis=1)
    # A stream of its own: with more diseases, or fewer, the courses of a seed stay as they are.
    others = rng.spawn(1)[0].random((n, len(LATE) - 1))
    return Patients(
        birth=((first_admitted - age * YEAR) // DAY * DAY).astype(np.int64),
        male=rng.random(n) < 0.55,
        first_admitted=first_admitted,
        conditions=conditions,
        late=risk,
        destined=np.column_stack([rng.random(n), others]) < risk,
    )


def draw_courses(rng: np.random.Generator, patients: Patients) -> tuple[Admissions, Stays]:
    """Draws all admissions and stays, one visit at a time of all patients still in care."""
    who = np.arange(len(patients.birth))
    admitted = patients.first_admitted
    kind = rng.choice(3, len(who), p=[0.8, 0.08, 0.12])
    late = np.zeros(len(who), bool)
    visits: list[tuple[Rows, Rows]] = []
    while len(who):
        visit = len(visits)
        stays = _draw_stays(rng, patients, who, admitted, ~late & (visit > 0))
        ends = _draw_ending(rng, patients, who, visit, stays)
        starts = {"patient": who, "visit": np.full(len(who), visit), "admitted": admitted}
        visits.append(({**starts, "kind": kind, "late": late, **ends}, stays))
        goes_on, admitted, kind, late = _draw_next(rng, visit, late, ends)
        who = who[goes_on]
    return _in_order(visits)


def _draw_stays(
    rng: np.random.Generator, patients: Patients, who: Ints, admitted: Ints, back: Bools
) -> Rows:
    """Draws first stays, then second stays of some; ``admission`` is an index into ``who``.

    ``back`` marks admissions within 30 days of a discharge.
    """
    n = len(who)
    conditions = patients.conditions[who].astype(float)
    mean = (conditions - PREVALENCE) @ SHIFT + MILDER * back[:, None]
    first = {
        "admission": np.arange(n),
        "order": np.zeros(n, np.int64),
        "intime": admitted + (rng.uniform(0.5, 12, n) * HOUR).astype(np.int64),
        "hours": _length(rng, n, SHORT_STAY),
        "unit": rng.integers(0, len(UNITS), n),
        "level": mean + rng.normal(size=(n, len(AXES))),
        "slope": rng.normal(0, SLOPE, (n, len(AXES))),
    }
    second = _draw_second(rng, first)
    stays = {name: np.concatenate([first[name], second[name]]) for name in first}
    return {**stays, **_draw_onsets(rng, stays, conditions[stays["admission"]])}


def _length(rng: np.random.Generator, n: int, short: float) -> Floats:
    """Hours of n stays. Long ones last at least 52 h, so that an onset after 48 h fits in."""
    long = np.minimum(52 + rng.gamma(1.2, 36, n), 240)
    return np.where(rng.random(n) < short, rng.uniform(8, 46, n), long)


def _draw_second(rng: np.random.Generator, first: Rows) -> Rows:
    """Draws a second stay for some of the first: correlated levels, a later time, any unit."""
    again = np.flatnonzero(rng.random(len(first["hours"])) < TWO_STAYS)
    n = len(again)
    gap = rng.uniform(10, 48, n) + first["hours"][again]
    fresh = rng.normal(size=(n, len(AXES)))
    return {
        "admission": again,
        "order": np.ones(n, np.int64),
        "intime": first["intime"][again] + (gap * HOUR).astype(np.int64),
        "hours": _length(rng, n, 0.0),
        "unit": rng.integers(0, len(UNITS), n),
        "level": SECOND_STAY * first["level"][again] + np.sqrt(1 - SECOND_STAY**2) * fresh,
        "slope": rng.normal(0, SLOPE, (n, len(AXES))),
    }


def _draw_onsets(
    rng: np.random.Generator,
    stays: Rows,
    conditions: Floats,
) -> dict[str, Floats]:
    """Draws p and onset of both failures of a stay: first y, then its hour, after 48."""
    level, slope, hours = stays["level"], stays["slope"], stays["hours"]
    drawn = {}
    for name, odds in (("arf", arf(level, slope, conditions)), ("shock", shock(level, slope))):
        p = sigmoid(odds)
        happens = (rng.random(len(p)) < p) & (hours >= 48)
        onset = rng.uniform(48.5, np.maximum(np.minimum(hours - 1, 120), 49))
        early = rng.random(len(p)) < EARLY_ONSET
        onset = np.where(early, rng.uniform(1, np.minimum(hours - 1, 46)), onset)
        drawn[name] = p
        drawn[f"{name}_onset"] = np.where(happens | early, onset, np.nan)
    return drawn


def _draw_ending(
    rng: np.random.Generator,
    patients: Patients,
    who: Ints,
    visit: int,
    stays: Rows,
) -> Rows:
    """Draws death, else readmission, of each admission; adds p of death to ``stays``."""
    n = len(who)
    conditions = patients.conditions[who].astype(float)
    first = slice(0, n)  # mortality follows from the first stay, readmission from the last
    last = np.arange(n)
    last[stays["admission"][n:]] = np.arange(n, len(stays["admission"]))
    age = patients.age(who, stays["intime"][first])
    risk = sigmoid(mortality(stays["level"][first], stays["slope"][first], conditions, age))
    risk *= stays["hours"][last] >= 48
    died = rng.random(n) < risk
    stays["mortality"] = risk[stays["admission"]]
    back = sigmoid(readmission(stays["level"][last], stays["slope"][last], conditions))
    back *= visit < MAX_VISITS - 1
    out = stays["intime"][last] + (stays["hours"][last] * HOUR).astype(np.int64)
    after = np.where(died, rng.uniform(0, 24, n), rng.uniform(6, 120, n))
    return {
        "discharged": (out + (after * HOUR).astype(np.int64)) // 60 * 60 + 60,
        "died": died,
        "readmission": back,
        "readmitted": ~died & (rng.random(n) < back),
    }


def _draw_next(
    rng: np.random.Generator,
    visit: int,
    late: Bools,
    ends: Rows,
) -> tuple[Bools, Ints, Ints, Bools]:
    """Draws a flag for patients with a next admission; and for these its time, kind and late flag.

    A late admission without a readmission is the last. Every other chain of admissions ends with a
    late one, unless it ends by death or has one admission alone.
    """
    n = len(late)
    back = ends["readmitted"]
    returns = (rng.random(n) < RETURN) if visit == 0 else np.ones(n, bool)
    returns &= ~back & ~ends["died"] & ~late & (visit < MAX_VISITS - 1)
    planned = returns & (rng.random(n) < ELECTIVE)
    days = np.select(
        [back, planned], [rng.uniform(2, 29, n), rng.uniform(5, 29, n)], rng.uniform(200, 700, n)
    )
    kind = np.where(planned, 2, np.where(rng.random(n) < 0.88, 0, 1))
    goes_on = back | returns
    admitted = ends["discharged"] + (days * DAY).astype(np.int64) // 60 * 60
    return goes_on, admitted[goes_on], kind[goes_on], (returns & ~planned)[goes_on]


def _in_order(
    visits: list[tuple[Rows, Rows]],
) -> tuple[Admissions, Stays]:
    """Joins all visits, by patient and time; ``Stays.admission`` becomes an index of admissions."""
    offsets = np.cumsum([0, *(len(a["patient"]) for a, _ in visits)])
    rows = {k: np.concatenate([a[k] for a, _ in visits]) for k in visits[0][0]}
    stays = {k: np.concatenate([s[k] for _, s in visits]) for k in visits[0][1]}
    stays["admission"] = np.concatenate(
        [s["admission"] + o for (_, s), o in zip(visits, offsets[:-1], strict=True)]
    )
    order = np.lexsort((rows["visit"], rows["patient"]))
    place = np.argsort(order)
    stays["admission"] = place[stays["admission"]]
    by_time = np.lexsort((stays["order"], stays["admission"]))
    return (
        Admissions(**{k: v[order] for k, v in rows.items()}),
        Stays(**{k: v[by_time] for k, v in stays.items()}),
    )


def late_rows(
    task: PatientTask, patients: Patients, admissions: Admissions
) -> tuple[Ints, Floats, Ints]:
    """(patients with two admissions or more, p of each, admissions that code the disease).

    p is zero where a patient's last admission is not the late one that could bring the code.
    """
    counts = np.bincount(admissions.patient, minlength=len(patients.birth))
    last = np.cumsum(counts) - 1
    able = (counts >= 2) & admissions.late[last]
    many = np.flatnonzero(counts >= 2)
    column = list(LATE).index(task)
    coded = last[able & patients.destined[:, column]]
    return many, np.where(able, patients.late[:, column], 0.0)[many], coded

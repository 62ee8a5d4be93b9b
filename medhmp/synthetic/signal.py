"""All constants of the synthetic cohort's signal. The package's docstring has the equations."""

from typing import Any, Final

import numpy as np

from medhmp.legend import PatientTask

CONDITIONS: Final = (
    "coronary",
    "lung",
    "diabetes",
    "ckd",
    "liver",
    "cancer",
    "dementia",
    "alcohol",
)
AXES: Final = (
    "cardiovascular",
    "respiratory",
    "renal",
    "hepatic",
    "inflammatory",
    "neurological",
)
UNITS: Final = ("MICU", "SICU", "CCU", "CSRU", "TSICU")

# Patients: conditions and the axes they raise.

PREVALENCE: Final = np.array([0.35, 0.25, 0.30, 0.25, 0.20, 0.22, 0.20, 0.22])
"""Prevalence of each condition at the mean age."""
AGE_TREND: Final = np.array([0.4, 0.2, 0.2, 0.3, -0.1, 0.2, 0.6, -0.3])
"""Change of each condition's log-odds per ten years of age."""
MEAN_AGE: Final = 64.0
SD_AGE: Final = 15.0
SHIFT: Final = np.array(
    [  # cardiovascular, respiratory, renal, hepatic, inflammatory, neurological
        [0.8, 0.0, 0.3, 0.0, 0.0, 0.0],
        [0.0, 0.8, 0.0, 0.0, 0.4, 0.0],
        [0.3, 0.0, 0.5, 0.0, 0.0, 0.5],
        [0.3, 0.0, 0.8, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.8, 0.3, 0.2],
        [0.0, 0.3, 0.0, 0.4, 0.6, 0.0],
        [0.0, 0.2, 0.0, 0.0, 0.0, 0.8],
        [0.0, 0.0, 0.0, 0.5, 0.0, 0.6],
    ]
)
"""Rise of each axis (column) by each condition (row), in SD of the axis."""

MILDER: Final = -0.8
"""Added to every axis of an admission within 30 days of a discharge."""

SLOPE: Final = 0.35
"""SD of the change of an axis from the middle of the window to its end, in SD of the axis."""

# Courses: lengths of stay, second stays, returns.

SHORT_STAY: Final = 0.12
"""Share of first stays that end before 48 hours, and so without a late onset or a death."""
TWO_STAYS: Final = 0.10
"""Share of admissions with two stays."""
SECOND_STAY: Final = 0.8
"""Correlation of an axis between two stays of one admission."""
EARLY_ONSET: Final = 0.04
"""Share of stays, drawn independently of everything, with an onset before hour 48."""
ELECTIVE: Final = 0.05
"""Share of returns that are planned admissions within 30 days, and so no readmissions."""
RETURN: Final = 0.66
"""Share of patients alive and not readmitted after the first admission who come back late."""

# Outcomes: terms of the log-odds.

ARF: Final[dict[str, Any]] = {"one": -1.75, "b": 1.4, "i": 0.9, "bi": 0.5, "lung": 0.3}
SHOCK: Final[dict[str, Any]] = {"one": -2.0, "f": 1.65, "r": 1.15, "fr": 0.4}
MORTALITY: Final[dict[str, Any]] = {
    "one": -2.15,
    "x": np.array([0.0, 0.6, 1.0, 1.0, 0.0, 1.1]),  # by axis
    "renal hepatic": 0.3,
    "cardiovascular neurological": 0.3,
    "decade": 0.25,
    "cancer": 0.4,
}
READMISSION: Final[dict[str, Any]] = {
    "one": -1.7,
    # Of both signs, so that risk depends on which conditions there are, not on how many.
    "c": np.array([-1.8, 1.3, -1.6, 1.3, 1.3, -1.8, -1.8, 1.3]),  # by condition
    "x": np.array([0.0, 0.0, 0.6, 0.0, 0.6, 0.0]),  # by axis
    "lung respiratory": 0.4,
    "ckd renal": 0.4,
    "alcohol neurological": 0.4,
}
LATE: Final[dict[PatientTask, dict[str, Any]]] = {
    "heart_failure": {
        "one": -2.95,
        "c": np.array([2.8, 0.0, 1.9, 2.4, 0.0, 0.0, 0.0, 0.0]),  # by condition
        "pairs": {("coronary", "ckd"): 0.8, ("coronary", "diabetes"): 0.6},
    },
    "copd": {
        "one": -2.6,
        "c": np.array([0.0, 2.6, 0.0, 0.0, 0.0, 1.3, 0.0, 1.6]),
        "pairs": {("lung", "alcohol"): 0.8, ("lung", "cancer"): 0.6},
    },
    "amnesia": {
        "one": -3.0,
        "c": np.array([0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 2.8, 1.9]),
        "pairs": {("dementia", "alcohol"): 0.6, ("dementia", "diabetes"): 0.6},
    },
}
"""First coded at a patient's last, late admission: the patient tasks."""

# Charting: the readings of items.

LAYOUT_SEED: Final = 20120
"""Seed of the axes, signs and loadings of unit-specific items; independent of the run's seed."""
UNIT_LOADING: Final = (1.0, 1.4)
"""Range of a unit-specific item's loading on its one axis."""
LAB_LOADING: Final = 0.3
TEXT_LOADING: Final = 0.4
OUTPUT_LOADING: Final = 0.3
"""Log units of urine lost per SD of the renal axis."""
INPUT_LOADING: Final = 0.25
"""Log units of some inputs' amounts per SD of their axis."""
VITAL_LOADINGS: Final = np.array(
    [  # cardiovascular, respiratory, renal, hepatic, inflammatory, neurological
        [0.15, 0.0, 0.0, 0.0, 0.15, 0.0],  # heart rate
        [-0.20, 0.0, 0.0, 0.0, 0.0, 0.0],  # systolic
        [-0.20, 0.0, 0.0, 0.0, 0.0, 0.0],  # diastolic
        [0.0, 0.20, 0.0, 0.0, 0.0, 0.0],  # respiratory rate
        [0.0, -0.20, 0.0, 0.0, 0.0, 0.0],  # saturation
        [0.0, 0.0, 0.0, 0.0, 0.20, 0.0],  # temperature
    ]
)
OFFSET: Final = 0.25
"""SD of a stay's own level of an item, in SD of the item."""
NOISE: Final = 0.6
"""SD of a single reading around it."""
CUTS: Final = (0.2, 0.9, 1.6)
"""Latent values at which a text-valued item changes to its next text."""

VITAL_HOURS: Final = np.array([[0.6, 0.8], *4 * [[1.3, 1.9]], [3.5, 4.5]])
UNIT_HOURS: Final = (1.0, 1.6)
TEXT_HOURS: Final = (8.0, 12.0)
LAB_HOURS: Final = (6.0, 10.0)
"""Range of hours between readings, from which each stay and item draws its own interval."""
JITTER: Final = 0.3
"""Largest delay of a reading, in intervals."""
MISSING: Final = 0.12
"""Share of due readings that are left out."""
DENSE: Final = 50.0
"""Hour after which intervals grow ``THIN``-fold."""
THIN: Final = 8.0
CHART_FROM: Final = -0.5
LAB_FROM: Final = -8.0
"""Hours from unit admission at which charting and laboratory begin."""

# Codes, drugs and notes: the marks of conditions.

CODES_EACH: Final = (3, 4)
DRUGS_EACH: Final = (2, 3)
"""Codes and drugs that an admission draws for each condition of its patient: least, most."""
ACUTE_EACH: Final = (1, 2)
"""Codes, and drugs, that an admission draws for each axis that ends high."""
CODES_TOTAL: Final = (16, 22)
DRUGS_TOTAL: Final = (12, 17)
"""Codes and drugs of an admission in all: least, most. The total is drawn independently of
everything; meaningless ones fill it up."""
HIGH: Final = 0.8
"""Level at 48 hours above which an axis is coded, treated and written about; each of the three has
an error N(0, 0.5^2) of its own."""
SAID: Final = 0.85
"""Probability that a present condition is mentioned."""
DENIED: Final = 0.3
"""Probability that an absent condition is denied."""

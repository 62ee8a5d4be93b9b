"""The words of CLIF, versions 2.1 and 3.0, as one vocabulary: 3.0's.

A category of 2.1 is one of 3.0 in other letters (``Assist Control-Volume Control`` is an exception
of few). So texts of both are written in lower case with underscores, and ``RENAMED`` has those that
3.0 calls something else, after the consortium's own crosswalk of the two versions.
"""

from typing import Final

import polars as pl

RENAMED: Final = {
    "skilled_nursing_facility_snf": "snf",
    "acute_inpatient_rehab_facility": "acute_ip_rehab",
    "long_term_care_hospital_ltach": "ltach",
    "acute_care_hospital": "acute_care_hosp",
    "against_medical_advice_ama": "ama",
    "psychiatric_hospital": "mental_health_hosp",
    "glucose_fingerstick": "glucose",
    "blood_plasma_serum": "plasma_blood",
    "blood_or_plasma_or_serum": "plasma_blood",
    "high_flow_nc": "hfnc",
    "assist_control_volume_control": "acvc",
    "pressure_regulated_volume_control": "prvc",
    "pressure_support_or_cpap": "ps_or_cpap",
}
"""Word of 2.1, as ``word`` writes it -> that of 3.0."""

VENTILATION: Final = ("imv", "nippv", "cpap")
"""Categories of a device that ventilates, invasively or not: signs of respiratory failure."""

PEEP: Final = ("peep_set", "peep_obs")
"""Columns of the pressure that a ventilator holds. The first is a sign; both give it away."""

PRESSORS: Final = ("norepinephrine", "epinephrine", "dopamine", "vasopressin", "phenylephrine")
"""Vasopressors, those of the paper for MIMIC: signs of shock where they are infused."""

OTHER_PRESSORS: Final = ("angiotensin",)
STRICT_PRESSORS: Final = ("dobutamine", "milrinone", "isoproterenol")
"""They are no onset, so that shock means the same as in MIMIC, but they give one away; the latter
under ``cohort.task_signals strict`` alone."""

STRICT_ASSESSMENTS: Final = r"^(sat|sbt)_"
"""Trials of waking and of breathing: only ventilated patients have them."""


def word(column: str) -> pl.Expr:
    """A category in 3.0's spelling; null for an empty one."""
    lower = pl.col(column).str.to_lowercase().str.strip_chars()
    joined = lower.str.replace_all("&", "_and_", literal=True).str.replace_all("/", "_or_")
    plain = joined.str.replace_all(r"[^a-z0-9]+", "_").str.strip_chars("_")
    return pl.when(plain.str.len_chars() > 0).then(plain.replace(RENAMED)).alias(column)


def unit(column: str) -> pl.Expr:
    """A unit in one spelling of its signs: lower case, ``u`` for micro, ``^`` for powers."""
    lower = pl.col(column).str.to_lowercase().str.replace_all(r"\s", "")
    plain = lower.str.replace_all("[µμ]", "u").str.replace_all("*", "^", literal=True)
    return pl.when(plain.str.len_chars() > 0).then(plain).alias(column)

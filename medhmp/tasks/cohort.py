"""Labels of stay and admission tasks: rows, labels, and the time up to which records may be used.

The rules are the paper's (Appendix A, Table 8) where it states them; fields of ``run.Cohort``
decide the rest. Stay tasks observe ``cohort.hours`` and predict what follows, so "within 48 hours"
means an onset after 48 observed hours.
"""

from typing import Final, cast

import polars as pl

from medhmp import icd
from medhmp.legend import LEVELS, PatientTask, Task
from medhmp.run import Cohort
from medhmp.tables.hours import YEAR
from medhmp.tables.schema import Source
from medhmp.tasks.exclusions import Exclusions, Labels, admitted_alive, diagnosis_codes
from medhmp.tasks.patients import label_patients

PLANNED: Final = ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")
"""Types of planned admissions. The second is MIMIC-IV's; MIMIC-III calls it elective."""

OBSERVED: Final = ("EU OBSERVATION", "DIRECT OBSERVATION", "AMBULATORY OBSERVATION")
"""Types of MIMIC-IV's observation stays, in which a patient was never admitted as an inpatient. One
admitted after observation has the type OBSERVATION ADMIT, and is an inpatient."""

_NOBODY: Final = pl.DataFrame(schema={"stay_id": pl.Int64})


def label(
    task: Task, source: Source, onsets: pl.DataFrame, cohort: Cohort, icd9_only: bool
) -> Labels:
    """Labels one source's rows of a task. ``onsets`` has the columns of ``Source.onsets``.

    Under ``icd9_only`` only admissions whose diagnoses are all of ICD-9 are rows or inputs.
    """
    if task == "readmission":
        return label_readmission(source, cohort, icd9_only)
    if LEVELS[task] == "patient":
        return label_patients(cast(PatientTask, task), source, cohort, icd9_only)
    return _label_stays(task, source, onsets, cohort)


def _label_stays(task: Task, source: Source, onsets: pl.DataFrame, cohort: Cohort) -> Labels:
    """arf, shock, mortality: stays still in the unit, alive and without an onset at hour T.

    The label is an onset at any later hour of the stay; for mortality, death in this admission.
    """
    admissions = source.admissions.select("hadm_id", "died", "expired")
    frame = (
        source.stays.join(admissions, on="hadm_id", maintain_order="left")
        .join(source.patients.select("subject_id", "birth"), on="subject_id", maintain_order="left")
        .join(onsets, on="stay_id", how="left", maintain_order="left")
        .with_columns(prediction_time=pl.col("intime") + pl.duration(hours=cohort.hours))
    )
    # Days to four decimals, as LOS in ICUSTAYS: 47.9995 hours count as 48.
    days = ((pl.col("outtime") - pl.col("intime")) / pl.duration(days=1)).round(4)
    died, later = pl.col("died"), pl.col("prediction_time")
    exclusions = Exclusions("stays", frame)
    exclusions.keep(f"age at least {cohort.min_age}", _adult("intime", cohort.min_age))
    if cohort.recording_hospitals and task != "mortality":
        silent = source.unrecorded.get(task, _NOBODY)["stay_id"].implode()
        exclusions.keep("in a hospital that records its signs", ~pl.col("stay_id").is_in(silent))
    exclusions.keep(f"alive at hour {cohort.hours}", died.is_null() | (died >= later))
    exclusions.keep(f"in the unit at hour {cohort.hours}", days * 24 >= cohort.hours)
    if task == "mortality":
        exclusions.keep("known to have left alive or died", pl.col("expired").is_not_null())
        exclusions.frame = exclusions.frame.with_columns(label=pl.col("expired"))
    else:
        onset = pl.col(task)
        exclusions.keep(
            f"no onset before hour {cohort.hours}", onset.is_null() | (onset >= cohort.hours)
        )
        exclusions.frame = exclusions.frame.with_columns(label=onset.is_not_null())
    return exclusions.labels("stay_id")


def label_readmission(source: Source, cohort: Cohort, icd9_only: bool) -> Labels:
    """readmission: admissions discharged alive, labelled by a next admission that begins soon.

    Soon is within ``readmission_days`` of discharge. A planned next admission does not count under
    ``unplanned_only``. Observation stays count as ``observation_stays`` says: left out before the
    next admission is looked for, they do not hide an admission that follows them. For ``icd9_only``
    see ``label``.
    """
    alive = admitted_alive(source)
    exclusions = Exclusions("admissions", source.admissions)
    exclusions.steps.append(("admitted alive", alive.height))
    exclusions.frame = _episodes(alive)
    exclusions.steps.append(("overlapping admissions merged", exclusions.frame.height))
    rows = ("not an observation stay", ~pl.col("observed"))
    if cohort.observation_stays == "left_out":
        exclusions.keep(*rows)
    exclusions.frame = _labeled(exclusions.frame, cohort)
    if cohort.observation_stays == "readmissions":
        exclusions.keep(*rows)
    exclusions.keep("not a birth", pl.col("admission_type").ne_missing("NEWBORN"))
    exclusions.keep(f"age at least {cohort.min_age}", _adult("admitted", cohort.min_age))
    exclusions.keep("discharged alive", ~pl.col("expired") & pl.col("discharged").is_not_null())
    coded, hadm = diagnosis_codes(source), pl.col("hadm_id")
    exclusions.keep("with a diagnosis code", hadm.is_in(coded["hadm_id"].implode()))
    if icd9_only:
        nine = icd.of_icd9_alone(coded)["hadm_id"]
        exclusions.keep("with diagnoses of ICD-9 alone", hadm.is_in(nine.implode()))
    if cohort.drop_deaths_within_window:
        soon = pl.col("discharged") + pl.duration(days=cohort.readmission_days)
        survived = (pl.col("death") > soon).fill_null(True)
        exclusions.keep(
            f"alive or readmitted after {cohort.readmission_days} days", survived | pl.col("label")
        )
    exclusions.frame = exclusions.frame.with_columns(prediction_time=pl.col("discharged"))
    return exclusions.labels("hadm_id")


def _adult(at: str, years: int) -> pl.Expr:
    """True for patients of at least so many years, of 365.25 days, at the time ``at``."""
    return (pl.col(at) - pl.col("birth")) >= pl.duration(hours=years * YEAR)


def _episodes(admissions: pl.DataFrame) -> pl.DataFrame:
    """Merges overlapping admissions of a patient (transfers); the last to end gives the id.

    ``observed`` is true if all of them are observation stays.
    """
    end = pl.max_horizontal("discharged", "admitted")
    ordered = admissions.sort("subject_id", "admitted", "hadm_id").with_columns(end=end)
    before = pl.col("end").cum_max().shift(1).over("subject_id")
    begins = before.is_null() | (pl.col("admitted") >= before)
    last = pl.col("hadm_id", "discharged").sort_by("end", "hadm_id").last()
    expired = pl.col("expired").any()
    return (
        ordered.with_columns(episode=begins.cum_sum())
        .group_by("episode", maintain_order=True)
        .agg(
            pl.col("subject_id", "admitted", "admission_type", "birth", "death").first(),
            last,
            expired,
            observed=pl.col("admission_type").is_in(OBSERVED).fill_null(False).all(),
        )
    )


def _labeled(episodes: pl.DataFrame, cohort: Cohort) -> pl.DataFrame:
    """Adds ``label``: true if the patient's next admission is a readmission."""
    following = pl.col("admitted", "admission_type").shift(-1).over("subject_id")
    gap = pl.col("next_admitted") - pl.col("discharged")
    soon = (gap > pl.duration()) & (gap <= pl.duration(days=cohort.readmission_days))
    if cohort.unplanned_only:
        soon &= ~pl.col("next_admission_type").is_in(PLANNED).fill_null(False)
    return episodes.with_columns(following.name.prefix("next_")).with_columns(
        label=soon.fill_null(False)
    )

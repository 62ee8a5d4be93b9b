"""Who is in each task, with which label, and up to when the record may be used.

The rules are the paper's (Appendix A, Table 8) as far as it states them; what it leaves open is a
field of ``run.Cohort``. Stay tasks observe ``hours`` and predict what follows, so that "within 48
hours" means onset after 48 observed hours.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from medhmp.legend import LEVELS, Task
from medhmp.run import Cohort, Run
from medhmp.tables.schema import Source

CORE: Final = ("9:428", "10:I50")
BROAD: Final = (
    *("9:39891", "9:40201", "9:40211", "9:40291", "9:40401", "9:40403", "9:40411", "9:40413"),
    *("9:40491", "9:40493", "10:I0981", "10:I110", "10:I130", "10:I132"),
)
"""Hypertensive and rheumatic heart failure, counted beside ``CORE`` under ``broad``."""


PLANNED: Final = ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")
"""Types of a planned admission. The second is MIMIC-IV's; MIMIC-III calls it elective."""

_NOBODY: Final = pl.DataFrame(schema={"stay_id": pl.Int64})


@dataclass(frozen=True)
class Labels:
    """``rows``: subject_id, row_id, label, prediction_time. ``steps``: what each rule left."""

    rows: pl.DataFrame
    steps: list[tuple[str, int]]


class _Funnel:
    """A frame narrowed rule by rule, with the count after each."""

    def __init__(self, name: str, frame: pl.DataFrame) -> None:
        self.frame, self.steps = frame, [(name, frame.height)]

    def keep(self, name: str, rule: pl.Expr) -> None:
        self.frame = self.frame.filter(rule)
        self.steps.append((name, self.frame.height))

    def labels(self, row_id: str) -> Labels:
        label, row = pl.col("label").cast(pl.Int8), pl.col(row_id).alias("row_id")
        return Labels(self.frame.select("subject_id", row, label, "prediction_time"), self.steps)


def label(task: Task, source: Source, onsets: pl.DataFrame, run: Run) -> Labels:
    """One source's rows of a task. ``onsets`` is what ``source.onsets()`` gave."""
    if task == "readmission":
        return readmission(source, run.cohort)
    if task == "heart_failure":
        return heart_failure(source, run)
    return _after_window(task, source, onsets, run.cohort)


def target_codes(task: Task, run: Run) -> tuple[str, ...]:
    """Prefixes of the diagnosis codes that are a patient task's target: never among its inputs."""
    if LEVELS[task] != "patient":
        return ()
    return CORE + BROAD if run.cohort.heart_failure_codes == "broad" else CORE


def _after_window(task: Task, source: Source, onsets: pl.DataFrame, cohort: Cohort) -> Labels:
    """arf, shock, mortality: stays observed for T hours, alive, in the unit, and free of onset.

    The label is an onset at any later hour of the stay; for mortality, death in this admission.
    """
    admissions = source.admissions.select("hadm_id", "died", "expired")
    frame = (
        source.stays.join(admissions, on="hadm_id", maintain_order="left")
        .join(source.patients.select("subject_id", "birth"), on="subject_id", maintain_order="left")
        .join(onsets, on="stay_id", how="left", maintain_order="left")
        .with_columns(prediction_time=pl.col("intime") + pl.duration(hours=cohort.hours))
    )
    # Whole days to four decimals, as the table's LOS has them: 47.9995 hours count as 48.
    days = ((pl.col("outtime") - pl.col("intime")) / pl.duration(days=1)).round(4)
    died, later = pl.col("died"), pl.col("prediction_time")
    funnel = _Funnel("stays", frame)
    funnel.keep(f"age at least {cohort.min_age}", _adult("intime", cohort.min_age))
    if cohort.recording_hospitals and task != "mortality":
        silent = source.unrecorded.get(task, _NOBODY)["stay_id"].implode()
        funnel.keep("in a hospital that records its signs", ~pl.col("stay_id").is_in(silent))
    funnel.keep(f"alive at hour {cohort.hours}", died.is_null() | (died >= later))
    funnel.keep(f"in the unit at hour {cohort.hours}", days * 24 >= cohort.hours)
    if task == "mortality":
        funnel.keep("known to have left alive or died", pl.col("expired").is_not_null())
        funnel.frame = funnel.frame.with_columns(label=pl.col("expired"))
    else:
        onset = pl.col(task)
        funnel.keep(
            f"no onset before hour {cohort.hours}", onset.is_null() | (onset >= cohort.hours)
        )
        funnel.frame = funnel.frame.with_columns(label=onset.is_not_null())
    return funnel.labels("stay_id")


def readmission(source: Source, cohort: Cohort) -> Labels:
    """Admissions discharged alive; the label is a next admission that begins within the days.

    The gap counts from discharge. A planned next admission does not count if ``unplanned_only``.
    """
    alive = _in_life(source)
    funnel = _Funnel("admissions", source.admissions)
    funnel.steps.append(("admitted alive", alive.height))
    funnel.frame = _labeled(_episodes(alive), cohort)
    funnel.steps.append(("overlapping admissions merged", funnel.frame.height))
    funnel.keep("not a birth", pl.col("admission_type").ne_missing("NEWBORN"))
    funnel.keep(f"age at least {cohort.min_age}", _adult("admitted", cohort.min_age))
    funnel.keep("discharged alive", ~pl.col("expired") & pl.col("discharged").is_not_null())
    funnel.keep(
        "with a diagnosis code", pl.col("hadm_id").is_in(_coded(source)["hadm_id"].implode())
    )
    if cohort.drop_deaths_within_window:
        soon = pl.col("discharged") + pl.duration(days=cohort.readmission_days)
        survived = (pl.col("death") > soon).fill_null(True)
        funnel.keep(
            f"alive or readmitted after {cohort.readmission_days} days", survived | pl.col("label")
        )
    funnel.frame = funnel.frame.with_columns(prediction_time=pl.col("discharged"))
    return funnel.labels("hadm_id")


def heart_failure(source: Source, run: Run) -> Labels:
    """Patients with two coded admissions: a first heart-failure code later, or none ever.

    A case may use what was discharged ``gap_months`` before the admission of its first code; a
    control all but its last admission. ``prediction_time`` is that bound.
    """
    codes = _coded(source)
    failing = codes.filter(_starts_with(target_codes("heart_failure", run)))
    visits = (
        _in_life(source)
        .filter(pl.col("discharged").is_not_null())
        .join(codes.select("hadm_id").unique(), on="hadm_id", how="semi")
        .with_columns(failing=pl.col("hadm_id").is_in(failing["hadm_id"].implode()))
        .sort("subject_id", "admitted", "hadm_id")
    )
    onset = pl.col("admitted").filter("failing").min()
    earlier = pl.col("discharged").slice(0, pl.len() - 1).max()
    cut = onset.dt.offset_by(f"-{run.cohort.gap_months}mo")
    frame = visits.group_by("subject_id", maintain_order=True).agg(
        visits=pl.len(),
        label=pl.col("failing").any(),
        at_first=pl.col("failing").first(),
        prediction_time=pl.when(pl.col("failing").any()).then(cut).otherwise(earlier),
        first=pl.col("discharged").min(),
    )
    funnel = _Funnel("patients with a coded admission", frame)
    funnel.keep("two admissions or more", pl.col("visits") >= 2)
    funnel.keep("no heart failure at the first admission", ~pl.col("at_first"))
    known = f"an admission that ended {run.cohort.gap_months} months before heart failure"
    funnel.keep(known, pl.col("first") <= pl.col("prediction_time"))
    return funnel.labels("subject_id")


def _adult(at: str, years: int) -> pl.Expr:
    """Whether the patient was so many years of 365.25 days old."""
    return (pl.col(at) - pl.col("birth")) >= pl.duration(hours=years * 8766)


def _in_life(source: Source) -> pl.DataFrame:
    """Admissions with ``birth`` and ``death``, without those that begin after the patient's death.

    Organ donors are admitted again. A day of death is known only as its midnight.
    """
    patients = source.patients.select("subject_id", "birth", "death")
    frame = source.admissions.join(patients, on="subject_id", maintain_order="left")
    died = pl.col("died").min().over("subject_id")
    after_day = pl.col("admitted") >= pl.col("death") + pl.duration(days=1)
    return frame.filter(~((pl.col("admitted") > died) | after_day).fill_null(False))


def _episodes(admissions: pl.DataFrame) -> pl.DataFrame:
    """Overlapping admissions of a patient (transfers) as one, named by the one that ends last."""
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
        )
    )


def _labeled(episodes: pl.DataFrame, cohort: Cohort) -> pl.DataFrame:
    following = pl.col("admitted", "admission_type").shift(-1).over("subject_id")
    gap = pl.col("next_admitted") - pl.col("discharged")
    soon = (gap > pl.duration()) & (gap <= pl.duration(days=cohort.readmission_days))
    if cohort.unplanned_only:
        soon &= ~pl.col("next_admission_type").is_in(PLANNED).fill_null(False)
    return episodes.with_columns(following.name.prefix("next_")).with_columns(
        label=soon.fill_null(False)
    )


def _coded(source: Source) -> pl.DataFrame:
    return source.codes.filter(pl.col("kind") == "diagnosis")


def _starts_with(prefixes: tuple[str, ...]) -> pl.Expr:
    return pl.any_horizontal(pl.col("code").str.starts_with(prefix) for prefix in prefixes)

"""Patient tasks: a first code of a disease, predicted from earlier admissions.

The paper's "health risk prediction" (Section 3.4, Appendix A). A task has one of two cohorts. The
tasks in ``cohort.matched`` have cases and three matched controls each, as the paper's TriNetX data.
The others take every patient; the paper's MIMIC-III heart failure must be such a task, as its ratio
of cases to controls is not one to three.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import polars as pl

from medhmp import icd
from medhmp.legend import PatientTask, Task
from medhmp.run import Cohort
from medhmp.tables.hours import YEAR
from medhmp.tables.schema import Source
from medhmp.tasks.exclusions import Exclusions, Labels, admitted_alive, diagnosis_codes
from medhmp.tasks.matching import CONTROLS, match


@dataclass(frozen=True)
class Disease:
    """A disease and the prefixes of its diagnosis codes ("version:code")."""

    name: str
    core: tuple[str, ...]
    broad: tuple[str, ...]  # count beside ``core`` where the run asks for them


DISEASES: Final[Mapping[PatientTask, Disease]] = {
    "heart_failure": Disease(
        "heart failure",
        ("9:428", "10:I50"),
        (  # hypertensive and rheumatic heart failure
            *("9:39891", "9:40201", "9:40211", "9:40291", "9:40401", "9:40403", "9:40411"),
            *("9:40413", "9:40491", "9:40493", "10:I0981", "10:I110", "10:I130", "10:I132"),
        ),
    ),
    "copd": Disease(
        "COPD",
        ("9:491", "9:492", "9:496", "10:J41", "10:J42", "10:J43", "10:J44"),
        ("9:4932",),  # chronic obstructive asthma
    ),
    "amnesia": Disease(
        "amnesia",
        (  # memory loss, transient global, of other conditions, dissociative
            *("9:78093", "9:4377", "9:2940", "9:30012"),
            *("10:R411", "10:R412", "10:R413", "10:G454", "10:F04", "10:F440"),
        ),
        (  # by alcohol or drugs
            *("9:2911", "9:29283"),
            *("10:F1026", "10:F1096", "10:F1326", "10:F1396", "10:F1926", "10:F1996"),
        ),
    ),
}

RACES: Final = {
    "unknown": "UNKNOWN|UNABLE|DECLINED|NOT SPECIFIED",
    "hispanic": "HISPANIC|LATINO",
    "black": "BLACK|AFRICAN",
    "white": "WHITE|CAUCASIAN",  # before the next, whose name is in it
    "asian": "ASIAN",
}
"""Race -> pattern of the ethnicity texts of sources; the first that matches counts, else other."""

OLDEST: Final = 90
"""Sources hide higher ages, so all from here on count as one age."""
BAND: Final = 5
"""Width in years of an age band in matching."""


def target_codes(task: Task, cohort: Cohort) -> tuple[str, ...]:
    """Prefixes of the codes that are a patient task's target, and so never among its inputs."""
    if task not in DISEASES:
        return ()
    disease = DISEASES[cast(PatientTask, task)]
    broad = getattr(cohort, f"{task}_codes") == "broad"
    return disease.core + disease.broad if broad else disease.core


def label_patients(task: PatientTask, source: Source, cohort: Cohort, icd9_only: bool) -> Labels:
    """Patients with two coded admissions. The label is a first code of the disease later on.

    ``prediction_time`` bounds the admissions a row may use, by their discharge. For a case it is
    ``gap_months`` before the admission of the first code. For a control it is the last discharge
    but one or, where controls are matched, ``gap_months`` before the last admission, so that
    histories of cases and controls end alike. (A case's date could not bound its controls, as
    sources shift the dates of each patient differently.) For ``icd9_only`` see ``cohort.label``.
    """
    visits, matched = _visits(task, source, cohort, icd9_only), task in cohort.matched
    exclusions = Exclusions("patients with a coded admission", _bounded(visits, cohort, matched))
    name, months = DISEASES[task].name, cohort.gap_months
    exclusions.keep("two admissions or more", pl.col("visits") >= 2)
    exclusions.keep(f"no {name} at the first admission", ~pl.col("at_first"))
    known = f"an admission that ended {months} months before {name}"
    if matched:
        known += " or, of a control, before the last"
    exclusions.keep(known, pl.col("first") <= pl.col("prediction_time"))
    if matched:
        _match(exclusions, visits, source, cohort)
    return exclusions.labels("subject_id")


def _visits(task: PatientTask, source: Source, cohort: Cohort, icd9_only: bool) -> pl.DataFrame:
    """Coded admissions in time order, with ``target`` (has a target code) and ``input`` flags.

    Under ``icd9_only`` the shards lack some of these admissions, but their codes still make cases.
    """
    codes = diagnosis_codes(source)
    targets = codes.filter(_starts_with(target_codes(task, cohort)))
    inputs = icd.of_icd9_alone(codes) if icd9_only else codes
    hadm = pl.col("hadm_id")
    return (
        admitted_alive(source)
        .filter(pl.col("discharged").is_not_null())
        .join(codes.select("hadm_id").unique(), on="hadm_id", how="semi")
        .with_columns(
            target=hadm.is_in(targets["hadm_id"].implode()),
            input=hadm.is_in(inputs["hadm_id"].unique().implode()),
        )
        .sort("subject_id", "admitted", "hadm_id")
    )


def _bounded(visits: pl.DataFrame, cohort: Cohort, matched: bool) -> pl.DataFrame:
    """One row per patient: ``label``, ``prediction_time``, ``index`` (start of the admission that
    first has the disease, of a control the last) and ``first`` (first discharge of an input)."""
    case = pl.col("target").any()
    onset, last = pl.col("admitted").filter("target").min(), pl.col("admitted").max()
    index = pl.when(case).then(onset).otherwise(last)
    cut = index.dt.offset_by(f"-{cohort.gap_months}mo")
    earlier = pl.col("discharged").slice(0, pl.len() - 1).max()
    return visits.group_by("subject_id", maintain_order=True).agg(
        visits=pl.len(),
        label=case,
        at_first=pl.col("target").first(),
        index=index,
        prediction_time=cut if matched else pl.when(case).then(cut).otherwise(earlier),
        first=pl.col("discharged").filter("input").min(),
    )


def _match(exclusions: Exclusions, visits: pl.DataFrame, source: Source, cohort: Cohort) -> None:
    """Keeps the cases that have a control, and their controls."""
    bounds = exclusions.frame.select("subject_id", "prediction_time")
    before = visits.filter("input").join(bounds, on="subject_id")
    before = before.filter(pl.col("discharged") <= pl.col("prediction_time"))
    known = diagnosis_codes(source).select("hadm_id", "code")
    codes = before.select("subject_id", "hadm_id").join(known, on="hadm_id")
    categories = icd.categories(codes.select("subject_id", "code"))
    pairs = match(_people(exclusions.frame, visits, source), categories, cohort.match_seed)
    cases, controls = int(exclusions.frame["label"].sum()), pairs["case"].value_counts()["count"]
    exclusions.steps += [
        ("cases", cases),
        (f"cases with {CONTROLS} controls", int((controls == CONTROLS).sum())),
        ("cases with fewer controls", int((controls < CONTROLS).sum())),
        ("cases without a control, left out", cases - len(controls)),
    ]
    chosen = pl.concat([pairs["case"].unique(), pairs["control"].rename("case")])
    exclusions.keep("cases and their controls", pl.col("subject_id").is_in(chosen.implode()))


def _people(frame: pl.DataFrame, visits: pl.DataFrame, source: Source) -> pl.DataFrame:
    """The columns of ``matching.match``; age counts at ``index``."""
    race = pl.col("race").filter(pl.col("race") != "unknown").first().fill_null("unknown")
    races = visits.with_columns(race=_race()).group_by("subject_id").agg(race)
    years = (pl.col("index") - pl.col("birth")).dt.total_hours() / YEAR
    return (
        frame.join(source.patients.select("subject_id", "sex", "birth"), on="subject_id")
        .join(races, on="subject_id")
        .select(
            *("subject_id", "sex", "race"),
            case=pl.col("label"),
            band=years.clip(upper_bound=OLDEST) // BAND,
        )
    )


def _race() -> pl.Expr:
    text = pl.col("ethnicity").str.to_uppercase()
    groups = [pl.when(text.str.contains(of)).then(pl.lit(name)) for name, of in RACES.items()]
    unknown = pl.when(text.is_null()).then(pl.lit("unknown"))
    return pl.coalesce(unknown, *groups, pl.lit("other"))


def _starts_with(prefixes: tuple[str, ...]) -> pl.Expr:
    return pl.any_horizontal(pl.col("code").str.starts_with(prefix) for prefix in prefixes)

"""CLIF's records beside the events: patients, hospitalizations, ICU stays, codes.

CLIF's identifiers are texts. Those that are whole numbers in digits alone stay what they are; if
any identifier of a table is not, all of them are numbered from 1 in the order of their texts.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from medhmp.tables import schema
from medhmp.tables.clif.words import word
from medhmp.tables.csv import INTEGER, TEXT, TIME, RawTables
from medhmp.tables.diagnoses import Diagnoses
from medhmp.tables.integrity import CheckedTables
from medhmp.tables.readings import conformed, count, distinct_codes, empty

PLACES: Final = 100
"""Stay k of hospitalization n, from 1, has the identifier 100 n + k."""

AWAY: Final = timedelta(hours=6)
"""A patient who is back in an ICU so soon (an operation, a scan) is in the same stay. The
consortium's tools join hospitalizations that are no further apart."""

NUMERIC: Final = r"^(0|[1-9]\d{0,14})$"
DAYS: Final = 365.25
"""Days of a year, as in ``tasks/cohort.py``."""

UNTOLD: Final = ("missing", "still_admitted")
"""Discharge categories that do not tell whether the patient left alive."""


def numbered(ids: pl.Series, given: pl.Series) -> pl.Series:
    """Whole numbers for the texts ``given``, of which ``ids`` are all there are; null for null."""
    known = ids.drop_nulls().unique().sort()
    if known.str.contains(NUMERIC).all():
        return given.cast(pl.Int64, strict=False)
    numbers = pl.Series(range(1, len(known) + 1), dtype=pl.Int64)
    return given.replace_strict(known, numbers, default=None, return_dtype=pl.Int64)


def small_tables(raw: RawTables, counts: dict[str, int]) -> tuple[CheckedTables, pl.DataFrame]:
    """The small tables once they fit each other, and ``hospitalization_id``, the text, of each
    ``hadm_id``. ``counts`` gets what is left out."""
    people, hospitalizations = _people(raw), _hospitalizations(raw)
    ids = pl.concat([people["patient_id"], hospitalizations["patient_id"]])
    people = people.with_columns(subject_id=numbered(ids, people["patient_id"]))
    own = hospitalizations["hospitalization_id"]
    hospitalizations = hospitalizations.with_columns(
        subject_id=numbered(ids, hospitalizations["patient_id"]), hadm_id=numbered(own, own)
    ).sort("admitted", "hadm_id", nulls_last=True)
    part_of = pl.coalesce("hospitalization_joined_id", "hospitalization_id")
    hospitalizations = hospitalizations.with_columns(pl.col("hadm_id").first().over(part_of))
    names = hospitalizations.select("subject_id", "hadm_id", "hospitalization_id").unique(
        "hospitalization_id", keep="first", maintain_order=True
    )
    hospitalizations = _joined(hospitalizations)
    tables = CheckedTables.of(
        _patients(people, hospitalizations),
        _admissions(people, hospitalizations),
        _stays(raw, names, counts),
        counts,
    )
    return tables, names.drop_nulls().join(
        tables.admissions.select("hadm_id"), on="hadm_id", how="semi", maintain_order="left"
    )


def _people(raw: RawTables) -> pl.DataFrame:
    texts = ("patient_id", "race_category", "ethnicity_category", "sex_category")
    columns = dict.fromkeys((*texts, "language_category"), TEXT)
    columns |= {"birth_date": TIME, "death_dttm": TIME}
    frame = raw.whole("CLIF_PATIENT", columns)
    sex = pl.col("sex_category").str.strip_chars().str.to_titlecase()
    hispanic = word("ethnicity_category").eq_missing("hispanic")
    ethnicity = pl.when(hispanic).then(pl.lit("hispanic")).otherwise(word("race_category"))
    return frame.with_columns(
        sex=sex.replace({"Male": "M", "Female": "F"}),
        ethnicity=ethnicity.str.replace_all("_", " ", literal=True),
        language=word("language_category").str.replace_all("_", " ", literal=True),
        death=pl.col("death_dttm"),
    )


def _hospitalizations(raw: RawTables) -> pl.DataFrame:
    texts = ("patient_id", "hospitalization_id", "admission_type_category", "discharge_category")
    columns = dict.fromkeys(texts, TEXT) | {"age_at_admission": INTEGER}
    columns |= {"admission_dttm": TIME, "discharge_dttm": TIME}
    joined = "hospitalization_joined_id"
    there = joined in raw.columns("CLIF_HOSPITALIZATION")
    frame = raw.whole("CLIF_HOSPITALIZATION", columns | ({joined: TEXT} if there else {}))
    frame = frame if there else frame.with_columns(pl.lit(None, pl.String).alias(joined))
    return frame.rename({"admission_dttm": "admitted", "discharge_dttm": "discharged"})


def _joined(hospitalizations: pl.DataFrame) -> pl.DataFrame:
    """Hospitalizations in the order of their admission, those that a site has joined as one: such
    as an emergency visit and the admission that it ended in."""
    open_ended = pl.col("discharged").is_null().any()
    return hospitalizations.group_by("hadm_id", "subject_id", maintain_order=True).agg(
        pl.col("admitted", "age_at_admission", "admission_type_category").first(),
        pl.col("discharge_category").last(),
        discharged=pl.when(~open_ended).then(pl.col("discharged").max()),
    )


def _patients(people: pl.DataFrame, hospitalizations: pl.DataFrame) -> pl.DataFrame:
    """PATIENTS. Without a date of birth it is the latest that gives every age at admission."""
    days = (pl.col("age_at_admission") * DAYS).ceil().cast(pl.Int64)
    latest = (pl.col("admitted") - pl.duration(days=days)).min().alias("latest")
    ages = hospitalizations.group_by("subject_id").agg(latest)
    known = people.join(ages, on="subject_id", how="left", maintain_order="left")
    return conformed(known.with_columns(birth=pl.coalesce("birth_date", "latest")), schema.PATIENTS)


def _admissions(people: pl.DataFrame, hospitalizations: pl.DataFrame) -> pl.DataFrame:
    """ADMISSIONS. A patient discharged as expired died there, at death if that is known, else at
    discharge. Where the discharge does not tell, the time of death does."""
    own = ("subject_id", "death", "ethnicity", "language")
    person = people.select(own).unique("subject_id", keep="first", maintain_order=True)
    frame = hospitalizations.join(person, on="subject_id", how="left", maintain_order="left")
    left, death = word("discharge_category"), pl.col("death")
    inside = (death >= pl.col("admitted")) & (death <= pl.col("discharged"))
    gone = left.eq_missing("still_admitted") | pl.col("discharged").is_null()
    untold = left.is_null() | left.is_in(UNTOLD)
    expired = (
        pl.when(~untold)
        .then(left == "expired")
        .when(inside.fill_null(False))
        .then(True)
        .when(~gone)
        .then(False)
    )
    return conformed(
        frame.with_columns(
            expired=expired,
            died=pl.when(expired).then(pl.coalesce("death", "discharged")),
            admission_type=word("admission_type_category").str.to_uppercase(),
        ),
        schema.ADMISSIONS,
    )


def _stays(raw: RawTables, names: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    """STAYS: a patient's time in ICUs without ``AWAY`` or more outside of them."""
    columns = {"hospitalization_id": TEXT, "in_dttm": TIME, "out_dttm": TIME}
    columns |= {"location_category": TEXT, "location_type": TEXT}
    blocks = [
        block.filter(word("location_category") == "icu") for block in raw.scan("CLIF_ADT", columns)
    ]
    rows = pl.concat(blocks)
    known = rows.join(names, on="hospitalization_id", maintain_order="left")
    count(counts, "CLIF_ADT, of no hospitalization", rows.height - known.height)
    timed = known.drop_nulls("in_dttm").sort("hadm_id", "in_dttm", "out_dttm", nulls_last=True)
    count(counts, "CLIF_ADT, without in_dttm", known.height - timed.height)
    before = pl.col("out_dttm").cum_max().shift(1).over("hadm_id")
    begins = before.is_null() | (pl.col("in_dttm") - before > AWAY)
    number = begins.cast(pl.Int64).cum_sum().over("hadm_id")
    open_ended = pl.col("out_dttm").is_null().any()
    return conformed(
        timed.with_columns(stay_id=pl.col("hadm_id") * PLACES + number)
        .group_by("stay_id", maintain_order=True)
        .agg(
            pl.col("subject_id", "hadm_id").first(),
            intime=pl.col("in_dttm").first(),
            outtime=pl.when(~open_ended).then(pl.col("out_dttm").max()),
            first_careunit=word("location_type").first(),
        ),
        schema.STAYS,
    )


def diagnoses(raw: RawTables, names: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    """Distinct diagnoses per admission. ``names`` tells the admission of each hospitalization.

    Refuses a column that has lost zeros, or whose versions are wrong.
    """
    texts = ("hospitalization_id", "diagnosis_code", "diagnosis_code_format")
    version = word("diagnosis_code_format").str.extract(r"^icd_?(9|10)")
    taken, found = Diagnoses(counts), [empty(schema.CODES)]
    for block in raw.scan("CLIF_HOSPITAL_DIAGNOSIS", dict.fromkeys(texts, TEXT)):
        own = block.join(names, on="hospitalization_id", maintain_order="left")
        count(counts, "codes, of no admission of that patient", block.height - own.height)
        told = taken.take(own, pl.col("diagnosis_code"), version)
        known = told.drop_nulls("code")
        count(counts, "codes, blank or without their version", told.height - known.height)
        found.append(distinct_codes(known, "diagnosis", pl.col("code")))
    taken.finish(f"column DIAGNOSIS_CODE of table CLIF_HOSPITAL_DIAGNOSIS in '{raw.folder}'")
    return pl.concat(found).unique(maintain_order=True)


def drugs(
    raw: RawTables, names: pl.DataFrame, admissions: pl.DataFrame, counts: dict[str, int]
) -> pl.DataFrame:
    """Distinct drugs given per admission, by category. Leaves out those given after discharge."""
    ends = names.join(admissions.select("hadm_id", "discharged"), on="hadm_id")
    columns = {"hospitalization_id": TEXT, "med_category": TEXT, "admin_dttm": TIME}
    columns |= {"mar_action_category": TEXT}
    found = [empty(schema.CODES)]
    for table in ("CLIF_MEDICATION_ADMIN_CONTINUOUS", "CLIF_MEDICATION_ADMIN_INTERMITTENT"):
        for block in raw.scan(table, columns) if raw.has(table) else iter(()):
            own = block.join(ends, on="hospitalization_id", maintain_order="left")
            given = word("mar_action_category").ne_missing("not_given")
            in_time = (pl.col("admin_dttm") <= pl.col("discharged")).fill_null(True)
            rows = own.with_columns(word("med_category")).drop_nulls("med_category")
            known = rows.filter(given & in_time)
            count(counts, "codes, drugs not given, or after discharge", rows.height - known.height)
            found.append(distinct_codes(known, "drug", pl.col("med_category")))
    return pl.concat(found).unique(maintain_order=True)

"""The table ``patient`` of eICU-CRD: patients, hospital stays and unit stays on one time axis.

eICU has no dates. Minutes from unit admission, the age in whole years and the year of discharge are
all that places a hospital stay in time. So here every patient is born at ``BIRTH``, and a hospital
stay begins in the year of life given by its age, one month later for each later year of discharge.
This keeps ages exact, and keeps the known order: by age, then by year. The order of two stays of
one age and year is unknown. Unit stays of one hospital stay keep their true distances, known from
their minutes since hospital admission.
"""

from datetime import datetime
from typing import Final

import polars as pl

from medhmp.refusal import Refusal
from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, TEXT, RawTables
from medhmp.tables.facts import Words, capped, left_out, shared
from medhmp.tables.hours import YEAR, in_hours, until_discharge
from medhmp.tables.readings import as_events, conformed, parsed

BIRTH: Final = datetime(1900, 1, 1)  # noqa: DTZ001  # naive, as the times of sources
FIRST_YEAR: Final = 2014
"""The first year of discharge in eICU-CRD 2.0."""
OLDEST: Final = 90
"""The age for '> 89'. Features keep the text."""

SEX: Final = {"Male": "M", "Female": "F"}
PLACES: Final = ("hospitalid", "wardid")
"""Numbers that name a place, and so become texts."""
STATIC: Final = (
    *("gender", "age", "ethnicity", *PLACES, "apacheadmissiondx", "admissionheight"),
    *("admissionweight", "hospitaladmittime24", "hospitaladmitoffset", "hospitaladmitsource"),
    *("unittype", "unitadmittime24", "unitadmitsource", "unitvisitnumber", "unitstaytype"),
)
"""Columns that hold for a whole stay. Those known only at discharge are left out."""
FACTS: Final = {
    "gender": "GENDER",
    "ethnicity": "ETHNICITY",
    "hospitaladmitsource": "ADMISSION_LOCATION",
    "unittype": "FIRST_CAREUNIT",
}
"""Column -> the fact of other databases that it is."""
HOSPITAL: Final = ("numbedscategory", "teachingstatus", "region")

_INTEGERS: Final = (
    *("patientunitstayid", "patienthealthsystemstayid", "hospitalid", "unitvisitnumber"),
    *("hospitaladmitoffset", "hospitaldischargeoffset", "unitdischargeoffset"),
    "hospitaldischargeyear",
)
_TEXTS: Final = ("uniquepid", "hospitaldischargestatus", *(n for n in STATIC if n not in _INTEGERS))


def unit_stays(raw: RawTables, counts: dict[str, int]) -> pl.DataFrame:
    """One row per unit stay, in the order of hospital stay and visit.

    Adds to the columns of the table ``subject_id``, ``hadm_id``, ``stay_id``, ``admitted``,
    ``discharged``, ``expired``, ``intime``, ``outtime`` and ``until``, the hour of discharge from
    hospital. ``counts`` gets the rows left out. Refuses patient ids that are not eICU's or cannot
    be told apart, and a table of which nothing is left.
    """
    columns = dict.fromkeys(_INTEGERS, INTEGER) | dict.fromkeys(_TEXTS, TEXT)
    frame = _named(raw, raw.whole("PATIENT", columns))
    owner = pl.col("subject_id").first().over("hadm_id")
    ids = pl.all_horizontal(pl.col("stay_id", "hadm_id", "subject_id").is_not_null())
    for reason, rule in {
        "stays, without stay_id or hadm_id or subject_id": ids,
        "stays, whose stay_id is there already": pl.col("stay_id").is_first_distinct(),
        "stays, of no admission of that patient": pl.col("subject_id") == owner,
        "stays, without intime": pl.col("hospitaladmitoffset").is_not_null(),
    }.items():
        kept = frame.filter(rule)
        counts[reason] = frame.height - kept.height
        frame = kept
    if frame.is_empty():
        raise Refusal(
            f"table PATIENT in '{raw.folder}' has no row with its ids and a HOSPITALADMITOFFSET; "
            "export the table again"
        )
    return _timed(frame.sort("hadm_id", "unitvisitnumber", "stay_id"))


def _named(raw: RawTables, frame: pl.DataFrame) -> pl.DataFrame:
    """Adds the ids; ``002-33870`` becomes 2 * 10^6 + 33870."""
    text = pl.col("uniquepid").str.strip_chars()
    parts = text.str.extract_groups(r"^(\d{1,3})-(\d{1,6})$")
    front, back = (parts.struct.field(n).cast(pl.Int64) for n in ("1", "2"))
    named = frame.with_columns(
        subject_id=front * 1_000_000 + back,
        hadm_id="patienthealthsystemstayid",
        stay_id="patientunitstayid",
    )
    strange = (text.str.len_chars() > 0) & pl.col("subject_id").is_null()
    bad = named.select(strange.fill_null(False).arg_true()).to_series()
    if len(bad):
        raise Refusal(
            f"table PATIENT in '{raw.folder}' has something else than a patient's id as in eICU "
            f"(002-33870) in column UNIQUEPID{raw.place('PATIENT', bad[0])}; mend that line or "
            "export the table again"
        )
    whole = named.drop_nulls("subject_id")
    if whole.select(text.n_unique()).item() > whole["subject_id"].n_unique():
        raise Refusal(
            f"table PATIENT in '{raw.folder}' has two UNIQUEPID that differ in leading zeros "
            "alone; export the table again"
        )
    return named


def _timed(frame: pl.DataFrame) -> pl.DataFrame:
    """Adds times to stays in the order of visits. A patient of unknown age is no adult."""
    years = _age().drop_nulls().first().over("hadm_id").fill_null(-1)
    later = (pl.col("hospitaldischargeyear").max().over("hadm_id") - FIRST_YEAR).fill_null(0)
    # One month of margin: a unit stay may begin a little before its hospital stay.
    days = 30 * (1 + later.clip(0, 9))
    gone = pl.max_horizontal("hospitaldischargeoffset", "unitdischargeoffset")
    status = pl.col("hospitaldischargestatus").str.strip_chars()
    dead = status.replace_strict(
        {"Expired": 1, "Alive": 0}, default=None, return_dtype=pl.Int8
    ).max()
    born = pl.lit(BIRTH, pl.Datetime("ms"))
    return (
        frame.with_columns(admitted=born + pl.duration(hours=years * YEAR, days=days))
        .with_columns(intime=pl.col("admitted") - _minutes("hospitaladmitoffset"))
        .with_columns(
            outtime=pl.col("intime") + _minutes("unitdischargeoffset"),
            discharged=(pl.col("intime") + pl.duration(minutes=gone)).max().over("hadm_id"),
            expired=dead.over("hadm_id").cast(pl.Boolean),
        )
        .with_columns(until_discharge())
    )


def _age() -> pl.Expr:
    """Whole years; null for an unknown age."""
    told = pl.col("age").str.strip_chars()
    whole = told.cast(pl.Int64, strict=False)
    return pl.when(told.str.starts_with(">")).then(OLDEST).otherwise(whole)


def _minutes(column: str) -> pl.Expr:
    return pl.duration(minutes=pl.col(column))


def patients_of(stays: pl.DataFrame) -> pl.DataFrame:
    """PATIENTS, described by their first unit stay."""
    sex = pl.col("gender").replace_strict(SEX, default=None, return_dtype=pl.String)
    own = stays.unique("subject_id", keep="first", maintain_order=True)
    return conformed(own.with_columns(sex=sex, birth=pl.lit(BIRTH)), schema.PATIENTS)


def admissions_of(stays: pl.DataFrame) -> pl.DataFrame:
    """ADMISSIONS, described by their first unit stay. The time of death is that of discharge."""
    first = stays.unique("hadm_id", keep="first", maintain_order=True)
    died = pl.when("expired").then("discharged")
    named = first.with_columns(died=died, admission_location="hospitaladmitsource")
    return conformed(named, schema.ADMISSIONS)


def stays_of(stays: pl.DataFrame) -> pl.DataFrame:
    """STAYS of the rows of ``unit_stays``."""
    return conformed(
        stays.with_columns(first_careunit="unittype", first_ward="wardid"), schema.STAYS
    )


def static(
    raw: RawTables, stays: pl.DataFrame, words: Words, counts: dict[str, int]
) -> pl.DataFrame:
    """EVENTS of what holds for a whole stay (hours null). An empty field is no event.

    Under ``words`` "shared", facts that other databases have, too, have their names and categories,
    and the numbers of places, which no other has, are left out and counted.
    """
    columns = {"hospitalid": INTEGER} | dict.fromkeys(HOSPITAL, TEXT)
    names: tuple[str, ...] = STATIC
    if raw.has("HOSPITAL"):
        hospitals = raw.whole("HOSPITAL", columns).unique("hospitalid", keep="first")
        stays = stays.join(hospitals, on="hospitalid", how="left", maintain_order="left")
        names = STATIC + HOSPITAL
    named = stays.with_columns(
        pl.concat_str(pl.lit(f"{place}="), place).alias(place) for place in PLACES
    )
    if words == "shared":
        named, names = _shared(named, names, counts)
    return pl.concat(
        as_events(
            parsed(
                named.select(
                    *("subject_id", "stay_id"),
                    hours=pl.lit(None, pl.Float64),
                    variable=pl.lit(name),
                    value=pl.col(name).cast(pl.String),
                ).drop_nulls("value")
            ),
            "first",
        )
        for name in names
    )


def _shared(
    stays: pl.DataFrame, names: tuple[str, ...], counts: dict[str, int]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The stays with facts under the names and in the categories that other databases share.

    Returns the names of the columns that become variables, too.
    """
    for place in PLACES:
        left_out(place, stays[place], counts)
    numbers = {
        "AGE": capped(_age()),
        "HADM_to_ICU_time": -in_hours(pl.col("hospitaladmitoffset"), 60),
    }
    texts = [shared(fact, stays[column], counts).alias(fact) for column, fact in FACTS.items()]
    gone = {*PLACES, *FACTS, "age", "hospitaladmitoffset"}
    own = tuple(name for name in names if name not in gone)
    return stays.with_columns(*texts, **numbers), (*own, *FACTS.values(), *numbers)

"""Reads MIMIC-III v1.4: the tables as PhysioNet ships them, or as Parquet, MetaVision stays only.

Small tables are in memory; event tables and NOTEEVENTS are scanned block by block. A missing
optional table is reported, and the run goes on without its part of the record.
"""

from collections.abc import Collection
from typing import ClassVar, Final

import polars as pl

from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, TEXT, TIME, RawTables
from medhmp.tables.integrity import CheckedTables
from medhmp.tables.mimic import records
from medhmp.tables.mimic.events import MimicEvents
from medhmp.tables.readings import find_tables, say_what_is_missing

FOR_LABELS: Final = {
    "PATIENTS": "every task",
    "ADMISSIONS": "every task",
    "ICUSTAYS": "every task",
    "DIAGNOSES_ICD": "readmission, heart_failure, copd and amnesia",
    "D_ITEMS": "arf",
    "CHARTEVENTS": "arf",
    "INPUTEVENTS_MV": "shock",
    "PROCEDUREEVENTS_MV": "arf",
}
"""Required table -> the tasks that need it."""

FOR_FEATURES: Final = {"LABEVENTS": "laboratory results are missing from the features"}
"""Required table -> what is missing without it, where ``tables.optional`` names it."""

REQUIRED: Final = (*FOR_LABELS, *FOR_FEATURES)
"""Without any of these, labels or most features would be silently wrong."""

OPTIONAL: Final = {
    "OUTPUTEVENTS": "outputs are missing from the features",
    "DATETIMEEVENTS": "charted dates are missing from the features",
    "MICROBIOLOGYEVENTS": "cultures are missing from the features",
    "PRESCRIPTIONS": "no admission has a drug",
    "NOTEEVENTS": "no admission has a note",
}


def find(folder: Folder, waived: Collection[str] = ()) -> RawTables:
    """The tables in a folder. Refuses one without a required table that is not ``waived``."""
    return find_tables(folder, FOR_LABELS, FOR_FEATURES, OPTIONAL, waived)


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    """Opens the tables in ``folder_uri`` (local or ``s3://``) as the one set of tables.

    Refuses a folder without a required table, a table that is empty or lacks a needed column, and
    text in a column of ids, times or numbers; in events and notes once they are scanned.
    """
    folder, settings = Folder(folder_uri), schema.ReaderSettings.of(run)
    raw = find(folder, run.tables.waived())
    say_what_is_missing(name, raw, OPTIONAL | FOR_FEATURES, settings.progress)
    counts: dict[str, int] = {}
    stays = _stays(raw, counts)
    tables = CheckedTables.of(_patients(raw), records.admissions(raw), stays, counts)
    drugs = records.drugs(raw, tables.admissions, settings.drug_key, "startdate")
    codes = [records.diagnoses(raw, counts, "icd9_code"), drugs]
    events = _Events(raw, settings, tables, counts)
    return records.source(name, codes, events, _Notes(raw, tables.admissions, counts))


def files(folder: Folder) -> dict[str, int | None]:
    """Size in bytes of each file of the tables in ``folder``."""
    return RawTables.find(folder, (), (*REQUIRED, *OPTIONAL)).sizes()


class _Events(MimicEvents):
    stay = "icustay_id"
    inputs = "INPUTEVENTS_MV"
    procedures = "PROCEDUREEVENTS_MV"
    items = (
        {"dbsource": TEXT},
        pl.col("dbsource").str.to_lowercase().is_in(["metavision", "hospital"]),
    )
    right: ClassVar = {
        "CHARTEVENTS": ({"error": INTEGER}, pl.col("error") == 0),
        "OUTPUTEVENTS": ({"iserror": INTEGER}, pl.col("iserror").is_null()),
    }


class _Notes(records.DischargeNotes):
    table = "NOTEEVENTS"
    columns: ClassVar = {"category": TEXT, "description": TEXT, "iserror": INTEGER}
    order: ClassVar = {"chartdate": TIME}
    summary = (pl.col("category") == "Discharge summary") & pl.col("iserror").is_null()
    report = pl.col("description").eq_missing("Report")


def _patients(raw: RawTables) -> pl.DataFrame:
    columns = {"subject_id": INTEGER, "gender": TEXT, "dob": TIME, "dod": TIME}
    names = {"gender": "sex", "dob": "birth", "dod": "death"}
    return raw.whole("PATIENTS", columns).rename(names)


def _stays(raw: RawTables, counts: dict[str, int]) -> pl.DataFrame:
    """MetaVision stays. CareVue stays are left out, as their charts use other items."""
    columns = {"subject_id": INTEGER, "hadm_id": INTEGER, "icustay_id": INTEGER, "dbsource": TEXT}
    columns |= {"intime": TIME, "outtime": TIME, "first_careunit": TEXT, "first_wardid": TEXT}
    frame = raw.whole("ICUSTAYS", columns)
    kept = (
        frame.filter(pl.col("dbsource").str.to_lowercase() == "metavision")
        .rename({"icustay_id": "stay_id"})
        .with_columns(first_ward="WARDID=" + pl.col("first_wardid"))
        .select(schema.STAYS.names)
    )
    if kept.is_empty():
        raise Refusal(
            f"table ICUSTAYS in '{raw.folder}' has no stay with DBSOURCE metavision; "
            "only MetaVision stays can be read"
        )
    counts |= {"stays": frame.height, "metavision_stays": kept.height}
    return kept

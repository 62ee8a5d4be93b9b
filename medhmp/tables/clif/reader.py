"""Reads CLIF 2.1 and 3.0, the Common Longitudinal ICU Format, as the consortium names its files.

A table is ``clif_vitals.parquet`` or ``.csv``, a patient a ``patient_id``, an admission a
``hospitalization_id`` or several that the site has joined; a stay is what ``records.py`` makes of
ADT. Times are in UTC, as the format asks. There are no notes and no observation stays. A missing
optional table is reported, and the run goes on without its part of the record.
"""

from collections.abc import Collection
from typing import Final

import polars as pl

from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.clif import records
from medhmp.tables.clif.events import ClifEvents
from medhmp.tables.csv import RawTables
from medhmp.tables.readings import find_tables, no_notes, say_what_is_missing

FOR_LABELS: Final = {
    "clif_patient": "every task",
    "clif_hospitalization": "every task",
    "clif_adt": "every task",
    "clif_hospital_diagnosis": "readmission, heart_failure, copd and amnesia",
    "clif_respiratory_support": "arf",
    "clif_medication_admin_continuous": "shock",
}
"""Required table -> the tasks that need it."""

FOR_FEATURES: Final = {
    "clif_vitals": "vital signs are missing from the features",
    "clif_labs": "laboratory results are missing from the features",
}
"""Required table -> what is missing without it, where ``tables.optional`` names it."""

REQUIRED: Final = (*FOR_LABELS, *FOR_FEATURES)
"""Without any of these, labels or most features would be silently wrong."""

OPTIONAL: Final = {
    "clif_medication_admin_intermittent": "single doses are missing from features and drugs",
    "clif_patient_assessments": "scores of nurses are missing from the features",
    "clif_microbiology_culture": "cultures are missing from the features",
    "clif_microbiology_nonculture": "microbiology without culture is missing from the features",
    "clif_crrt_therapy": "continuous dialysis is missing from the features",
}


def find(folder: Folder, waived: Collection[str] = ()) -> RawTables:
    """The tables in a folder. Refuses one without a required table that is not ``waived``."""
    return find_tables(folder, FOR_LABELS, FOR_FEATURES, OPTIONAL, waived)


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    """Opens the tables in ``folder_uri`` (local or ``s3://``) as the one set of tables.

    Refuses a drug key that CLIF lacks, a folder without a required table, a table that is empty or
    lacks a needed column, times of another zone than UTC, and text in a column of times or numbers;
    in events once they are scanned.
    """
    folder, settings = Folder(folder_uri), schema.ReaderSettings.of(run)
    if settings.drug_key != "name":
        raise Refusal(
            f"features.drug_key is {settings.drug_key} and CLIF names a drug by its category "
            "alone; give --features.drug_key name"
        )
    raw = find(folder, run.tables.waived())
    say_what_is_missing(name, raw, OPTIONAL | FOR_FEATURES, settings.progress)
    counts: dict[str, int] = {}
    tables, names = records.small_tables(raw, counts)
    if tables.stays.is_empty():
        raise Refusal(
            f"table CLIF_ADT in '{folder}' has no time in an icu of a hospitalization that is in "
            "CLIF_HOSPITALIZATION; take both tables from one export"
        )
    diagnoses = records.diagnoses(raw, names, counts)
    drugs = records.drugs(raw, names, tables.admissions, counts)
    events = ClifEvents(raw, settings, tables, names, counts)
    counts |= {"patients": tables.patients.height, "admissions": tables.admissions.height}
    counts |= {"stays": tables.stays.height} | raw.rows
    return schema.Source(
        name=name,
        patients=tables.patients,
        admissions=tables.admissions,
        stays=tables.stays,
        codes=pl.concat([diagnoses, drugs]),
        streams=events.streams(),
        notes=no_notes,
        onsets=events.onsets,
        counts=counts,
        shares=raw.shares,
    )


def files(folder: Folder) -> dict[str, int | None]:
    """Size in bytes of each file of the tables in ``folder``."""
    return RawTables.find(folder, (), (*REQUIRED, *OPTIONAL)).sizes()

"""Reads eICU-CRD 2.0: the tables as PhysioNet ships them, or as Parquet, in any letter case.

A patient is a ``uniquepid``, an admission a ``patienthealthsystemstayid``, a stay a
``patientunitstayid``. There are no dates (``patient.py`` describes what replaces them) and no
discharge summaries; notes are never read. A missing optional table is reported, and the run goes on
without its part of the record.
"""

from collections.abc import Collection
from typing import Final

import polars as pl

from medhmp.legend import LEVELS, Task
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.csv import RawTables
from medhmp.tables.eicu import codes as eicu_codes
from medhmp.tables.eicu import patient
from medhmp.tables.eicu.events import EicuEvents
from medhmp.tables.eicu.onsets import unrecorded
from medhmp.tables.readings import find_tables, no_notes, say_what_is_missing

FOR_LABELS: Final = {
    "patient": "every task",
    "respiratoryCare": "arf",
    "respiratoryCharting": "arf",
    "infusionDrug": "shock",
    "medication": "shock",
}
"""Required table -> the tasks that need it."""

FOR_FEATURES: Final = {
    "diagnosis": "no admission has a diagnosis, and diagnoses are missing from the features",
    "lab": "laboratory results are missing from the features",
    "vitalPeriodic": "vital signs of monitors are missing from the features",
    "nurseCharting": "what nurses charted is missing from the features",
}
"""Required table -> what is missing without it, where ``tables.optional`` names it."""

REQUIRED: Final = (*FOR_LABELS, *FOR_FEATURES)
"""Without any of these, labels or most features would be silently wrong."""

OPTIONAL: Final = {
    "vitalAperiodic": "vital signs taken by hand are missing from the features",
    "customLab": "laboratory results under a hospital's own names are missing from the features",
    "intakeOutput": "intake and output are missing from the features",
    "pastHistory": "past history is missing from the features",
    "treatment": "treatments are missing from the features",
    "admissionDx": "diagnoses at admission are missing from the features",
    "physicalExam": "physical examinations are missing from the features",
    "admissionDrug": "drugs taken before admission are missing from the features",
    "hospital": "size, teaching status and region of the hospital are missing from the features",
}

UNLABELLED: Final[dict[Task, str]] = {
    "readmission": "it has no dates, so when a patient's next hospital stay began is not known",
    **dict.fromkeys(
        [task for task, level in LEVELS.items() if level == "patient"],
        "it has no dates, so the time between a patient's hospital stays is not known",
    ),
}


def find(folder: Folder, waived: Collection[str] = ()) -> RawTables:
    """The tables in a folder. Refuses one without a required table that is not ``waived``."""
    return find_tables(folder, FOR_LABELS, FOR_FEATURES, OPTIONAL, waived)


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    """Opens the tables in ``folder_uri`` (local or ``s3://``) as the one set of tables.

    Refuses a drug key that eICU lacks, a folder without a required table, a table that is empty or
    lacks a needed column, text in a column of ids, minutes or numbers, and patient ids that cannot
    be told apart; in events once they are scanned.
    """
    folder, settings = Folder(folder_uri), schema.ReaderSettings.of(run)
    _refuse_drug_key(settings.drug_key)
    raw = find(folder, run.tables.waived())
    say_what_is_missing(name, raw, OPTIONAL | FOR_FEATURES, settings.progress)
    counts: dict[str, int] = {}
    stays = patient.unit_stays(raw, counts)
    codes = [of(raw, stays, counts) for of in (eicu_codes.diagnoses, eicu_codes.drugs)]
    silent = unrecorded(raw, stays)
    events = EicuEvents(raw, settings, stays, counts)
    patients, admissions = patient.patients_of(stays), patient.admissions_of(stays)
    counts |= {"patients": patients.height, "admissions": admissions.height}
    counts |= {"stays": stays.height} | raw.rows
    return schema.Source(
        name=name,
        patients=patients,
        admissions=admissions,
        stays=patient.stays_of(stays),
        codes=pl.concat(codes),
        streams=events.streams(),
        notes=no_notes,
        onsets=events.onsets,
        counts=counts,
        unlabelled=UNLABELLED,
        unrecorded=silent,
        shares=raw.shares,
    )


def files(folder: Folder) -> dict[str, int | None]:
    """Size in bytes of each file of the tables in ``folder``."""
    return RawTables.find(folder, (), (*REQUIRED, *OPTIONAL)).sizes()


def _refuse_drug_key(key: str) -> None:
    """Refuses NDC and GSN. eICU codes drugs by HICL, which knows no strength or form."""
    if key != "name":
        raise Refusal(
            f"features.drug_key is {key} and eICU's medication has no such code; "
            "give --features.drug_key name"
        )

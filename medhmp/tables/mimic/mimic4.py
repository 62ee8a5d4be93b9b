"""Reads MIMIC-IV 2.x and 3.x: a folder with ``hosp`` and ``icu`` as PhysioNet ships them.

The discharge notes are MIMIC-IV-Note's ``note/discharge.csv.gz``, put into the same folder. A
missing optional table is reported, and the run goes on without its part of the record.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

import polars as pl

from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, NUMBER, TEXT, TIME, RawTables
from medhmp.tables.integrity import CheckedTables
from medhmp.tables.mimic import records
from medhmp.tables.mimic.events import MimicEvents
from medhmp.tables.readings import STATIC, say_what_is_missing

REQUIRED: Final = (
    *("hosp/patients", "hosp/admissions", "icu/icustays", "hosp/diagnoses_icd", "icu/d_items"),
    *("icu/chartevents", "hosp/labevents", "icu/inputevents", "icu/procedureevents"),
)
"""Without any of these, labels or most features would be silently wrong."""

OPTIONAL: Final = {
    "icu/outputevents": "outputs are missing from the features",
    "icu/datetimeevents": "charted dates are missing from the features",
    "hosp/microbiologyevents": "cultures are missing from the features",
    "hosp/prescriptions": "no admission has a drug",
    "note/discharge": "no admission has a note",
}

HIDDEN: Final = "___"
"""Replaces text that de-identification removed."""


def find(folder: Folder) -> RawTables:
    """The tables in a folder. Refuses one without a required table."""
    return RawTables.find(folder, REQUIRED, OPTIONAL)


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    """Opens the tables in ``folder_uri`` (local or ``s3://``) as the one set of tables.

    Refuses a folder without a required table, a table that is empty or lacks a needed column, and
    text in a column of ids, times or numbers; in events and notes once they are scanned.
    """
    folder, settings = Folder(folder_uri), schema.ReaderSettings.of(run)
    raw = find(folder)
    say_what_is_missing(name, raw, OPTIONAL, settings.progress)
    counts: dict[str, int] = {}
    admissions = records.admissions(raw, ethnicity="race", religion=None)
    tables = CheckedTables.of(_patients(raw), admissions, _stays(raw, counts), counts)
    drugs = records.drugs(raw, tables.admissions, settings.drug_key, "starttime")
    codes = [records.diagnoses(raw, "icd_code", "icd_version"), drugs]
    events = _Events(raw, settings, tables, counts)
    return records.source(name, codes, events, _Notes(raw, tables.admissions, counts))


def files(folder: Folder) -> dict[str, int | None]:
    """Size in bytes of each table in ``folder``."""
    return find(folder).sizes()


class _Events(MimicEvents):
    static: ClassVar[Mapping[str, str]] = {
        variable: column
        for variable, column in STATIC.items()
        if column not in ("religion", "first_ward")
    }
    result = (
        {"valuenum": NUMBER},
        pl.when(pl.col("value").str.strip_chars() == HIDDEN)
        .then(pl.col("valuenum").cast(pl.String))
        .otherwise("value"),
    )

    def _copied(self, block: pl.DataFrame, stays: pl.DataFrame) -> pl.DataFrame:
        """Copies a row without an admission to every stay of its patient.

        Only the stays of its time keep it, as none uses what follows its discharge.
        """
        named = super()._copied(block, stays)
        nameless = block.filter(pl.col("hadm_id").is_null()).drop("hadm_id")
        found = nameless.join(stays, on="subject_id", maintain_order="left_right")
        both = pl.concat([named, found.select(named.columns)])
        return both.sort("line", maintain_order=True)


class _Notes(records.DischargeNotes):
    table = "DISCHARGE"
    columns: ClassVar = {"note_type": TEXT}
    order: ClassVar = {"charttime": TIME, "note_seq": INTEGER}
    summary = pl.col("note_type").is_in(["DS", "AD"])
    report = pl.col("note_type") == "DS"  # AD: an addendum


def _patients(raw: RawTables) -> pl.DataFrame:
    """PATIENTS; ``birth`` is the latest day that gives the anchor age at the start of its year.

    The anchor age is 91 for all above 89. A year has 365.25 days, as in ``tasks/cohort.py``, so a
    patient of anchor age 18 is an adult from that first day on.
    """
    columns = {"subject_id": INTEGER, "gender": TEXT, "dod": TIME}
    columns |= {"anchor_age": INTEGER, "anchor_year": INTEGER}
    days = (pl.col("anchor_age") * 365.25).ceil().cast(pl.Int64)
    birth = pl.datetime("anchor_year", 1, 1, time_unit="ms") - pl.duration(days=days)
    frame = raw.whole("PATIENTS", columns).rename({"gender": "sex", "dod": "death"})
    return frame.with_columns(birth=birth).select(schema.PATIENTS.names)


def _stays(raw: RawTables, counts: dict[str, int]) -> pl.DataFrame:
    """STAYS; care units have their abbreviations, as in MIMIC-III."""
    columns = {"subject_id": INTEGER, "hadm_id": INTEGER, "stay_id": INTEGER}
    columns |= {"intime": TIME, "outtime": TIME, "first_careunit": TEXT}
    unit = pl.col("first_careunit")
    short = unit.str.extract(r"\(([^()]+)\)\s*$").replace("CVICU", "CSRU")
    frame = raw.whole("ICUSTAYS", columns)
    counts["stays"] = frame.height
    return frame.with_columns(
        first_careunit=pl.coalesce(short, unit), first_ward=pl.lit(None, pl.String)
    ).select(schema.STAYS.names)

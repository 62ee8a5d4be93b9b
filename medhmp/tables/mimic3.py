"""Reads MIMIC-III v1.4: the CSV tables as PhysioNet ships them, MetaVision stays only.

Small tables are in memory; CHARTEVENTS and its like, and NOTEEVENTS, are scanned block by block.
Without an optional table its part of the record is missing; that is said, and the run goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp import command
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, TEXT, TIME, RawTables
from medhmp.tables.mimic3_events import Events

REQUIRED: Final = (
    *("PATIENTS", "ADMISSIONS", "ICUSTAYS", "DIAGNOSES_ICD", "D_ITEMS"),
    *("CHARTEVENTS", "LABEVENTS", "INPUTEVENTS_MV", "PROCEDUREEVENTS_MV"),
)
"""Without one of these the labels or most features would be wrong without a sign of it."""

OPTIONAL: Final = {
    "OUTPUTEVENTS": "outputs are missing from the features",
    "DATETIMEEVENTS": "charted dates are missing from the features",
    "MICROBIOLOGYEVENTS": "cultures are missing from the features",
    "PRESCRIPTIONS": "no admission has a drug",
    "NOTEEVENTS": "no admission has a note",
}


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    """Opens the tables in ``folder_uri`` (local or ``s3://``) as the one set of tables.

    Refuses a folder without a required table, a table without a needed column or that is empty, and
    letters in a column of ids, times or numbers. Events and notes are refused as they are scanned.
    """
    raw = RawTables.find(Folder(folder_uri), REQUIRED)
    for table, what in OPTIONAL.items():
        if not raw.has(table):
            command.say(run, f"{name}: no table {table}; {what}")
    counts: dict[str, int] = {}
    patients, admissions = _patients(raw), _admissions(raw)
    stays = _stays(raw, admissions, counts)
    counts |= {"patients": patients.height, "admissions": admissions.height}
    codes = pl.concat([_diagnoses(raw), _drugs(raw, admissions, run.features.drug_key)])
    reader = Events(raw, run, patients, admissions, stays, counts)
    counts |= raw.rows
    return schema.Source(
        name=name,
        patients=patients,
        admissions=admissions,
        stays=stays,
        codes=codes,
        events=reader.events,
        notes=_Notes(raw, admissions, counts).notes,
        onsets=reader.onsets,
        counts=counts,
    )


def files(folder: Folder) -> dict[str, int | None]:
    """Bytes of each table in ``folder``, by its name."""
    tables = RawTables.find(folder, REQUIRED).files
    return {table: folder.size(file) for table, file in tables.items()}


def _patients(raw: RawTables) -> pl.DataFrame:
    columns = {"subject_id": INTEGER, "gender": TEXT, "dob": TIME, "dod": TIME}
    names = {"gender": "sex", "dob": "birth", "dod": "death"}
    return raw.whole("PATIENTS", columns).rename(names).unique("subject_id", maintain_order=True)


def _admissions(raw: RawTables) -> pl.DataFrame:
    renamed = {"admittime": "admitted", "dischtime": "discharged", "deathtime": "died"}
    texts = [c for c in schema.ADMISSIONS.names if schema.ADMISSIONS.field(c).type == pa.string()]
    frame = raw.whole(
        "ADMISSIONS",
        {
            "subject_id": INTEGER,
            "hadm_id": INTEGER,
            **dict.fromkeys(renamed, TIME),
            "hospital_expire_flag": INTEGER,
            **dict.fromkeys(texts, TEXT),
        },
    )
    return (
        frame.rename(renamed)
        .with_columns(expired=pl.col("hospital_expire_flag") == 1)
        .select(schema.ADMISSIONS.names)
        .unique("hadm_id", keep="first", maintain_order=True)
    )


def _stays(raw: RawTables, admissions: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    """MetaVision stays of known admissions; CareVue charts with other items and is left out."""
    columns = {"subject_id": INTEGER, "hadm_id": INTEGER, "icustay_id": INTEGER, "dbsource": TEXT}
    columns |= {"intime": TIME, "outtime": TIME, "first_careunit": TEXT, "first_wardid": TEXT}
    frame = raw.whole("ICUSTAYS", columns)
    kept = (
        frame.filter(pl.col("dbsource").str.to_lowercase() == "metavision")
        .filter(pl.col("intime").is_not_null())
        .join(admissions.select("hadm_id"), on="hadm_id", how="semi")
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


def _diagnoses(raw: RawTables) -> pl.DataFrame:
    columns = {"subject_id": INTEGER, "hadm_id": INTEGER, "icd9_code": TEXT}
    code = pl.col("icd9_code").str.strip_chars().str.to_uppercase()
    return (
        raw.whole("DIAGNOSES_ICD", columns)
        .filter(code.str.len_chars() > 0)
        .select("subject_id", "hadm_id", kind=pl.lit("diagnosis"), code="9:" + code)
        .unique(maintain_order=True)
    )


def _drugs(raw: RawTables, admissions: pl.DataFrame, key: str) -> pl.DataFrame:
    """Distinct drugs per admission, none started after discharge. An NDC or GSN of 0 is no code."""
    column = {"name": "drug"}.get(key, key)
    columns = {"subject_id": INTEGER, "hadm_id": INTEGER, "startdate": TIME, column: TEXT}
    code = pl.col(column).str.strip_chars().str.to_lowercase()
    discharged = admissions.select("hadm_id", "discharged")
    scan = raw.scan("PRESCRIPTIONS", columns) if raw.has("PRESCRIPTIONS") else iter(())
    blocks = [
        block.join(discharged, on="hadm_id")
        .filter((pl.col("startdate") <= pl.col("discharged")).fill_null(True))
        .filter((code.str.len_chars() > 0) & (code != "0"))
        .select("subject_id", "hadm_id", kind=pl.lit("drug"), code=code)
        .unique(maintain_order=True)
        for block in scan
    ]
    empty = pl.from_arrow(schema.CODES.empty_table())
    assert isinstance(empty, pl.DataFrame)
    return pl.concat([empty, *blocks]).unique(maintain_order=True)


@dataclass(frozen=True)
class _Notes:
    """Chooses one discharge summary per admission, then reads the text of those."""

    raw: RawTables
    admissions: pl.DataFrame
    counts: dict[str, int]

    def notes(self) -> Iterator[pa.RecordBatch]:
        """NOTES batches. Reports come before addenda, later before earlier; errors never, and none
        written after the day of discharge: it may tell of the next admission."""
        if not self.raw.has("NOTEEVENTS"):
            return
        chosen = self._chosen()
        columns = {"subject_id": INTEGER, "hadm_id": INTEGER, "text": TEXT}
        line = 0
        for block in self.raw.scan("NOTEEVENTS", columns):
            own = block.with_row_index("line", line)
            line += block.height
            own = own.join(chosen, on="line", how="semi", maintain_order="left")
            table = own.select(schema.NOTES.names).to_arrow(compat_level=pl.CompatLevel.oldest())
            yield from table.cast(schema.NOTES).to_batches()
        self.counts.update(self.raw.rows)

    def _chosen(self) -> pl.DataFrame:
        """Row numbers in NOTEEVENTS of the chosen notes."""
        columns = {"hadm_id": INTEGER, "chartdate": TIME, "category": TEXT, "description": TEXT}
        columns |= {"iserror": INTEGER}
        summary = (pl.col("category") == "Discharge summary") & pl.col("iserror").is_null()
        report = pl.col("description").eq_missing("Report").alias("report")
        found, line = [], 0
        for block in self.raw.scan("NOTEEVENTS", columns):
            own = block.with_row_index("line", line)
            line += block.height
            found.append(own.filter(summary).select("line", "hadm_id", "chartdate", report))
        written = pl.concat(found).join(
            self.admissions.select("hadm_id", pl.col("discharged").dt.date()), on="hadm_id"
        )
        late = pl.col("chartdate").dt.date() > pl.col("discharged")
        known = written.filter(late.not_().fill_null(True))
        self.counts["NOTEEVENTS, written after discharge"] = written.height - known.height
        order = ["report", "chartdate", "line"]
        best = known.sort(order, descending=True, nulls_last=True)
        return best.unique("hadm_id", maintain_order=True).select("line")

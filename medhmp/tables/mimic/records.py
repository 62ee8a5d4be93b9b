"""MIMIC-III's and MIMIC-IV's records beside the events: admissions, codes, notes.

Columns that the two name differently are arguments, or class variables that each sets.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, ClassVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from medhmp.frames import frame_of
from medhmp.refusal import Refusal
from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, TEXT, TIME, RawTables
from medhmp.tables.diagnoses import Diagnoses
from medhmp.tables.integrity import CheckedTables
from medhmp.tables.mimic.events import MimicEvents
from medhmp.tables.readings import as_table, batches, distinct_codes, empty


def admissions(raw: RawTables, **named: str | None) -> pl.DataFrame:
    """ADMISSIONS. ``named``: text column -> its name in the raw table; None: it has none."""
    texts = [c for c in schema.ADMISSIONS.names if schema.ADMISSIONS.field(c).type == pa.string()]
    named = {column: named.get(column, column) for column in texts}
    times = {"admitted": "admittime", "discharged": "dischtime", "died": "deathtime"}
    columns = {"subject_id": INTEGER, "hadm_id": INTEGER, "hospital_expire_flag": INTEGER}
    columns |= dict.fromkeys(times.values(), TIME)
    columns |= {column: TEXT for column in named.values() if column}
    absent = pl.lit(None, pl.String)
    return (
        raw.whole("ADMISSIONS", columns)
        .with_columns(
            expired=pl.col("hospital_expire_flag") == 1,
            **{name: pl.col(column) for name, column in times.items()},
            **{name: pl.col(column) if column else absent for name, column in named.items()},
        )
        .select(schema.ADMISSIONS.names)
    )


def diagnoses(
    raw: RawTables, counts: dict[str, int], code: str, version: str | None = None
) -> pl.DataFrame:
    """Distinct diagnoses per admission. A blank code, or one without a version, is null.

    ``code`` and ``version`` name the columns; without the latter all codes are ICD-9. ``counts``
    gets the codes that are none. Refuses a column that has lost zeros, or whose versions are wrong.
    """
    columns = {"subject_id": INTEGER, "hadm_id": INTEGER, code: TEXT}
    columns |= {version: INTEGER} if version else {}
    table, codes = raw.whole("DIAGNOSES_ICD", columns), Diagnoses(counts)
    found = codes.take(table, pl.col(code), pl.col(version) if version else pl.lit("9"))
    codes.finish(f"column {code.upper()} of table DIAGNOSES_ICD in '{raw.folder}'")
    return distinct_codes(found, "diagnosis", pl.col("code"))


def drugs(raw: RawTables, admissions: pl.DataFrame, key: str, started: str) -> pl.DataFrame:
    """Distinct drugs per admission. Leaves out those started after discharge, and codes of zeros.

    ``key`` is ``features.drug_key``, ``started`` the column of the start.
    """
    column = {"name": "drug"}.get(key, key)
    columns = {"subject_id": INTEGER, "hadm_id": INTEGER, started: TIME, column: TEXT}
    code = pl.col(column).str.strip_chars().str.to_lowercase()
    discharged = admissions.select("hadm_id", "discharged")
    scan = raw.scan("PRESCRIPTIONS", columns) if raw.has("PRESCRIPTIONS") else iter(())
    blocks = [
        block.join(discharged, on="hadm_id")
        .filter((pl.col(started) <= pl.col("discharged")).fill_null(True))
        .filter(code.str.strip_chars("0").str.len_chars() > 0)
        .select("subject_id", "hadm_id", kind=pl.lit("drug"), code=code)
        .unique(maintain_order=True)
        for block in scan
    ]
    return pl.concat([empty(schema.CODES), *blocks]).unique(maintain_order=True)


@dataclass(frozen=True)
class DischargeNotes:
    """Chooses one discharge summary per admission, then reads the text of those."""

    raw: RawTables
    admissions: pl.DataFrame
    counts: dict[str, int]

    table: ClassVar[str]
    columns: ClassVar[Mapping[str, pa.DataType]]  # beside ``order``, those the choice needs
    order: ClassVar[Mapping[str, pa.DataType]]  # time of writing, then columns that break ties
    summary: ClassVar[pl.Expr]  # true for a discharge summary that is not marked as an error
    report: ClassVar[pl.Expr]  # true for the summary itself, false for an addendum

    def notes(self) -> Iterator[pa.RecordBatch]:
        """NOTES batches. Prefers reports to addenda, then later notes to earlier ones.

        Never chooses a note marked as an error, nor one written after the day of discharge, which
        may tell of the next admission.
        """
        if not self.raw.has(self.table):
            return
        with tempfile.TemporaryFile() as place:  # nameless, so that no text can be left behind
            chosen = self._choose(self._summaries(place))
            file = pq.ParquetFile(pa.PythonFile(place, mode="r"))
            for group in range(file.num_row_groups):
                block = frame_of(file.read_row_group(group))
                own = block.join(chosen, on="line", how="semi", maintain_order="left")
                yield from batches(own, schema.NOTES)
        self.counts.update(self.raw.rows)

    def _summaries(self, place: IO[bytes]) -> pl.DataFrame:
        """Writes the discharge summaries to ``place`` as Parquet; returns what the choice needs.

        ``line``, in both, is the number of the row in the table.
        """
        columns = {"subject_id": INTEGER, "hadm_id": INTEGER, **self.order, **self.columns}
        report, line, found = self.report.alias("report"), 0, []
        kept = schema.NOTES.append(pa.field("line", pa.uint32()))
        with pq.ParquetWriter(pa.PythonFile(place, mode="w"), kept, compression="zstd") as writer:
            for block in self.raw.scan(self.table, columns | {"text": TEXT}):
                rows = block.with_row_index("line", line).filter(self.summary)
                line += block.height
                found.append(rows.select("line", "hadm_id", *self.order, report))
                if rows.height:
                    writer.write_table(as_table(rows, kept))
        return pl.concat(found)

    def _choose(self, found: pl.DataFrame) -> pl.DataFrame:
        """Lines of the chosen notes."""
        ends = self.admissions.select("hadm_id", pl.col("discharged").dt.date())
        written = found.join(ends, on="hadm_id")
        late = pl.col(next(iter(self.order))).dt.date() > pl.col("discharged")
        known = written.filter(late.not_().fill_null(True))
        self.counts[f"{self.table}, written after discharge"] = written.height - known.height
        best = known.sort(["report", *self.order, "line"], descending=True, nulls_last=True)
        return best.unique("hadm_id", maintain_order=True).select("line")


def source(
    name: str, codes: list[pl.DataFrame], events: MimicEvents, notes: DischargeNotes
) -> schema.Source:
    """The one set of tables: what has been read, and the readers of events and notes.

    Refuses tables of which no stay is left.
    """
    counts, tables = events.counts, events.tables
    if tables.stays.is_empty():
        raise Refusal(
            f"table ICUSTAYS in '{events.raw.folder}' has no stay of an admission that is in "
            "ADMISSIONS; take both tables from one version"
        )
    counts |= {"patients": tables.patients.height, "admissions": tables.admissions.height}
    counts |= events.raw.rows
    return schema.Source(
        name=name,
        patients=tables.patients,
        admissions=tables.admissions,
        stays=tables.stays,
        codes=_of_admissions(pl.concat(codes), tables, counts),
        streams=events.streams(),
        notes=notes.notes,
        onsets=events.onsets,
        counts=counts,
        follows_up=True,
        shares=events.raw.shares,
    )


def _of_admissions(
    codes: pl.DataFrame, tables: CheckedTables, counts: dict[str, int]
) -> pl.DataFrame:
    """The codes of known admissions."""
    ids = ["hadm_id", "subject_id"]
    counts["codes, blank"] = codes["code"].null_count()
    codes = codes.drop_nulls("code")
    known = codes.join(tables.admissions.select(ids), on=ids, how="semi", maintain_order="left")
    counts["codes, of no admission of that patient"] = codes.height - known.height
    return known

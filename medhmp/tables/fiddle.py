"""Reads FIDDLE's own input: a long table of recordings, and the ids of the population.

``input_data.csv`` or ``data.csv`` has the columns ID, t, variable_name and variable_value, one
recording a line. ``pop.csv`` has the IDs to make rows of, with or without recordings. Either may be
gzipped, or Parquet. ``t`` is in hours; a value without one holds for the whole stay. A value is a
number if Python's ``float`` reads it and it is finite, else text. A value that is empty, NULL or
\\N is null; FIDDLE loses values spelled NA, None or nan, too, through pandas.

An ID is a whole number and stands for one stay, one admission and one patient. If IDs are MIMIC
stays, two stays of a patient may therefore fall into two splits. No dates, codes, notes or outcomes
are known: every stay begins at ``EPOCH`` and no task has labels.

For several values of one (ID, t, variable) FIDDLE refuses numbers and makes a variable of each
text. Here numbers at one time count as successive readings, in the order of the file; texts follow
FIDDLE's rule; identical rows count once. Several numbers without a time are refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.legend import LEVELS, Task
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, NUMBER, TEXT, RawTables
from medhmp.tables.readings import (
    EPOCH,
    batches,
    conformed,
    first_onsets,
    kept,
    named_by_stay,
    no_notes,
)

POPULATION: Final = "POP"
RECORDINGS: Final = ("INPUT_DATA", "DATA")
COLUMNS: Final = {"id": INTEGER, "t": NUMBER, "variable_name": TEXT, "variable_value": TEXT}

UNLABELLED: Final[dict[Task, str]] = dict.fromkeys(LEVELS, "FIDDLE's input has no outcomes")


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    """Opens the two tables in ``folder_uri`` (local or ``s3://``) as the one set of tables.

    Refuses a folder without them or with two tables of recordings, a table without rows or a
    needed column, an ID that is not a whole number, a time that is not a number.
    """
    folder, settings = Folder(folder_uri), schema.ReaderSettings.of(run)
    raw = find(folder)
    counts: dict[str, int] = {}
    ids = _population(raw, counts)
    counts |= dict.fromkeys(("patients", "admissions", "stays"), ids.height)
    recordings = _Recordings(raw, ids, settings.hours, settings.value_types, counts)
    own = named_by_stay(ids).with_columns(admitted=pl.lit(EPOCH), intime=pl.lit(EPOCH))
    return schema.Source(
        name=name,
        patients=conformed(own, schema.PATIENTS),
        admissions=conformed(own, schema.ADMISSIONS),
        stays=conformed(own, schema.STAYS),
        codes=conformed(own.clear(), schema.CODES),
        streams={recordings.table: recordings.stream},
        notes=no_notes,
        onsets=partial(first_onsets, ids, []),
        counts=counts,
        unlabelled=UNLABELLED,
        shares=raw.shares,
    )


def files(folder: Folder) -> dict[str, int | None]:
    """Bytes of each of the two tables, by its name."""
    return find(folder).sizes()


def find(folder: Folder) -> RawTables:
    """The two tables in a folder, whatever else is there."""
    raw = RawTables.find(folder, ("pop",), ("input_data", "data"))
    recordings = [table for table in RECORDINGS if raw.has(table)]
    if len(recordings) != 1:
        found = "both input_data.csv and data.csv" if recordings else "no table of recordings"
        raise Refusal(f"'{folder}' has {found}; put one there, input_data.csv or data.csv")
    tables = (POPULATION, recordings[0])
    return replace(raw, files={table: raw.files[table] for table in tables}, required=tables)


def _population(raw: RawTables, counts: dict[str, int]) -> pl.DataFrame:
    """``stay_id`` of the population, each once, in the order of the file."""
    given = raw.whole(POPULATION, {"id": INTEGER})
    known = given.drop_nulls()
    ids = known.unique(maintain_order=True).rename({"id": "stay_id"})
    if ids.is_empty():
        raise Refusal(f"table POP in '{raw.folder}' has no ID; list the IDs to make rows of")
    counts |= raw.rows
    counts["POP, without an ID"] = given.height - known.height
    counts["POP, IDs given again"] = known.height - ids.height
    return ids


@dataclass(frozen=True)
class _Recordings:
    """Streams the table of recordings."""

    raw: RawTables
    ids: pl.DataFrame  # stay_id
    hours: int
    types: Mapping[str, str]  # declared types; hierarchical values stay text: "038.9", not 38.9
    counts: dict[str, int]

    @property
    def table(self) -> str:
        """The name of the table of recordings."""
        (name,) = (table for table in self.raw.files if table != POPULATION)
        return name

    def stream(self) -> Iterator[pa.RecordBatch]:
        """EVENTS batches of the population: rows without a time, or with 0 <= t < ``hours``."""
        name, seen = self.table, dict[str, int]()
        for block in self.raw.scan(name, COLUMNS):
            rows = kept(block, self._rules(name), seen)
            yield from batches(self._events(rows), schema.EVENTS)
        self.counts.update(seen | self.raw.rows)

    def _rules(self, name: str) -> dict[str, pl.Expr]:
        """Exclusion reason -> the rule that keeps the other rows."""
        member = pl.col("id").is_in(self.ids["stay_id"].implode()).fill_null(False)
        inside = pl.col("t").is_null() | ((pl.col("t") >= 0) & (pl.col("t") < self.hours))
        return {
            f"{name}, of no ID of the population": member,
            f"{name}, without a variable": pl.col("variable_name").is_not_null(),
            f"{name}, before hour 0 or at or after hour {self.hours}": inside,
        }

    def _events(self, block: pl.DataFrame) -> pl.DataFrame:
        """The columns of EVENTS."""
        declared = pl.col("variable_name").replace_strict(
            self.types, default="", return_dtype=pl.String
        )
        coded = declared.str.contains("hierarchical")
        number = pl.when(~coded).then(numbers_in(block["variable_value"]))
        counted = number.is_not_null() & (declared != "Categorical")
        return block.select(
            pl.col("id").alias("subject_id"),
            pl.col("id").alias("stay_id"),
            hours="t",
            variable="variable_name",
            number=number,
            text=pl.when(number.is_null()).then("variable_value"),
            repeats=pl.when(counted).then(pl.lit("apart")).otherwise(pl.lit("named")),
        )


def numbers_in(values: pl.Series) -> pl.Series:
    """The finite number that Python's ``float`` reads in each text; null where there is none.

    Polars reads the usual spellings. Python reads the few odd ones (" 5 ", "1_000").
    """
    number = values.cast(pl.Float64, strict=False)
    odd = {text: _number(text) for text in values.filter(number.is_null()).drop_nulls().unique()}
    spelled = {text: value for text, value in odd.items() if value is not None}
    if spelled:
        found = values.replace_strict(spelled, default=None, return_dtype=pl.Float64)
        number = number.fill_null(found)
    return number.set(~number.is_finite(), None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
